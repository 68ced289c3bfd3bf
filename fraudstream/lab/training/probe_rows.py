"""Invents the rows by which a machine shows that it scores to the bit: an artifact's other probes.

They follow from the trees and from the reference of the manifest alone, so they tell nothing that these do not: between
the thresholds and deciles of a feature lies its roundest number, and each row takes one of these of each feature; of
one that is split by categories, one of those that the splits know, or another. The
first rows spread over all deciles and undefined values; each of the others goes the ways in the trees that none before
it went, as many at once as agree with each other.
"""

from collections.abc import Iterator, Sequence
from decimal import ROUND_FLOOR, Decimal
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.model_text import CATEGORICAL, Tree, check_model_text
from models.policy import Floats
from models.training_reference import QuantityReference, TrainingReference, bins_of
from models.tree_kernel import ZERO_THRESHOLD

ROWS = 128
"""So many go both ways at all but a few splits of some hundred trees, and take 40 kB."""
SEED = 128
_SPREAD_ROWS = 16
"""More than a reference has bins."""
_MOST_CUTS = 1_024
_MOST_SPLITS = 200_000
"""Of all trees; the last trees of a larger model are reached by chance."""
_MOST_WAYS = 8_192
"""So many ways that no row went yet are tried for each row."""
_FINEST = 20
"""Digits that are tried to find a number between two others."""
_DEFAULT_LEFT, _MISSING_SHIFT, _MISSING_IS_ZERO, _MISSING_IS_NAN = 2, 2, 1, 2

Ints = NDArray[np.int64]


class _ValueChoice(NamedTuple):
    """The values that rows may have of one feature, ascending, and the bin of the reference that each is in."""

    values: Floats
    bins: Ints


class _Splits(NamedTuple):
    """The splits of all trees, one tree after the other.

    Attributes:
        features: of each split.
        left: of each split, a bit for each value of its feature: whether it goes left.
        children: of each split, those on the left and on the right; -1 for a leaf.
        parents: of each split, the one above it, -1 for a root, and whether it is on the right of that.
        roots: the first split of each tree.
    """

    features: list[int]
    left: list[int]
    children: list[tuple[int, int]]
    parents: list[tuple[int, bool]]
    roots: list[int]


def invented_rows(text: str, names: tuple[str, ...], reference: TrainingReference | None) -> Floats:
    """Return rows of shape (ROWS, features) for the trees of a model's text; the same text gives the same rows.

    Raises:
        DamagedArtifactError: the text is not a valid model of these features.
    """
    trees = _first(check_model_text(text, names))
    thresholds: list[list[float]] = [[] for _ in names]
    known: list[set[int]] = [set() for _ in names]
    for tree in trees:
        for feature, threshold, found in zip(tree.features, tree.thresholds, tree.sets_of_splits, strict=True):
            known[int(feature)].update(found)
            thresholds[int(feature)] += [] if found else [threshold]
    quantities = reference.features if reference is not None and reference.features else (None,) * len(names)
    choices = [
        _category_choice(sorted(categories), quantity) if categories else _choice(cuts, quantity)
        for cuts, categories, quantity in zip(thresholds, known, quantities, strict=True)
    ]
    picked = _Rows(choices, _splits(trees, choices), np.random.default_rng(SEED)).picked()
    return np.array([[choice.values[at] for choice, at in zip(choices, row, strict=True)] for row in picked])


def _first(trees: Sequence[Tree]) -> list[Tree]:
    counts = np.cumsum([len(tree.thresholds) for tree in trees])
    return [tree for tree, count in zip(trees, counts.tolist(), strict=True) if count <= _MOST_SPLITS]


def _choice(thresholds: Sequence[float], quantity: QuantityReference | None) -> _ValueChoice:
    """Return a number between each two of the thresholds and deciles of a feature, and NaN if it can be undefined."""
    edges = _edges(quantity)
    cuts = np.unique([cut for cut in (*thresholds, *edges) if np.isfinite(cut) and abs(cut) > 2 * ZERO_THRESHOLD])
    if len(cuts) > _MOST_CUTS:
        cuts = cuts[np.linspace(0, len(cuts) - 1, _MOST_CUTS).astype(int)]
    zeros = [0.0] if any(abs(cut) <= 2 * ZERO_THRESHOLD for cut in (*thresholds, *edges)) else []
    bounds = sorted({-np.inf, *cuts.tolist(), *zeros, np.inf})
    return _as_choice([roundest(low, high) for low, high in pairwise(bounds)], quantity)


def _category_choice(categories: Sequence[int], quantity: QuantityReference | None) -> _ValueChoice:
    """Return categories that splits know, the first number that none of them knows, and NaN as above."""
    places = np.unique(np.linspace(0, len(categories) - 1, min(_MOST_CUTS, len(categories))).astype(int))
    other = next(number for number, one in enumerate((*categories, None)) if number != one)
    return _as_choice(sorted({other, *(categories[place] for place in places.tolist())}), quantity)


def _as_choice(values: Sequence[float], quantity: QuantityReference | None) -> _ValueChoice:
    undefined = quantity is None or quantity.workdays[-1] + quantity.weekends[-1] > 0
    found = np.array([*values, np.nan] if undefined else values, np.float64)
    return _ValueChoice(found, bins_of(found, _edges(quantity)))


def _edges(quantity: QuantityReference | None) -> tuple[float, ...]:
    return () if quantity is None else quantity.edges


