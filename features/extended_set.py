"""The default table and what merchants and devices show at the very moment: for `FRAUDSTREAM_FEATURES`.

Most of its own rows depend on the order in which payments of different partitions arrive, and it keeps histories of
devices. So two runs of one stream may differ in them; what each decision saw is in its `positions`.
"""

from features.declaration import Feature
from features.default_set import FEATURES as DEFAULT
from features.default_set import LABEL_DELAY
from features.rows import device, merchant

FEATURES: tuple[Feature, ...] = (
    *DEFAULT,
    merchant("count", "1h"),
    merchant("count", "1d"),
    merchant("cards", "1h"),
    merchant("cards", "1d"),
    merchant("card_first", "30d"),
    merchant("amount_to_mean", "7d"),
    device("count", "1h"),
    device("count", "1d"),
    device("cards", "1d"),
    device("cards", "30d"),
    device("card_first", "30d"),
    device("seconds_since_last"),
    device("fraud_share", "30d", delay=LABEL_DELAY),
)
