"""Raw margins by the kernel in C, where it is there and can take a model's trees.

LightGBM's own answer depends on three things beside `value <= threshold`: a value whose magnitude is at most
`ZERO_THRESHOLD` is taken for 0; a split that knows no missing values takes NaN for 0; and a split that does sends NaN,
or NaN and 0, to the side that it names. So each feature has a column of ranks for each way in which its splits do that.
A split by categories looks a whole number up in a set, and sends all else to the right.
"""

import ctypes
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.model_text import CATEGORICAL, Tree
from models.policy import Floats

Ints = NDArray[np.int64]
LIBRARY = Path(__file__).with_name("tree_margins.shared")

ZERO_THRESHOLD = float(np.float32(1e-35))
"""LightGBM's `kZeroThreshold`."""
MOST_LEAVES, MOST_COLUMNS, MOST_THRESHOLDS = 128, 256, 65_534
"""Of a tree, of all features, and of a feature: what a node of the kernel can count."""
MOST_SETS, MOST_KNOWN = 65_535, 65_534
"""Of a feature: sets of its splits, and categories in them."""
LANES = 8
"""Rows that the kernel takes at a time; what remains of a batch it takes one by one."""
_ALWAYS_RIGHT, _LEAF = 65_535, 65_535
_DEFAULT_LEFT, _MISSING_SHIFT = 2, 2
_MISSING_IS_ZERO, _MISSING_IS_NAN = 1, 2
_KINDS = 16  # of LightGBM's decision types
_WORD = 32
_NODE = np.dtype([("rank", np.uint16), ("column", np.uint8), ("left", np.uint8)])


class _Splits(NamedTuple):
    """The splits of all trees, one tree after the other, each of shape (splits,)."""

    tree: Ints
    number: Ints
    """In its tree."""
    feature: Ints
    threshold: Floats
    decision: Ints
    left: Ints
    right: Ints

    @classmethod
    def of(cls, trees: Sequence[Tree]) -> "_Splits":
        counts = [len(tree.thresholds) for tree in trees]
        first = np.cumsum([0, *counts[:-1]])

        def whole(name: str) -> Ints:
            return _joined(trees, name).astype(np.int64)

        return cls(
            tree=np.repeat(np.arange(len(trees)), counts),
            number=np.arange(sum(counts)) - np.repeat(first, counts),
            feature=whole("features"),
            threshold=_joined(trees, "thresholds"),
            decision=whole("decisions"),
            left=whole("left"),
            right=whole("right"),
        )


def _joined(trees: Sequence[Tree], name: str) -> Floats:
    return np.fromiter(chain.from_iterable(getattr(tree, name) for tree in trees), np.float64)


class _Sets(NamedTuple):
    """The sets of categories that splits look values up in."""

    features: Ints
    """Place, first category, categories, first word of set 0 and words of a set of each feature: shape (k, 5)."""
    known: Floats
    """The categories of each feature's sets, ascending."""
    bits: NDArray[np.uint32]
    """Of each set, a bit for the place of each category among those of its feature, and one for all others."""
    rank: Ints
    """Of each split that looks a value up, the number of its set among those of its feature."""

    @property
    def fits(self) -> bool:
        """Whether the kernel can count all sets and categories."""
        return len(self.known) <= MOST_KNOWN and self.rank.max(initial=0) < MOST_SETS


def _gathered(trees: Sequence[Tree], splits: _Splits, by_category: Ints) -> _Sets:
    """Gather the sets of some splits by their features, equal ones once."""
    sets: dict[int, dict[tuple[int, ...], int]] = {}
    rank = np.empty(len(by_category), np.int64)
    for at, split in enumerate(by_category.tolist()):
        found = trees[splits.tree[split]].sets[int(splits.threshold[split])]
        of_feature = sets.setdefault(int(splits.feature[split]), {})
        rank[at] = of_feature.setdefault(found, len(of_feature))
    features, known, bits = list[tuple[int, ...]](), [np.empty(0)], [np.empty(0, np.uint32)]
    for feature in sorted(sets):
        categories = np.unique([one for found in sets[feature] for one in found])
        words = len(categories) // _WORD + 1
        matrix = np.zeros((len(sets[feature]), words * _WORD), np.uint8)
        for number, found in enumerate(sets[feature]):
            matrix[number, np.searchsorted(categories, found)] = 1
        features.append((feature, sum(map(len, known)), len(categories), sum(map(len, bits)), words))
        known.append(categories.astype(np.float64))
        bits.append(np.packbits(matrix, axis=1, bitorder="little").view("<u4").astype(np.uint32).ravel())
    return _Sets(np.array(features, np.int64).reshape(-1, 5), np.concatenate(known), np.concatenate(bits), rank)


