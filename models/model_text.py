"""Validate a model's text before it is given to LightGBM.

LightGBM trusts its input: a wrong size, a child index out of range or a cycle among the nodes crashes the process or
hangs it. So the layout is checked first; only binary models pass, of trees that split by a threshold or by a set of
categories.
"""

import math
import re
import struct
from collections.abc import Callable, Collection, Iterator
from itertools import accumulate, pairwise
from typing import NamedTuple

from models.errors import DamagedArtifactError

TEXT_VERSION = "v4"
"""The version of LightGBM's text format that is read."""
_FIXED = {
    "version": TEXT_VERSION,
    "num_class": "1",
    "num_tree_per_iteration": "1",
    "label_index": "0",
    "objective": "binary sigmoid:1",
}
_HEADER = (*_FIXED, "max_feature_idx", "feature_names", "feature_infos", "tree_sizes")
MOST_LEAVES, MOST_SPLITS_DEEP = 16_384, 256
"""Of a tree: explanations take time and memory by the square of its depth, and recurse. Trained trees have a tenth."""
CATEGORICAL = 1
"""The bit of LightGBM's decision types of a split by categories."""
MOST_CATEGORY_WORDS = 2**16
"""Of a split's set: categories below 2,097,152."""
_LARGEST_INT, _LARGEST_WORD = 2**31 - 1, 2**32 - 1
_DECISIONS = frozenset({0, 2, 4, 6, 8, 10})  # numeric (bit 0 clear), default left or right, three kinds of missing
_BY_CATEGORY = frozenset({1, 5, 9})  # no default: what is in no set, and NaN, goes right
_ALL_BUT_NAN = ("threshold", "inf")  # a split between present and missing values
_NUMBER = re.compile(r"-?\d{1,40}(?:\.\d{1,40})?(?:e[+-]?\d{1,3})?", re.ASCII)


_OBJECTIVE = re.compile(r"^objective=.*$", re.MULTILINE)
_RANGES = re.compile(r"^feature_infos=.*$", re.MULTILINE)


class _Line(NamedTuple):
    """One line of a tree: how many numbers it has for n leaves, and whether they are integers, up to which."""

    name: str
    length: Callable[[int], int]
    whole: bool
    largest: int = _LARGEST_INT


class Tree(NamedTuple):
    """A tree as LightGBM's text has it: whole numbers, as floats, but for thresholds and leaves.

    A child from 0 on is a split of the tree; -1 is its first leaf, -2 the second. The root is split 0, without splits
    the only leaf. A decision is LightGBM's `decision_type`. The threshold of a split by categories is the place of its
    set among `sets`: categories that go left, ascending.
    """

    features: list[float]
    thresholds: list[float]
    decisions: list[float]
    left: list[float]
    right: list[float]
    leaves: list[float]
    sets: tuple[tuple[int, ...], ...] = ()

    @property
    def category_features(self) -> set[int]:
        """The features that splits by categories use."""
        pairs = zip(self.features, self.decisions, strict=True)
        return {int(feature) for feature, decision in pairs if int(decision) & CATEGORICAL}

    @property
    def sets_of_splits(self) -> list[tuple[int, ...]]:
        """The set of each split; of one by a threshold nothing."""
        pairs = zip(self.thresholds, self.decisions, strict=True)
        return [self.sets[int(place)] if int(decision) & CATEGORICAL else () for place, decision in pairs]


def _one(_leaves: int) -> int:
    return 1


def _splits(leaves: int) -> int:
    return leaves - 1


def _leaves(leaves: int) -> int:
    return leaves


_TREE = (
    _Line("num_leaves", _one, whole=True),
    _Line("num_cat", _one, whole=True),
    _Line("split_feature", _splits, whole=True),
    _Line("split_gain", _splits, whole=False),
    _Line("threshold", _splits, whole=False),
    _Line("decision_type", _splits, whole=True),
    _Line("left_child", _splits, whole=True),
    _Line("right_child", _splits, whole=True),
    _Line("leaf_value", _leaves, whole=False),
    _Line("leaf_weight", _leaves, whole=False),
    _Line("leaf_count", _leaves, whole=True),
    _Line("internal_value", _splits, whole=False),
    _Line("internal_weight", _splits, whole=False),
    _Line("internal_count", _splits, whole=True),
    _Line("is_linear", _one, whole=True),
    _Line("shrinkage", _one, whole=False),
)


