"""What a model's features and scores looked like before it went live: the part of the manifest that drift is told by.

For each quantity it has the inner edges between deciles and how many rows lay between them, apart for workdays and
weekends, since people pay otherwise then. A window of payments is compared with the mixture of both that it has itself.
Some 350 bytes for each feature.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from metrics.columns import Floats, Ints
from metrics.drift_test import GROUPS, design_effect, drift_test, multinomial_covariance
from models.categories import NO_CATEGORIES, Categories
from models.commands import Timestamp
from models.policy import Policy, bands
from models.times import format_time

DAY_MS = 86_400_000
BINS = 10
"""Between deciles; fewer where values are equal. One more holds what is undefined."""
LEAST_CARDS = 1_000
"""A window with fewer cards goes on for another day."""
MOST_DAYS = 7
"""A window is over after so many days, however few its cards."""
BAND_WIDTH = 50
"""Bands in a class: in each, the odds of fraud are about double those of the class before."""
BAND_CLASSES = 1_000 // BAND_WIDTH
LEAST_ROWS = 1_000
"""With fewer rows on workdays, or on weekends, both are taken together."""
_MOST_ROWS = 1_000_000
_DIGITS = 6
_SEED = 0
"""Of the random groups of cards."""
_DAYS_OF_WEEK = 7
_MONDAY = 3
"""The first of January 1970 was a Thursday, three days after a Monday."""
_SATURDAY = 5

Bins = NDArray[np.int64]


class QuantityReference(msgspec.Struct, frozen=True, kw_only=True):
    """The distribution of one feature, of the score, or of decisions, in the rows of a reference.

    Bin k holds values above edge k - 1 and up to edge k; the last but one is open, and the last is of undefined values.

    Attributes:
        edges: ascending, of shape (b,).
        workdays, weekends: rows in each bin, of shape (b + 2,).
        design_effect: how many times as large the variance of the shares is as that of independent rows.
        usual: the largest stability index of a window of the reference itself, less what chance gives on average.
    """

    edges: tuple[float, ...]
    workdays: tuple[int, ...]
    weekends: tuple[int, ...]
    design_effect: float
    usual: float

    def __post_init__(self) -> None:
        if {len(self.workdays), len(self.weekends)} != {len(self.edges) + 2}:
            raise ValueError("reference: workdays and weekends need a count for each bin, two more than edges")
        if min((*self.workdays, *self.weekends)) < 0 or not sum(self.workdays) + sum(self.weekends):
            raise ValueError("reference: a count is negative, or all are 0")

    @property
    def rows(self) -> int:
        """The rows that it was made of."""
        return sum(self.workdays) + sum(self.weekends)

    def shares(self, weekend_share: float) -> Floats:
        """Return the shares of the bins in payments of which so many are on weekends, of shape (bins,)."""
        workdays, weekends = np.array(self.workdays, float), np.array(self.weekends, float)
        if not self._tells_weekends:
            together: Floats = (workdays + weekends) / self.rows
            return together
        mixed: Floats = (1 - weekend_share) * workdays / workdays.sum() + weekend_share * weekends / weekends.sum()
        return mixed

    def covariance(self, weekend_share: float) -> Floats:
        """Return the covariance of these shares, of shape (bins, bins); each kind of day rests on its own rows."""
        if not self._tells_weekends:
            return multinomial_covariance(self.shares(weekend_share), self.rows, self.design_effect)
        found = np.zeros((len(self.workdays), len(self.workdays)))
        for part, counts in ((1 - weekend_share, self.workdays), (weekend_share, self.weekends)):
            rows = sum(counts)
            found += part**2 * multinomial_covariance(np.array(counts) / rows, rows, self.design_effect)
        return found

    @property
    def _tells_weekends(self) -> bool:
        return min(sum(self.workdays), sum(self.weekends)) >= LEAST_ROWS


class FeatureTraits(msgspec.Struct, frozen=True, kw_only=True):
    """What a feature means to the model, and how its rare values come and go.

    Attributes:
        importance: its share of the gain of all splits.
        usual_rest: the largest stability index of a window of the reference itself, less what chance gives on average,
            in two bins, the most frequent and the rest, of windows with less of the rest than the whole has.
    """

    importance: float
    usual_rest: float


class TrainingReference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The distributions that a model's live payments are compared with.

    Attributes:
        since, until: the first and the last payment.
        rows, cards: how many payments and cards.
        features: in the order of the manifest's feature names; empty if they are not known.
        score: of the calibrated score.
        decisions: rows approved, reviewed, declined by the model's policy; None if nobody has measured it.
        bands: rows in each class of 50 bands, of shape (20,).
        traits: of the features, in their order; empty in references of earlier versions.
    """

    since: Timestamp
    until: Timestamp
    rows: int
    cards: int
    features: tuple[QuantityReference, ...]
    score: QuantityReference
    decisions: QuantityReference | None
    bands: tuple[int, ...]
    traits: tuple[FeatureTraits, ...] = ()


