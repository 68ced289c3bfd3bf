"""What one window of payments shows: how far each feature, the score and the decisions lie from the reference."""

import msgspec
import numpy as np

from metrics.columns import Ints
from metrics.drift_test import DriftTest, drift_test, shares_of
from models.times import format_time
from models.training_reference import DAY_MS, QuantityReference, TrainingReference
from stream.drift.counts import PROBABILITY_UNIT, DriftCounts
from stream.drift.layout import ALERTS, DECISIONS, DECLINES, SCORE, Layout
from stream.drift.terms import DriftTerms

ALL_FEATURED = 0.999
"""Features are watched where so many payments carry them; those that carry them for their decision are no sample."""


class QuantityDrift(msgspec.Struct, frozen=True):
    """How far one quantity lies from its reference in a window.

    Attributes:
        name: of a feature, or `(score)`, `(alerts)` or `(declines)`.
        index: the population stability index.
        chance: what chance alone exceeds with the terms' alpha; of a share of decisions at least what is usual.
        bound: the index, and for a share of decisions the factor, from which it is worth an alarm.
        expected, actual: of a share of decisions, in the reference and in the window; None of others.
    """

    name: str
    index: float
    chance: float
    bound: float
    expected: float | None = None
    actual: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has moved by more than chance explains, and by so much that it matters."""
        if self.index < self.chance:
            return False
        return self.factor >= self.bound if self.expected is not None else self.index >= self.bound

    @property
    def factor(self) -> float:
        """Of a share of decisions, by which factor it rose or fell, at least 1; of an empty one infinity."""
        low, high = sorted((self.expected or 0.0, self.actual or 0.0))
        return high / low if low else float("inf") if high else 1.0


class JudgedWindow(msgspec.Struct, frozen=True):
    """One window of a model and arm.

    Attributes:
        first_day, end_day: days since 1970-01-01 UTC, the end excluded.
        payments, cards: how many; of the cards about.
        featured: the share of the payments that carry their features.
        quantities: features in the order of the model, if they are watched; then score, alerts and declines.
        bands: payments in each class of 50 bands.
        alerts: payments that the model wanted reviewed or declined.
        estimated_precision: the mean score of these; None without any.
    """

    first_day: int
    end_day: int
    payments: int
    cards: int
    featured: float
    quantities: tuple[QuantityDrift, ...]
    bands: tuple[int, ...]
    alerts: int
    estimated_precision: float | None

    @property
    def over(self) -> tuple[QuantityDrift, ...]:
        """The quantities that are worth an alarm, the farthest from its bound first."""
        return tuple(sorted((one for one in self.quantities if one.is_over), key=lambda one: -one.index))

    @property
    def watches_features(self) -> bool:
        """Whether features were compared."""
        return any(is_feature(one.name) for one in self.quantities)

    @property
    def worst_features(self) -> tuple[QuantityDrift, ...]:
        """The features by how far they have moved, the farthest first."""
        return tuple(sorted((one for one in self.quantities if is_feature(one.name)), key=lambda one: -one.index))

    def quantity(self, name: str) -> QuantityDrift | None:
        """Return a quantity by its name; None if it was not compared."""
        return next((one for one in self.quantities if one.name == name), None)


def is_feature(name: str) -> bool:
    """Tell whether a quantity is a feature."""
    return name not in (SCORE, ALERTS, DECLINES)


def day_text(day: int) -> str:
    """Return a day since 1970-01-01 as text, such as 2026-01-31."""
    return format_time(day * DAY_MS)[:10]


def judge_window(
    layout: Layout, reference: TrainingReference, counts: DriftCounts, days: tuple[int, int], terms: DriftTerms
) -> JudgedWindow:
    """Compare the payments of a window, at least one, with the reference.

    Args:
        layout: the bins of the model.
        reference: of the same bins.
        counts: of the window.
        days: its first day, and the day after its last.
        terms: when it matters.
    """
    begins, featured = layout.begins, counts.featured / counts.payments
    names = layout.names if featured >= ALL_FEATURED and reference.features else ()
    alpha = terms.alpha(len(names) + 3)
    weekend = counts.weekend / counts.payments
    found = []
    for at, name in (*enumerate(names), (len(layout.names), SCORE)):
        quantity = reference.score if name == SCORE else reference.features[at]
        test = _test(quantity, counts.by_group[:, begins[at] : begins[at + 1]], weekend)
        bound = max(terms.least_index, quantity.usual)
        found.append(QuantityDrift(name, test.index, test.chance_bound(alpha), bound))
    decided = counts.by_group[:, layout.decision_begin :]
    if reference.decisions is not None:
        found += [_share(reference.decisions, decided, (name, first), weekend, (alpha, terms.ratio))
                  for name, first in ((ALERTS, 1), (DECLINES, 2))]  # fmt: skip
    alerts = int(counts.alerts_by_group.sum())
    estimated = int(counts.expected.sum()) / PROBABILITY_UNIT / alerts if alerts else None
    return JudgedWindow(
        *days,
        counts.payments,
        counts.card_count,
        featured,
        tuple(found),
        tuple(counts.bands.tolist()),
        alerts,
        estimated,
    )


def _test(quantity: QuantityReference, by_group: Ints, weekend: float) -> DriftTest:
    return drift_test(quantity.shares(weekend), quantity.covariance(weekend), by_group)


def _share(
    decisions: QuantityReference, by_group: Ints, what: tuple[str, int], weekend: float, bounds: tuple[float, float]
) -> QuantityDrift:
    """Compare the share of decisions from one on: reviewed or declined, or declined alone."""
    (name, first), (alpha, ratio) = what, bounds
    expected, covariance = decisions.shares(weekend), decisions.covariance(weekend)
    place = np.arange(len(expected))
    is_later = (place >= first) & (place < DECISIONS)
    in_two = np.column_stack((~is_later, is_later)).astype(np.float64)
    two = (by_group @ in_two[:DECISIONS]).astype(np.int64)
    test = drift_test(expected @ in_two, in_two.T @ covariance @ in_two, two)
    chance = max(test.chance_bound(alpha), decisions.usual)
    return QuantityDrift(name, test.index, chance, ratio, float(expected @ in_two[:, 1]), float(shares_of(two)[1]))
