"""Predictions that may be read after two minutes, for tests whose payments occur now."""

from features.rows import card, merchant, prediction, prediction_age

FEATURES = (
    card("count", "1h"),
    merchant("count", "1h", delay="8d"),  # without a delay a repair displaces what other partitions gave the merchant
    prediction("teacher", "2m", "1h"),
    prediction_age("teacher", "2m", "1h"),
)