class ReferenceRows(NamedTuple):
    """Payments in any order, with what a model made of them.

    Attributes:
        matrix: features, of shape (m, features), which may be a file mapped into memory; NaN is undefined.
        at: the number of each payment's row in the matrix, of shape (n,).
        scores: calibrated, of shape (n,).
        cards: a number for each row's card, of shape (n,).
        occurred_ms: of shape (n,).
        decisions: 0 approved, 1 reviewed, 2 declined, of shape (n,), where thresholds alone do not say it.
        gains: of the splits on each feature, of shape (features,); None if they are not known.
        categories: the columns whose numbers, in place of codes, have the distribution.
    """

    matrix: Floats
    at: Ints
    scores: Floats
    cards: Ints
    occurred_ms: Ints
    decisions: Bins | None = None
    gains: Floats | None = None
    categories: Categories = NO_CATEGORIES


def is_weekend(days: Ints) -> NDArray[np.bool_]:
    """Tell which days, counted from 1970-01-01 UTC, are Saturdays or Sundays."""
    weekend: NDArray[np.bool_] = (days + _MONDAY) % _DAYS_OF_WEEK >= _SATURDAY
    return weekend


def bins_of(values: Floats, edges: tuple[float, ...]) -> Bins:
    """Return the bin of each value, as `QuantityReference` numbers them."""
    found = np.searchsorted(np.array(edges), values, side="left").astype(np.int64)
    found[np.isnan(values)] = len(edges) + 1
    return found


def decision_bins(scores: Floats, policy: Policy) -> Bins:
    """Return the bin of each decision: 0 approved, 1 reviewed, 2 declined."""
    return np.searchsorted(np.array([policy.review_at, policy.decline_at]), scores, side="right").astype(np.int64)


def counts_by_group(groups: Ints, bins: Bins, width: int) -> Ints:
    """Return counts of rows by random group of cards, of shape (GROUPS, width)."""
    flat = np.bincount(groups * width + bins, minlength=GROUPS * width)
    return flat.reshape(GROUPS, width).astype(np.int64)


class _Windows(NamedTuple):
    """How the rows of a reference are divided: random groups of cards, weekends, and windows as of live payments."""

    groups: Ints
    weekend: NDArray[np.bool_]
    windows: tuple[NDArray[np.bool_], ...]


