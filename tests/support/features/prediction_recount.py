"""The oracle of stored predictions as features: recounted from a plain list, one payment at a time.

It shares only the feature table and the values of a prediction with the product.
"""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

from features.aggregates import PredictionPart, StoredPrediction
from features.declaration import Feature, FeatureSet
from features.history.store import Prediction
from features.rows import card, prediction, prediction_age

HOUR_MS = 3_600_000
START_MS = 1_700_000_000_000
READING = FeatureSet(
    (
        card("count", "1h"),
        prediction("teacher", "1h", "2d"),
        prediction_age("teacher", "1h", "2d"),
        prediction("teacher", "6h", "1d"),
        prediction("segment", "1h", "30d"),
        prediction_age("segment", "1h", "30d"),
    )
)
"""Two names, one of them with two delays; `card` makes the set one of a deployment."""


def made(offset: int, computed_ms: int, value: float | None = 0.5, **changes: object) -> Prediction:
    """Return a prediction of the teacher about one card, which came at once unless `changes` say otherwise."""
    plain: dict[str, object] = {"card_id": "card-1", "name": "teacher", "partition": 0, "arrived_ms": computed_ms}
    return Prediction(**{"value": value, "computed_ms": computed_ms, "offset": offset, **plain, **changes})  # type: ignore[arg-type]


def read_by(feature: Feature, before: Iterable[Prediction], own_ms: int) -> Prediction | None:
    """Return the prediction that a row reads at a time, of those that were there."""
    stored = feature.aggregate
    assert isinstance(stored, StoredPrediction)
    latest: Prediction | None = None
    for one in before:
        if one.name != stored.name or one.arrived_ms > one.computed_ms + feature.delay_ms:
            continue
        if not own_ms - (feature.window_ms or 0) <= one.computed_ms <= own_ms - feature.delay_ms:
            continue
        if latest is None or _precedence(one) > _precedence(latest):
            latest = one
    return latest


def recounted(feature: Feature, before: Iterable[Prediction], own_ms: int) -> float:
    """Return a row's value; NaN where it is undefined."""
    found = read_by(feature, before, own_ms)
    if found is None:
        return math.nan
    assert isinstance(feature.aggregate, StoredPrediction)
    if feature.aggregate.part is PredictionPart.AGE:
        return float(Fraction(own_ms - found.computed_ms, 1000))
    return math.nan if found.value is None else found.value


def first_of_each(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Return the predictions without those that repeat an earlier one."""
    seen: dict[tuple[object, ...], Prediction] = {}
    for one in predictions:
        value = None if one.value is None else one.value + 0.0
        seen.setdefault((one.card_id, one.name, one.computed_ms, value), one)
    return list(seen.values())


def _precedence(one: Prediction) -> tuple[int, int, int]:
    return one.computed_ms, one.offset, one.partition
