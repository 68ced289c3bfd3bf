"""Whether a text is a model that LightGBM can be given.

LightGBM trusts its own text: one with a wrong size, a child that points outside or a loop among the nodes takes the
process down or never returns. So its layout is checked first; what passes is a binary model of plain numeric trees.
Nothing here calls LightGBM, or knows whether the numbers are any good.
"""

import math
from collections.abc import Iterator

from models.errors import DamagedArtifactError

_FIXED = {"num_class": "1", "num_tree_per_iteration": "1", "objective": "binary sigmoid:1"}
_PER_SPLIT = ("split_feature", "threshold", "decision_type", "left_child", "right_child")
_PER_SPLIT_OPTIONAL = ("split_gain", "internal_value", "internal_weight", "internal_count")
_PER_LEAF_OPTIONAL = ("leaf_weight", "leaf_count")
_MOST_LEAVES = 131_072  # LightGBM's own bound
_CATEGORICAL = 1  # the lowest bit of a decision type


def check_model_text(text: str, feature_names: tuple[str, ...]) -> None:
    """Check that the text is whole, and that its trees ask only for these features.

    Raises:
        DamagedArtifactError: it is not, with the first place that shows it.
    """
    head, separator, trees = text.partition("\n\n")
    if not separator or not head.startswith("tree\n"):
        raise DamagedArtifactError("model.txt: does not begin as a LightGBM model")
    header = _pairs(head)
    for name, value in _FIXED.items():
        if header.get(name) != value:
            raise DamagedArtifactError(f"model.txt: {name} is {header.get(name)!r:.40}, not {value!r}")
    if header.get("max_feature_idx") != str(len(feature_names) - 1):
        raise DamagedArtifactError(f"model.txt: is not of {len(feature_names)} features")
    if header.get("feature_names", "").split(" ") != list(feature_names):
        raise DamagedArtifactError("model.txt: feature_names are not those of the manifest")
    for number, block in enumerate(_blocks(trees, header)):
        try:
            _check_tree(_pairs(block), len(feature_names))
        except ValueError as error:
            raise DamagedArtifactError(f"model.txt: tree {number}: {error}") from error


def _pairs(block: str) -> dict[str, str]:
    lines = (line.partition("=") for line in block.split("\n") if line)
    return {name: value for name, _, value in lines}


def _blocks(trees: str, header: dict[str, str]) -> Iterator[str]:
    """Yield the text of each tree; LightGBM finds them by their sizes, so the sizes must be right."""
    start = 0
    sizes = header.get("tree_sizes", "").split()
    if not sizes:
        raise DamagedArtifactError("model.txt: has no trees")
    for number, size in enumerate(sizes):
        end = start + int(size) if size.isdecimal() and len(size) < 12 else -1  # noqa: PLR2004 - 12 digits: no size
        block = trees[start:end]
        if end <= start or not block.startswith(f"Tree={number}\n") or not block.endswith("\n\n\n"):
            raise DamagedArtifactError(f"model.txt: tree {number} is not where tree_sizes say")
        yield block
        start = end
    if not trees[start:].startswith("end of trees\n"):
        raise DamagedArtifactError("model.txt: does not end with its last tree")


def _check_tree(tree: dict[str, str], width: int) -> None:
    leaves = int(tree.get("num_leaves", ""))
    if not 1 <= leaves <= _MOST_LEAVES:
        raise ValueError(f"num_leaves is {leaves}")
    if tree.get("num_cat") != "0" or tree.get("is_linear", "0") != "0":
        raise ValueError("has categorical splits or linear leaves, whose bits change with the machine")
    _check_lengths(tree, leaves)
    values = [float(value) for value in tree["leaf_value"].split()]
    if not all(math.isfinite(value) for value in values):
        raise ValueError("a leaf value is not finite")
    if leaves > 1:
        _check_splits(tree, leaves, width)


def _check_lengths(tree: dict[str, str], leaves: int) -> None:
    wanted = [(name, leaves - 1, True) for name in _PER_SPLIT] if leaves > 1 else []
    wanted += [(name, leaves - 1, False) for name in _PER_SPLIT_OPTIONAL if leaves > 1]
    wanted += [("leaf_value", leaves, True)]
    wanted += [(name, leaves, False) for name in _PER_LEAF_OPTIONAL if leaves > 1]
    for name, length, required in wanted:
        if (required or name in tree) and len(tree.get(name, "").split()) != length:
            raise ValueError(f"{name} has not {length} entries")


def _check_splits(tree: dict[str, str], leaves: int, width: int) -> None:
    features, decisions, left, right = (
        [int(value) for value in tree[name].split()]
        for name in ("split_feature", "decision_type", "left_child", "right_child")
    )
    if not all(0 <= feature < width for feature in features):
        raise ValueError("a split asks for a feature that there is not")
    if any(decision & _CATEGORICAL for decision in decisions):
        raise ValueError("a split is categorical")
    if any(math.isnan(float(value)) for value in tree["threshold"].split()):
        raise ValueError("a threshold is no number")
    # Every leaf (from -1 down) and every split but the root has one parent, and parents come first: so it is a tree.
    if sorted(left + right) != [*range(-leaves, 0), *range(1, leaves - 1)]:
        raise ValueError("a node has no parent, or two")
    if any(0 <= child <= parent for children in (left, right) for parent, child in enumerate(children)):
        raise ValueError("a node comes before its parent")