def build_reference(rows: ReferenceRows, policy: Policy) -> TrainingReference:
    """Make the reference of a model from payments that it was not trained on.

    With more than a million rows, those of a part of the cards are taken. The same rows give the same.
    """
    kept, divided = _divided(rows.cards, rows.occurred_ms)
    scores = rows.scores[kept]
    decisions = decision_bins(scores, policy) if rows.decisions is None else rows.decisions[kept]
    columns = (
        rows.categories.column_as_numbers(at, np.asarray(rows.matrix[rows.at[kept], at], np.float64))
        for at in range(rows.matrix.shape[1])
    )
    features, rests = list[QuantityReference](), list[float]()
    for column in columns:
        feature = _by_deciles(column, divided)
        features.append(feature)
        rests.append(_usual_rest(feature, bins_of(column, feature.edges), divided))
    return TrainingReference(
        since=format_time(int(rows.occurred_ms.min())),
        until=format_time(int(rows.occurred_ms.max())),
        rows=len(kept),
        cards=len(np.unique(rows.cards[kept])),
        features=tuple(features),
        score=_by_deciles(scores, divided),
        decisions=_quantity((policy.review_at, policy.decline_at), decisions, divided),
        bands=tuple(np.bincount(bands(scores) // BAND_WIDTH, minlength=BAND_CLASSES).tolist()),
        traits=() if rows.gains is None else _traits(rows.gains, rests),
    )


def _traits(gains: Floats, rests: list[float]) -> tuple[FeatureTraits, ...]:
    shares = gains / max(float(gains.sum()), 1e-300)
    return tuple(
        FeatureTraits(importance=_rounded(share), usual_rest=rest)
        for share, rest in zip(shares.tolist(), rests, strict=True)
    )


def decisions_reference(decisions: Bins, cards: Ints, occurred_ms: Ints, policy: Policy) -> QuantityReference:
    """Return the reference of decisions alone, for another policy of a model that has a reference.

    Args:
        decisions: 0 approved, 1 reviewed, 2 declined, of shape (n,).
        cards: a number for each row's card.
        occurred_ms: of shape (n,).
        policy: the thresholds.
    """
    kept, divided = _divided(cards, occurred_ms)
    return _quantity((policy.review_at, policy.decline_at), decisions[kept], divided)


def _divided(cards: Ints, occurred_ms: Ints) -> tuple[Ints, _Windows]:
    """Return which rows count, those of a part of the cards if there are many, and how they are divided."""
    found, card = np.unique(cards, return_inverse=True)
    part = -(-len(card) // _MOST_ROWS)
    kept = np.flatnonzero(card % part == 0)
    group = np.random.default_rng(_SEED).integers(GROUPS, size=len(found))[card][kept]
    days = occurred_ms[kept] // DAY_MS
    return kept, _Windows(group, is_weekend(days), tuple(_windows(days, card[kept])))


def _windows(days: Ints, cards: Ints) -> list[NDArray[np.bool_]]:
    """Return which rows are of each window of whole days with enough cards; the last may lack some, and is left out."""
    windows, first = [], int(days.min())
    for day in range(first, int(days.max()) + 1):
        inside = (days >= first) & (days <= day)
        if len(np.unique(cards[inside])) >= LEAST_CARDS or (day - first + 1 >= MOST_DAYS and inside.any()):
            windows.append(inside)
            first = day + 1
    return windows


def _by_deciles(values: Floats, divided: _Windows) -> QuantityReference:
    defined = values[np.isfinite(values)]
    inner = np.quantile(defined, np.linspace(0, 1, BINS + 1)[1:-1], method="lower") if len(defined) else np.empty(0)
    edges = tuple(np.unique(inner).tolist())
    return _quantity(edges, bins_of(values, edges), divided)


def _quantity(edges: tuple[float, ...], bins: Bins, divided: _Windows) -> QuantityReference:
    width = len(edges) + 2
    workdays, weekends = (
        tuple(np.bincount(bins[kind], minlength=width).tolist()) for kind in (~divided.weekend, divided.weekend)
    )
    effect = known_design_effect(counts_by_group(divided.groups, bins, width))
    found = QuantityReference(edges=edges, workdays=workdays, weekends=weekends, design_effect=effect, usual=0.0)
    windows = (
        (counts_by_group(divided.groups[inside], bins[inside], width), float(divided.weekend[inside].mean()))
        for inside in divided.windows
    )
    return with_usual(found, windows)


def in_two(shares: Floats) -> Floats:
    """Return what makes two bins of all, the most frequent one and the rest, of shape (bins, 2)."""
    is_mode = np.arange(len(shares)) == int(np.argmax(shares))
    return np.column_stack((is_mode, ~is_mode)).astype(np.float64)


def _usual_rest(found: QuantityReference, bins: Bins, divided: _Windows) -> float:
    largest = 0.0
    for inside in divided.windows:
        weekend = float(divided.weekend[inside].mean())
        expected = found.shares(weekend)
        two = in_two(expected)
        by_group = (counts_by_group(divided.groups[inside], bins[inside], len(expected)) @ two).astype(np.int64)
        test = drift_test(expected @ two, np.zeros((2, 2)), by_group)
        if by_group[:, 1].sum() < (expected @ two)[1] * by_group.sum():
            largest = max(largest, test.index - test.mean)
    return _rounded(largest)


def with_usual(found: QuantityReference, windows: Iterable[tuple[Ints, float]]) -> QuantityReference:
    """Return a reference with how far its own windows lie from all of it, beyond chance.

    Args:
        found: the reference.
        windows: counts by random group of cards and bin, of shape (GROUPS, bins), and the share of weekends in each.
    """
    none, largest = np.zeros((len(found.workdays), len(found.workdays))), 0.0
    for by_group, weekend in windows:
        if by_group.any():
            test = drift_test(found.shares(weekend), none, by_group)
            largest = max(largest, test.index - test.mean)
    return msgspec.structs.replace(found, usual=_rounded(largest))


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def known_design_effect(by_group: Ints) -> float:
    """Return the design effect of shares as a reference states it: at least that of independent rows, 1."""
    return _rounded(max(design_effect(by_group), 1.0))