_NO_SETS = _Sets(np.empty((0, 5), np.int64), np.empty(0), np.empty(0, np.uint32), np.empty(0, np.int64))


class _Ranks(NamedTuple):
    """What a row's values become, and what splits compare that with."""

    features: Ints
    """Place, first threshold, thresholds, first column and columns of each feature that splits use: shape (k, 5)."""
    thresholds: Floats
    zeros: NDArray[np.uint16]
    nans: NDArray[np.uint16]
    """The ranks of zero and of NaN in each column."""
    column: Ints
    rank: Ints
    """Of each split, of shape (splits,)."""
    sets: _Sets

    @property
    def first_category(self) -> int:
        """The first column of categories; the one before it is of thresholds, or of nothing."""
        return max(1, len(self.zeros))

    @property
    def fits(self) -> bool:
        """Whether the kernel can count all columns, thresholds and sets."""
        columns = self.first_category + len(self.sets.features)
        return columns <= MOST_COLUMNS and self.features[:, 2].max(initial=0) <= MOST_THRESHOLDS and self.sets.fits


def _ranked(trees: Sequence[Tree], splits: _Splits) -> _Ranks:
    categorical = splits.decision & CATEGORICAL > 0
    by_threshold, by_category = np.flatnonzero(~categorical), np.flatnonzero(categorical)
    found = _ranked_by_thresholds(splits._replace(**{name: at[by_threshold] for name, at in splits._asdict().items()}))
    sets = _gathered(trees, splits, by_category)
    column, rank = np.empty(len(categorical), np.int64), np.empty(len(categorical), np.int64)
    column[by_threshold], rank[by_threshold] = found.column, found.rank
    column[by_category] = found.first_category + np.searchsorted(sets.features[:, 0], splits.feature[by_category])
    rank[by_category] = sets.rank
    return found._replace(column=column, rank=rank, sets=sets)


def _ranked_by_thresholds(splits: _Splits) -> _Ranks:
    blind = splits.decision >> _MISSING_SHIFT == 0  # to missing values: where its default leads has no effect
    keys, column = np.unique(splits.feature * _KINDS + np.where(blind, 0, splits.decision), return_inverse=True)
    used = np.unique(splits.feature)
    at = np.searchsorted(keys, np.stack((used, used + 1)) * _KINDS)
    rank, thresholds, zero = np.empty(len(column), np.int64), [], np.empty(len(used), np.int64)
    for number, feature in enumerate(used.tolist()):
        of_feature = np.flatnonzero(splits.feature == feature)
        found, rank[of_feature] = np.unique(splits.threshold[of_feature], return_inverse=True)
        zero[number] = np.searchsorted(found, 0.0)
        thresholds.append(found)
    counts = np.array([len(found) for found in thresholds], np.int64)
    features = np.stack((used, np.cumsum(counts) - counts, counts, at[0], at[1] - at[0]), axis=1)
    missing, default_left = (keys % _KINDS) >> _MISSING_SHIFT, (keys % _KINDS) & _DEFAULT_LEFT > 0
    of_zero = np.repeat(zero, at[1] - at[0])
    default = np.where(default_left, 0, _ALWAYS_RIGHT)
    return _Ranks(
        features=features,
        thresholds=np.concatenate([*thresholds, np.empty(0)]),
        zeros=np.where(missing == _MISSING_IS_ZERO, default, of_zero).astype(np.uint16),
        nans=np.where(missing == 0, of_zero, default).astype(np.uint16),
        column=column,
        rank=rank,
        sets=_NO_SETS,
    )


class _Nodes(NamedTuple):
    """The nodes of all trees: of each its root first, and the children of its split k as nodes 1 + 2k and 2 + 2k."""

    nodes: NDArray[np.void]
    roots: Ints
    depths: Ints
    values: Floats