def roundest(low: float, high: float) -> float:
    """Return the number of the fewest digits that is above `low` and below `high`; `high` where there is none.

    A bound of 0 belongs to what is below it.
    """
    if low < 0 <= high:
        return 0.0
    if high < 0:
        return -roundest(-high, -low) if np.isfinite(low) else -_above(-high)
    if not np.isfinite(high):
        return _above(low)
    exact = Decimal(low)
    largest = Decimal(high).adjusted()
    for exponent in range(largest, largest - _FINEST, -1):
        step = Decimal(1).scaleb(exponent)
        found = float(((exact / step).to_integral_value(ROUND_FLOOR) + 1) * step)
        if low < found < high:
            return found
    return high


def _above(low: float) -> float:
    """Return the next power of ten above a number that is not below 0; the number itself where there is none."""
    found = float(Decimal(1).scaleb(Decimal(low).adjusted() + 1)) if low else 1.0
    return found if np.isfinite(found) else low


def _goes_left(values: Floats, thresholds: Floats, decisions: Ints) -> NDArray[np.bool_]:
    """Tell which of k values go left at m splits of a feature, of shape (m, k), by LightGBM's rules."""
    column, threshold = values[np.newaxis], thresholds[:, np.newaxis]
    undefined = np.isnan(column)
    missing = (decisions >> _MISSING_SHIFT)[:, np.newaxis]
    by_default = (missing == _MISSING_IS_NAN) & undefined
    by_default |= (missing == _MISSING_IS_ZERO) & (undefined | (np.abs(column) <= ZERO_THRESHOLD))
    left: NDArray[np.bool_] = np.where(undefined, 0.0, column) <= threshold
    return np.where(by_default, (decisions & _DEFAULT_LEFT > 0)[:, np.newaxis], left)


def _splits(trees: Sequence[Tree], choices: Sequence[_ValueChoice]) -> _Splits:
    features = [int(feature) for tree in trees for feature in tree.features]
    thresholds = np.array([threshold for tree in trees for threshold in tree.thresholds], np.float64)
    decisions = np.array([decision for tree in trees for decision in tree.decisions], np.int64)
    sets = [found for tree in trees for found in tree.sets_of_splits]
    left = [0] * len(features)
    numbers = np.array(features, np.int64)
    for feature in set(features):
        where = np.flatnonzero(numbers == feature)
        values = choices[feature].values
        goes = _goes_left(values, thresholds[where], decisions[where])
        by_category = np.flatnonzero(decisions[where] & CATEGORICAL)
        for row in by_category.tolist():
            goes[row] = np.isin(values, sets[where[row]])
        packed = np.packbits(goes, axis=1, bitorder="little")
        for split, bits in zip(where.tolist(), packed, strict=True):
            left[split] = int.from_bytes(bits.tobytes(), "little")
    children: list[tuple[int, int]] = []
    parents, roots = [(-1, False)] * len(features), list[int]()
    for tree in trees:
        first = len(children)
        roots += [first] if tree.features else []
        for pair in zip(tree.left, tree.right, strict=True):
            below = tuple(first + int(child) if child >= 0 else -1 for child in pair)
            for side, child in enumerate(below):
                if child >= 0:
                    parents[child] = (len(children), side == 1)
            children.append((below[0], below[1]))
    return _Splits(features, left, children, parents, roots)


def _walk(splits: _Splits, row: Sequence[int]) -> Iterator[tuple[int, bool]]:
    """Yield the ways that a row goes: splits, and whether it goes right there."""
    for root in splits.roots:
        split = root
        while split >= 0:
            right = not splits.left[split] >> row[splits.features[split]] & 1
            yield split, right
            split = splits.children[split][right]


class _Rows:
    """The rows that were picked so far, as places among the values of each feature, and the ways that none went."""

    def __init__(self, choices: Sequence[_ValueChoice], splits: _Splits, random: np.random.Generator) -> None:
        self._choices = choices
        self._splits = splits
        self._random = random
        self._open = {(split, right) for split in range(len(splits.left)) for right in (False, True)}

    def picked(self) -> Iterator[list[int]]:
        """Yield the rows."""
        spread = self._spread()
        for number in range(ROWS):
            row = [int(column[number]) for column in spread]
            if number >= _SPREAD_ROWS:
                row = self._sent(row)
            self._open.difference_update(_walk(self._splits, row))
            yield row

    def _spread(self) -> list[Ints]:
        """Return a place in each row for each feature; the first rows have all bins of the reference."""
        found = []
        for choice in self._choices:
            bins = np.unique(choice.bins)
            order = np.concatenate((self._random.permutation(bins), self._random.choice(bins, ROWS)))[:ROWS]
            places = [self._random.choice(np.flatnonzero(choice.bins == one)) for one in order.tolist()]
            found.append(np.array(places, np.int64))
        return found

    def _sent(self, row: list[int]) -> list[int]:
        """Return a row that goes as many open ways as agree; what they leave open stays as it is in `row`."""
        allowed = [(1 << len(choice.values)) - 1 for choice in self._choices]
        ways = sorted(self._open)
        for at in self._random.permutation(len(ways))[:_MOST_WAYS].tolist():
            split, right = ways[at]
            for feature, bits in self._needed(split, right, allowed).items():
                allowed[feature] = bits
        return [
            at if bits >> at & 1 else int(self._random.choice(_places(bits)))
            for at, bits in zip(row, allowed, strict=True)
        ]

    def _needed(self, split: int, right: bool, allowed: Sequence[int]) -> dict[int, int]:  # noqa: FBT001 - of a way
        """Return which of the allowed values of some features lead a way; none if none do."""
        needed: dict[int, int] = {}
        while split >= 0:
            feature, bits = self._splits.features[split], self._splits.left[split]
            before = needed.get(feature, allowed[feature])
            needed[feature] = before & ~bits if right else before & bits
            if not needed[feature]:
                return {}
            split, right = self._splits.parents[split]
        return needed


def _places(bits: int) -> list[int]:
    """Return the places of the bits that are set."""
    return [at for at in range(bits.bit_length()) if bits >> at & 1]
