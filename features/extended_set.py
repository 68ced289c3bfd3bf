"""The default table plus undelayed features of merchants and devices, for `FRAUDSTREAM_FEATURES`.

Most of the added rows depend on the order in which payments of different partitions arrive, and they need device
histories. Two runs of one stream may therefore differ in them; each decision records what it saw in its `positions`.
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
