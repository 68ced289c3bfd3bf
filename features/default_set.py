"""The default feature table, `FEATURES`; a deployment's own table can start from it.

No row depends on the order in which payments of different partitions arrive, so two runs of one stream give the same
values.
"""

from features.declaration import Feature
from features.rows import card, merchant, own

LABEL_DELAY = "7d"
"""Risk features leave out the last 7 days: hardly any transaction that young has a label yet."""

CARD_WINDOWS = ("10m", "1h", "1d", "7d", "30d")
MERCHANT_WINDOWS = ("1d", "7d", "30d")

FEATURES: tuple[Feature, ...] = (
    *(card("count", window) for window in CARD_WINDOWS),
    *(card("amount_sum", window) for window in CARD_WINDOWS),
    *(card("amount_mean", window) for window in CARD_WINDOWS),
    *(card("amount_max", window) for window in CARD_WINDOWS),
    card("merchants", "30d"),
    card("seconds_since_last"),
    card("merchant_first", "30d"),
    card("amount_to_mean", "30d"),
    card("amount_deviation", "30d"),
    *(merchant("count", window, delay=LABEL_DELAY) for window in MERCHANT_WINDOWS),
    *(merchant("fraud_share", window, delay=LABEL_DELAY) for window in MERCHANT_WINDOWS),
    own("is_night"),
    own("is_weekend"),
    card("merchants", "1h"),
    card("amount_repeated", "1d"),
    card("amount_to_smallest", "1d"),
    card("country_jump", "7d"),
    card("countries", "7d"),
    card("distance_from_last", "7d"),
    card("speed_from_last", "7d"),
    card("devices", "30d"),
    card("device_first", "30d"),
    card("category_share", "30d"),
    card("channel_share", "30d"),
    card("time_of_day_share", "30d"),
)
