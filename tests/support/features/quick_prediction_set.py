"""Predictions that may be read after seconds, for tests whose payments occur now."""

from features.rows import card, merchant, prediction, prediction_age

FEATURES = (
    card("count", "1h"),
    merchant("count", "1h"),
    prediction("teacher", "8s", "1h"),
    prediction_age("teacher", "8s", "1h"),
)
