"""A feature set with longer windows than the default one and with device features, for workers of tests to name."""

from features.default_set import FEATURES as DEFAULT
from features.rows import card, device, merchant

FEATURES = (
    *DEFAULT,
    card("count", "60d"),
    card("amount_sum", "60d"),
    card("merchants", "60d"),
    merchant("count", "60d", delay="7d"),
    merchant("fraud_share", "60d", delay="7d"),
    device("amount_sum", "30d"),
    device("fraud_share", "30d", delay="7d"),
)