_BOUNDARIES, _WORDS = "cat_boundaries", "cat_threshold"
_WORD_BYTES = 4
_BEFORE_CATEGORIES = len(_TREE) - 2
_READ = ("split_feature", "threshold", "decision_type", "left_child", "right_child", "leaf_value")
"""The lines that a `Tree` has, in its order."""


def check_model_text(text: str, feature_names: tuple[str, ...]) -> list[Tree]:
    """Return the trees; check that the text is complete and well formed, and that they use only these features.

    Raises:
        DamagedArtifactError: it is not; the message names the first fault.
    """
    head, separator, trees = text.partition("\n\n")
    if not separator or not head.startswith("tree\n"):
        raise DamagedArtifactError("model.txt: does not start like a LightGBM model")
    try:
        header = _pairs(head.removeprefix("tree\n"))
        _check_header(header, feature_names)
        blocks = _blocks(trees, header["tree_sizes"].split(" "))
        return [_checked_tree(_pairs(block.rstrip("\n")), len(feature_names)) for block in blocks]
    except ValueError as error:
        raise DamagedArtifactError(f"model.txt: {error}") from error


def without_ranges(text: str) -> str:
    """Return the text of a model without the smallest and the largest value of each feature.

    Each of them is the value of one payment that the model was trained on. Margins do not depend on them.
    """
    return _RANGES.sub(lambda line: "feature_infos=" + " ".join(["none"] * len(line[0].split(" "))), text, count=1)


def as_binary(text: str) -> str:
    """Return the text of a model whose margins are log odds, trained by whatever objective, as that of a binary one.

    The objective only says how LightGBM turns margins into outputs, which nothing here asks it to do.
    """
    return _OBJECTIVE.sub(f"objective={_FIXED['objective']}", text, count=1)


def with_categories_moved(text: str, features: Collection[int], by: int) -> str:
    """Return the text of a model whose splits by categories of some features know each category as `by` more.

    The text is one that `check_model_text` accepts.
    """
    head, _, rest = text.partition("\n\n")
    *blocks, end = re.split(r"(?=^Tree=|^end of trees)", rest, flags=re.MULTILINE)[1:]
    moved = [_with_sets_moved(block, features, by) for block in blocks]
    sizes = " ".join(str(len(block)) for block in moved)
    return "\n\n".join((re.sub(r"(?m)^tree_sizes=.*$", f"tree_sizes={sizes}", head), "".join((*moved, end))))


