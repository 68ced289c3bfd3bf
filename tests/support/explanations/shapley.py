"""An oracle for TreeSHAP: Shapley values by their definition, over all subsets of features, in plain Python.

The value of a subset is the path-dependent expectation of Lundberg et al. (2020, algorithm 1): where a split's feature
is in the subset, the row's side is taken; else both sides, weighted by the training rows in each. Time grows as 2 to
the number of features, so it is for small models.
"""

import math
from itertools import combinations
from typing import Any

import lightgbm

Row = tuple[float, ...]


def shapley_values(text: str, row: Row) -> tuple[float, list[float]]:
    """Return the base and the contribution of each feature of a row, for the trees in LightGBM's text."""
    trees = [tree["tree_structure"] for tree in lightgbm.Booster(model_str=text).dump_model()["tree_info"]]
    width = len(row)
    values = {
        subset: math.fsum(_expectation(tree, row, frozenset(subset)) for tree in trees)
        for size in range(width + 1)
        for subset in combinations(range(width), size)
    }
    return values[()], [_shapley_value(values, feature, width) for feature in range(width)]


def _shapley_value(values: dict[tuple[int, ...], float], feature: int, width: int) -> float:
    others = [one for one in range(width) if one != feature]
    return math.fsum(
        math.factorial(size)
        * math.factorial(width - size - 1)
        / math.factorial(width)
        * (values[tuple(sorted((*subset, feature)))] - values[subset])
        for size in range(width)
        for subset in combinations(others, size)
    )


def _expectation(node: dict[str, Any], row: Row, known: frozenset[int]) -> float:
    if "leaf_value" in node:
        return float(node["leaf_value"])
    sides = [node["left_child"], node["right_child"]]
    if node["split_feature"] in known:
        return _expectation(sides[0 if _goes_left(node, row[node["split_feature"]]) else 1], row, known)
    weights = [float(side.get("internal_count", side.get("leaf_count"))) for side in sides]
    return math.fsum(
        weight / sum(weights) * _expectation(side, row, known) for weight, side in zip(weights, sides, strict=True)
    )


def _goes_left(node: dict[str, Any], value: float) -> bool:
    """Decide as LightGBM documents it for numeric splits: by its kind of missing values, then by the threshold."""
    if node["missing_type"] != "NaN" and math.isnan(value):
        value = 0.0
    missing = math.isnan(value) or (node["missing_type"] == "Zero" and abs(value) <= 1e-35)
    return bool(node["default_left"]) if missing else value <= node["threshold"]