def _laid_out(trees: Sequence[Tree], splits: _Splits, ranks: _Ranks) -> _Nodes:
    leaves = np.array([len(tree.leaves) for tree in trees], np.int64)
    first_leaf, counts = np.cumsum(leaves) - leaves, 2 * leaves - 1
    roots = np.cumsum(counts) - counts
    first_split = first_leaf - np.arange(len(trees))  # a tree has one leaf more than splits
    parent = np.tile(np.arange(len(splits.tree)), 2)
    child = np.concatenate((splits.left, splits.right))
    tree = splits.tree[parent]
    place = roots[tree] + 2 * splits.number[parent] + np.repeat([1, 2], len(splits.tree))
    inner, position = child >= 0, roots[splits.tree]
    position[first_split[tree[inner]] + child[inner]] = place[inner]
    values, leaf = np.zeros(int(counts.sum())), _joined(trees, "leaves")
    values[roots[leaves == 1]] = leaf[first_leaf[leaves == 1]]
    values[place[~inner]] = leaf[first_leaf[tree[~inner]] - 1 - child[~inner]]
    nodes = np.zeros(len(values), _NODE)
    nodes["rank"], nodes["left"] = _LEAF, np.arange(len(values)) - np.repeat(roots, counts)
    nodes["rank"][position], nodes["column"][position] = ranks.rank, ranks.column
    nodes["left"][position] = 1 + 2 * splits.number
    depths = _depths(splits, first_split)
    return _Nodes(nodes, roots, depths, values)


def _depths(splits: _Splits, first_split: Ints) -> Ints:
    """Return how many splits lie on the longest way to a leaf of each tree."""
    depths = np.zeros(len(first_split), np.int64)
    level = np.flatnonzero(splits.number == 0)
    while len(level):
        depths[splits.tree[level]] += 1
        children = np.concatenate((splits.left[level], splits.right[level]))
        below = first_split[np.tile(splits.tree[level], 2)] + children
        level = below[children >= 0]
    return depths


class _Layout(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("trees", "width", "feature_count", "category_count", "first_category")),
        *((name, ctypes.c_void_p) for name in ("features", "thresholds", "zeros", "nans")),
        *((name, ctypes.c_void_p) for name in ("nodes", "roots", "depths", "values")),
        *((name, ctypes.c_void_p) for name in ("categories", "known", "bits")),
        ("zero", ctypes.c_double),
    )


class Forest:
    """A model's trees as the kernel reads them. Thread-safe: nothing of it changes."""

    def __init__(self, kernel: "TreeKernel", ranks: _Ranks, nodes: _Nodes, width: int) -> None:
        """Use `TreeKernel.forest`."""
        self.width = width
        self._ranks, self._nodes = ranks, nodes  # the layout has the addresses of their arrays
        self._layout = _Layout(
            trees=len(nodes.roots),
            width=width,
            feature_count=len(ranks.features),
            category_count=len(ranks.sets.features),
            first_category=ranks.first_category,
            **{name: getattr(ranks, name).ctypes.data for name in ("features", "thresholds", "zeros", "nans")},
            **{name: getattr(nodes, name).ctypes.data for name in ("nodes", "roots", "depths", "values")},
            **{name: getattr(ranks.sets, name).ctypes.data for name in ("known", "bits")},
            categories=ranks.sets.features.ctypes.data,
            zero=ZERO_THRESHOLD,
        )
        self._at = ctypes.addressof(self._layout)
        self._function = kernel.function

    def margins(self, matrix: Floats) -> Floats:
        """Return the raw margin of each row of a float64 matrix of shape (n, width)."""
        rows = np.ascontiguousarray(matrix)
        margins = np.empty(len(rows))
        self._function(self._at, rows.ctypes.data, len(rows), margins.ctypes.data)
        return margins

    def thresholds(self) -> Iterator[tuple[int, Floats]]:
        """Yield the place of each feature that splits by thresholds use, and its thresholds, which rise."""
        for place, first, count, *_ in self._ranks.features.tolist():
            yield place, self._ranks.thresholds[first : first + count]

    def categories(self) -> Iterator[tuple[int, Floats]]:
        """Yield the place of each feature that splits by categories use, and the categories in their sets."""
        for place, first, count, *_ in self._ranks.sets.features.tolist():
            yield place, self._ranks.sets.known[first : first + count]


class TreeKernel:
    """The library."""

    def __init__(self, library: Path) -> None:
        self.function = ctypes.CDLL(str(library)).forest_margins
        self.function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
        self.function.restype = None

    def forest(self, trees: Sequence[Tree], width: int) -> Forest | None:
        """Return the trees of `width` features as the kernel reads them; None if they are too large for it."""
        if not trees or max(len(tree.leaves) for tree in trees) > MOST_LEAVES:
            return None
        splits = _Splits.of(trees)
        ranks = _ranked(trees, splits)
        return Forest(self, ranks, _laid_out(trees, splits, ranks), width) if ranks.fits else None


def open_kernel() -> TreeKernel | None:
    """Return the kernel; None where it was not built, not for this machine, or from other sources than these."""
    try:
        return TreeKernel(LIBRARY) if LIBRARY.exists() else None
    except (OSError, AttributeError):
        return None


KERNEL = open_kernel()