def _with_sets_moved(block: str, features: Collection[int], by: int) -> str:
    lines = dict(line.split("=", 1) for line in block.rstrip("\n").split("\n"))
    if _WORDS not in lines:
        return block
    splits = zip(*(lines[name].split(" ") for name in ("split_feature", "decision_type", "threshold")), strict=True)
    places = {int(place) for feature, kind, place in splits if int(kind) & CATEGORICAL and int(feature) in features}
    bounds, given = (list(map(int, lines[name].split(" "))) for name in (_BOUNDARIES, _WORDS))
    moved = list[bytes]()
    for place, (begin, end) in enumerate(pairwise(bounds)):
        found = b"".join(word.to_bytes(_WORD_BYTES, "little") for word in given[begin:end])
        bits = int.from_bytes(found, "little") << by * (place in places)
        moved.append(bits.to_bytes(-(-bits.bit_length() // (8 * _WORD_BYTES)) * _WORD_BYTES, "little"))
    ends = [0, *accumulate(len(found) // _WORD_BYTES for found in moved)]
    words = (one for (one,) in struct.iter_unpack("<I", b"".join(moved)))
    lines |= {_BOUNDARIES: " ".join(map(str, ends)), _WORDS: " ".join(map(str, words))}
    return "\n".join(f"{name}={value}" for name, value in lines.items()) + "\n\n\n"


def _pairs(block: str) -> dict[str, str]:
    pairs = [line.partition("=") for line in block.split("\n")]
    fields = {name: value for name, _, value in pairs}
    if len(fields) != len(pairs) or any(not equals or "=" in value for _, equals, value in pairs):
        raise ValueError(f"lines near {block[:40]!r} must be name=value, each name once")
    return fields


def _check_header(header: dict[str, str], feature_names: tuple[str, ...]) -> None:
    if set(header) != set(_HEADER):
        raise ValueError(f"the header has the fields {sorted(header)}, not {sorted(_HEADER)}")
    for name, value in _FIXED.items():
        if header[name] != value:
            raise ValueError(f"{name} is {header[name]!r:.40}, not {value!r}")
    if header["max_feature_idx"] != str(len(feature_names) - 1):
        raise ValueError(f"does not have {len(feature_names)} features")
    if header["feature_names"].split(" ") != list(feature_names):
        raise ValueError("feature_names differ from the manifest's")
    if len(header["feature_infos"].split(" ")) != len(feature_names):
        raise ValueError("feature_infos must have one entry for each feature")


def _blocks(trees: str, sizes: list[str]) -> Iterator[str]:
    """Yield the text of each tree; LightGBM locates trees by `tree_sizes`, so the sizes must be exact."""
    start = 0
    for number, size in enumerate(sizes):
        end = start + int(size) if _NUMBER.fullmatch(size) and size.isdecimal() else start
        block = trees[start:end]
        opening = f"Tree={number}\n"
        if not block.startswith(opening) or not block.endswith("\n\n\n"):
            raise ValueError(f"tree {number} is not at the position that tree_sizes gives")
        yield block.removeprefix(opening)
        start = end
    if trees[start:] != "end of trees\n":
        raise ValueError("does not end after the last tree")


def _checked_tree(tree: dict[str, str], width: int) -> Tree:
    lines = _lines(tree)
    if tuple(tree) != tuple(line.name for line in lines):
        raise ValueError("a tree does not have the fields of a tree")
    leaves = _numbers(_TREE[0], tree["num_leaves"])
    if len(leaves) != 1 or not 1 <= leaves[0] <= MOST_LEAVES:
        raise ValueError(f"num_leaves is {tree['num_leaves']!r:.20}, not 1 to {MOST_LEAVES}")
    columns = {line.name: _column(line, tree[line.name], int(leaves[0])) for line in lines}
    if columns["is_linear"] != [0]:
        raise ValueError("a tree has linear leaves; their results differ between machines")
    if columns["num_cat"] != [0] and _WORDS not in columns:
        raise ValueError(f"a tree with splits by categories has no {_BOUNDARIES} and {_WORDS}")
    sets = _sets(columns) if _WORDS in columns else ()
    if len(columns["leaf_value"]) > 1:
        _check_splits(columns, len(columns["leaf_value"]), width)
        _check_sets(columns, len(sets))
    features, thresholds, decisions, left, right, leaf_values = (columns[name] for name in _READ)
    return Tree(features, thresholds, decisions, left, right, leaf_values, sets)


def _lines(tree: dict[str, str]) -> tuple[_Line, ...]:
    """Return the lines that a tree has; one that splits by categories has two more."""
    if tree.get("num_cat") == "0" or _WORDS not in tree:
        return _TREE
    sets, words = (tree[name].count(" ") for name in (_BOUNDARIES, _WORDS)) if _BOUNDARIES in tree else (0, 0)
    return (
        *_TREE[:_BEFORE_CATEGORIES],
        _Line(_BOUNDARIES, lambda _: sets + 1, whole=True),
        _Line(_WORDS, lambda _: words + 1, whole=True, largest=_LARGEST_WORD),
        *_TREE[_BEFORE_CATEGORIES:],
    )


def _sets(columns: dict[str, list[float]]) -> tuple[tuple[int, ...], ...]:
    """Return the sets of categories, which LightGBM writes as bits, in words of 32."""
    bounds, words = (list(map(int, columns[name])) for name in (_BOUNDARIES, _WORDS))
    sizes = [end - begin for begin, end in pairwise(bounds)]
    if columns["num_cat"] != [len(sizes)] or bounds[0] != 0 or bounds[-1] != len(words) or min(sizes) < 1:
        raise ValueError(f"{_BOUNDARIES} does not divide {_WORDS} into num_cat sets")
    if min(words) < 0:
        raise ValueError(f"{_WORDS} holds a number that is below 0")
    if max(sizes) > MOST_CATEGORY_WORDS:
        raise ValueError(
            f"a split knows the category {32 * (max(sizes) - 1):,} or one above, {32 * MOST_CATEGORY_WORDS:,} is too "
            "much: number the categories from 0 on"
        )
    found = tuple(
        tuple(32 * at + bit for at, word in enumerate(words[begin:end]) for bit in range(32) if word >> bit & 1)
        for begin, end in pairwise(bounds)
    )
    if not all(found):
        raise ValueError("the set of a split by categories is empty")
    return found


def _column(line: _Line, text: str, leaves: int) -> list[float]:
    values = _numbers(line, text)
    omitted = leaves == 1 and not values and line.name != "leaf_value"  # LightGBM leaves these lines of one leaf empty
    if len(values) != line.length(leaves) and not omitted:
        raise ValueError(f"{line.name} does not have {line.length(leaves)} entries")
    return values


def _numbers(line: _Line, text: str) -> list[float]:
    """Parse numbers separated by single spaces, as LightGBM writes them; integers must fit into 32 bits."""
    name, words = line.name, text.split(" ") if text else []
    if not all(_NUMBER.fullmatch(word) or (name, word) == _ALL_BUT_NAN for word in words):
        raise ValueError(f"{name} holds a value that is not a number")
    values = [float(word) for word in words]
    if name != "threshold" and not all(math.isfinite(value) for value in values):
        raise ValueError(f"{name} holds a number that is not finite")
    most = line.largest
    if line.whole and not all(word.removeprefix("-").isdecimal() and abs(float(word)) <= most for word in words):
        raise ValueError(f"{name} holds a number that is not a 32-bit integer")
    return values


def _check_splits(columns: dict[str, list[float]], leaves: int, width: int) -> None:
    if not all(0 <= feature < width for feature in columns["split_feature"]):
        raise ValueError("a split uses a feature that does not exist")
    if not all(decision in _DECISIONS | _BY_CATEGORY for decision in columns["decision_type"]):
        raise ValueError("a split is of an unknown type")
    left, right = columns["left_child"], columns["right_child"]
    # Every leaf (-1 downwards) and every split except the root has one parent, and parents come first: it is a tree.
    if sorted(left + right) != [*range(-leaves, 0), *range(1, leaves - 1)]:
        raise ValueError("a node has no parent, or more than one")
    if any(0 <= child <= parent for children in (left, right) for parent, child in enumerate(children)):
        raise ValueError("a node comes before its parent")
    if (deepest := _depth(left, right)) > MOST_SPLITS_DEEP:
        raise ValueError(f"a tree has {deepest} splits on the way to a leaf, more than {MOST_SPLITS_DEEP}")


def _check_sets(columns: dict[str, list[float]], sets: int) -> None:
    pairs = zip(columns["decision_type"], columns["threshold"], strict=True)
    if not all(0 <= place < sets and place.is_integer() for decision, place in pairs if decision in _BY_CATEGORY):
        raise ValueError("a split by categories has no set")


def _depth(left: list[float], right: list[float]) -> int:
    """Return how many splits lie on the longest way to a leaf of a tree whose parents come first."""
    depths = [1] * len(left)
    for parent, children in enumerate(zip(left, right, strict=True)):
        for child in children:
            if child > 0:
                depths[int(child)] = depths[parent] + 1
    return max(depths)
