"""A feature table that reads predictions from storage, beside a few features of histories."""

from features.rows import card, merchant, own, prediction, prediction_age

FEATURES = (
    card("count", "1d"),
    card("amount_to_mean", "30d"),
    merchant("fraud_share", "30d", delay="7d"),
    own("is_night"),
    prediction("teacher", "6h", "2d"),
    prediction_age("teacher", "6h", "2d"),
    prediction("segment", "1h", "30d"),
)
