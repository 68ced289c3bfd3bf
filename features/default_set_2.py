"""The second default feature table, `FEATURES`: the first one and eight rows that rank frauds better.

A compromised merchant shows in the sequence of what is known of its payments, and a stolen card in amounts that are
large for that card. No row depends on the order in which payments of different partitions arrive, and no history is
kept longer than for the first set.
"""

from features import default_set
from features.declaration import Feature
from features.default_set import LABEL_DELAY
from features.rows import card, merchant

FEATURES: tuple[Feature, ...] = (
    *default_set.FEATURES,
    merchant("fraud_run", "30d", delay=LABEL_DELAY),
    merchant("fraud_latest", "30d", delay=LABEL_DELAY),
    merchant("fraud_share_of_last_5", "30d", delay=LABEL_DELAY),
    merchant("days_since_first_fraud", "30d", delay=LABEL_DELAY),
    card("amount_to_earlier_median", "30d"),
    card("amount_to_earlier_mean", "30d"),
    card("large_amounts", "7d"),
    card("largest_to_median", "14d"),
)
