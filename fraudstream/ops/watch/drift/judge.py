"""What one window of payments shows: how far each feature, the score and the decisions lie from the reference."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple, Self

import msgspec
import numpy as np

from fraudstream.ops.watch.drift.counts import PROBABILITY_UNIT, DriftCounts
from fraudstream.ops.watch.drift.layout import ALERTS, DECISIONS, DECLINES, REST, SCORE, Layout
from fraudstream.ops.watch.drift.terms import DriftTerms
from metrics.columns import Floats, Ints
from metrics.drift import LEAST_SHARE, stability_index
from metrics.drift_test import DriftTest, drift_test, shares_of
from models.times import format_time
from models.training_reference import DAY_MS, FeatureTraits, QuantityReference, TrainingReference, in_two

_WEEKEND = 2 / 7
_NEWEST = 0.05
"""The weight of the newest window among the weeks before: those of three weeks count for most of it."""
_LARGEST = 1.5
"""The largest index of some weeks of windows is above the mean of chance by about so many times that mean."""
_MOSTLY = 0.5
"""Rare values are watched where so many are the most frequent one; else the index of all bins shows them."""
ALL_FEATURED = 0.999
"""Features are watched where so many payments carry them; those that carry them for their decision are no sample."""


class QuantityDrift(msgspec.Struct, frozen=True):
    """How far one quantity lies from its reference in a window.

    Attributes:
        name: of a feature, or `(score)`, `(alerts)` or `(declines)`; that of a feature with ` (rest)` behind it stands
            for its values other than the most frequent one.
        index: the population stability index.
        chance: what chance alone exceeds with the terms' alpha; of a share of decisions at least what is usual.
        bound: the index, and for a share of decisions the factor, from which it is worth an alarm.
        expected, actual: of a share of decisions, or of the rest of a feature's values, in the reference and in the
            window; None of others.
        is_slow: whether it is as in the weeks before, and not so far from the reference that it matters all the same.
    """

    name: str
    index: float
    chance: float
    bound: float
    expected: float | None = None
    actual: float | None = None
    is_slow: bool = False

    @property
    def has_moved(self) -> bool:
        """Whether it has moved by more than chance explains, and by so much that it matters."""
        if self.index < self.chance:
            return False
        if self.expected is None:
            return self.index >= self.bound
        if self.name.endswith(REST) and (self.actual or 0.0) > self.expected:
            return False
        return self.factor >= self.bound

    @property
    def is_over(self) -> bool:
        """Whether it has moved so, and not as slowly as a season."""
        return self.has_moved and not self.is_slow

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
    return name not in (SCORE, ALERTS, DECLINES) and not name.endswith(REST)


def day_text(day: int) -> str:
    """Return a day since 1970-01-01 as text, such as 2026-01-31."""
    return format_time(day * DAY_MS)[:10]


class WindowBaseline(NamedTuple):
    """What a window is compared with: the reference, and the shares of bins in the weeks before, of shape (bins,)."""

    reference: TrainingReference
    recent: Floats

    @classmethod
    def at_first(cls, reference: TrainingReference, layout: Layout) -> Self:
        """Return the reference alone, as it stands for the weeks before a model's first window."""
        parts = (*reference.features, reference.score) if reference.features else ()
        known = np.concatenate([one.shares(_WEEKEND) for one in parts]) if parts else np.empty(0)
        if len(known) < layout.decision_begin:  # features are not watched
            known = np.concatenate((np.zeros(int(layout.begins[-3])), reference.score.shares(_WEEKEND)))
        return cls(reference, known)

    def after(self, layout: Layout, counts: DriftCounts) -> Floats:
        """Return the shares of the weeks before the next window: those of this one count for a twentieth."""
        found, begins = self.recent.copy(), layout.begins
        totals = counts.by_group.sum(axis=0)
        for begin, end in pairwise(begins[:-1].tolist()):
            if totals[begin:end].any():
                now = totals[begin:end] / totals[begin:end].sum()
                found[begin:end] += (now - found[begin:end]) * _NEWEST
        return found

    def distance(self, begin: int, shares: Floats) -> float:
        """Return the stability index of a quantity of a window against the weeks before."""
        before = self.recent[begin : begin + len(shares)]
        return stability_index(*(np.maximum(one, LEAST_SHARE).tolist() for one in (before, shares)))


def judge_window(
    layout: Layout, baseline: WindowBaseline, counts: DriftCounts, days: tuple[int, int], terms: DriftTerms
) -> JudgedWindow:
    """Compare the payments of a window, at least one, with the reference.

    Args:
        layout: the bins of the model.
        baseline: the reference, of the same bins, and the weeks before.
        counts: of the window.
        days: its first day, and the day after its last.
        terms: when it matters.
    """
    reference, begins, featured = baseline.reference, layout.begins, counts.featured / counts.payments
    names = layout.names if featured >= ALL_FEATURED and reference.features else ()
    traits = reference.traits if names else ()
    alpha = terms.alpha(len(names) + 3 + len(traits))
    weekend = counts.weekend / counts.payments
    found, rests = list[QuantityDrift](), list[QuantityDrift]()
    for at, name in (*enumerate(names), (len(layout.names), SCORE)):
        quantity = reference.score if name == SCORE else reference.features[at]
        by_group = counts.by_group[:, begins[at] : begins[at + 1]]
        test = _test(quantity, by_group, weekend)
        known = traits[at] if at < len(traits) else None
        bound = _bound(terms.least_of(known.importance if known else None), quantity.usual - _LARGEST * test.mean)
        is_near = baseline.distance(int(begins[at]), shares_of(by_group)) - test.mean < terms.sudden * bound
        is_slow = is_near and test.index < max(terms.large_index, bound)
        found.append(QuantityDrift(name, test.index, test.chance_bound(alpha), bound, is_slow=is_slow))
        if known is not None:
            rests += _rest(name, (quantity, known), by_group, weekend, (alpha, terms))
    decided = counts.by_group[:, layout.decision_begin :]
    if reference.decisions is not None:
        found += [_share(reference.decisions, decided, (name, first), weekend, (alpha, terms.ratio))
                  for name, first in ((ALERTS, 1), (DECLINES, 2))]  # fmt: skip
    found += rests
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


def _bound(least: float, usual: float) -> float:
    """Return the index that is a drift beyond what is usual.

    An index is about a squared distance, and distances add up: what lies so far from an unusual day of the reference as
    is worth an alarm is at most their sum from the middle of the reference.
    """
    return (math.sqrt(least) + math.sqrt(max(usual, 0.0))) ** 2


def _rest(
    name: str,
    known: tuple[QuantityReference, FeatureTraits],
    by_group: Ints,
    weekend: float,
    bounds: tuple[float, DriftTerms],
) -> Iterator[QuantityDrift]:
    """Compare the share of values that are not the most frequent one, where that is most of them and matters."""
    (quantity, traits), (alpha, terms) = known, bounds
    expected, covariance = quantity.shares(weekend), quantity.covariance(weekend)
    if expected.max() < _MOSTLY or expected.max() == 1 or terms.least_of(traits.importance) > terms.least_index:
        return
    two = in_two(expected)
    by_two = (by_group @ two).astype(np.int64)
    test = drift_test(expected @ two, two.T @ covariance @ two, by_two)
    chance = max(test.chance_bound(alpha), traits.usual_rest)
    yield QuantityDrift(
        f"{name}{REST}", test.index, chance, terms.ratio, float((expected @ two)[1]), float(shares_of(by_two)[1])
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
