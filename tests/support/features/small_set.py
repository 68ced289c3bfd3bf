"""A small feature set from which models of `training_files.transactions` learn, for tests that train one."""

from features.rows import card, merchant, own

FEATURES = (
    card("count", "1h"),
    card("amount_max", "1d"),
    card("amount_to_mean", "30d"),
    card("amount_to_smallest", "1d"),
    merchant("count", "7d", delay="7d"),
    merchant("fraud_share", "30d", delay="7d"),
    own("is_night"),
)
