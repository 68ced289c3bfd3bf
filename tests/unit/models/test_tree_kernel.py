"""The kernel in C has the bits of LightGBM's margins, on awkward rows; what it cannot take, LightGBM scores."""

import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest

from models import tree_kernel
from models.artifact import same_bits
from models.booster import SPECIAL, Booster, agrees, edge_rows, text_of
from models.calibration import Calibrator
from models.model_text import Tree, check_model_text
from models.tree_kernel import KERNEL, LANES, LIBRARY, Forest, open_kernel
from support.acceptance import sized
from support.threads import in_threads

WIDTH = 7
NAMES = tuple(f"f{number}" for number in range(WIDTH))
BASE = {
    "objective": "binary",
    "verbosity": -1,
    "num_threads": 1,
    "min_data_in_leaf": 5,
    "min_data_in_bin": 1,
    "seed": 3,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "31 leaves": {"num_leaves": 31},
    "zero is missing": {"num_leaves": 31, "zero_as_missing": True},
    "nothing is missing": {"num_leaves": 31, "use_missing": False},
    "128 leaves": {"num_leaves": 128, "min_data_in_leaf": 1},
    "stumps": {"num_leaves": 2},
    "a chain": {"num_leaves": 64, "min_data_in_leaf": 1, "max_bin": 65_000, "path_smooth": 0, "learning_rate": 0.5},
    "depth 3": {"num_leaves": 8, "max_depth": 3},
}
needs_kernel = pytest.mark.skipif(
    KERNEL is None and shutil.which("cc") is None, reason="no C compiler built the kernel"
)


def training_rows(*, missing: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and labels: columns of counts, tiny and large numbers, zeros of both signs, and NaN in some."""
    random = np.random.default_rng(11)
    matrix = random.normal(size=(3_000, WIDTH))
    matrix[:, 1] = random.poisson(2, 3_000)
    matrix[:, 2] *= 1e-34
    matrix[:, 3] *= 1e300
    matrix[random.random(matrix.shape) < 0.15] = 0.0
    matrix[random.random(matrix.shape) < 0.05] = -0.0
    matrix[:, 4:6][random.random((3_000, 2)) < missing] = np.nan
    score = matrix[:, 0] + (matrix[:, 1] > 2) + matrix[:, 2] * 1e34 + matrix[:, 3] * 1e-300 + np.isnan(matrix[:, 4])
    return matrix, (score + random.normal(size=3_000) > 1).astype(int)


def trained(trees: int = 21, **parameters: Any) -> str:
    """Return the text of a model; 21 trees are no multiple of the kernel's lanes."""
    matrix, labels = training_rows()
    data = lightgbm.Dataset(matrix, labels, feature_name=list(NAMES), params=BASE | parameters)
    return text_of(lightgbm.train(BASE | parameters, data, trees))


def loaded(text: str) -> tuple[Booster, Forest]:
    booster = Booster(text, NAMES)
    assert booster.compiled
    assert booster._forest is not None
    return booster, booster._forest


@needs_kernel
@pytest.mark.parametrize("name", VARIANTS)
def test_edge_rows_have_the_bits_of_lightgbm(name: str) -> None:
    text = trained(**VARIANTS[name])
    booster, forest = loaded(text)
    rows = edge_rows(forest, 4_000, np.random.default_rng(1))
    expected = lightgbm.Booster(model_str=text).predict(rows, raw_score=True)
    assert len(np.unique(expected)) > 10
    assert same_bits(booster.margins(rows), expected)
    few = [booster.margins(rows[at : at + 3]) for at in range(0, 999, 3)]
    assert same_bits(np.concatenate(few), expected[:999])


@needs_kernel
@pytest.mark.full_size
@pytest.mark.parametrize("name", ["31 leaves", "zero is missing", "nothing is missing"])
def test_many_edge_rows_have_the_bits_of_lightgbm(name: str) -> None:
    booster, forest = loaded(trained(sized(30, 100), **VARIANTS[name]))
    random = np.random.default_rng(2)
    for _ in range(sized(2, 100)):
        rows = edge_rows(forest, 10_000, random)
        assert same_bits(booster.margins(rows), booster._by_lightgbm(rows))


NODE_DECISIONS = {"none": 0, "none, left": 2, "zero": 4, "zero, left": 6, "NaN": 8, "NaN, left": 10}


@needs_kernel
@pytest.mark.parametrize("name", NODE_DECISIONS)
@pytest.mark.parametrize("threshold", ["0", "-0", "inf", "1.0000000180025095e-35", "-1.0000000180025095e-35", "5e-324"])
def test_each_decision_at_awkward_thresholds_is_lightgbms(name: str, threshold: str) -> None:
    text = one_split(threshold, NODE_DECISIONS[name])
    booster, forest = loaded(text)
    rows = edge_rows(forest, 2_000, np.random.default_rng(3))
    expected = lightgbm.Booster(model_str=text).predict(rows, raw_score=True)
    assert same_bits(booster.margins(rows), expected)
    assert set(expected.tolist()) <= {-0.25, 0.5}


def one_split(threshold: str, decision: int) -> str:
    """Return a model of one split of the first feature: left -0.25, right 0.5."""
    tree = (
        "Tree=0\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nsplit_gain=1\n"
        f"threshold={threshold}\ndecision_type={decision}\nleft_child=-1\nright_child=-2\nleaf_value=-0.25 0.5\n"
        "leaf_weight=1 1\nleaf_count=1 1\ninternal_value=0\ninternal_weight=0\ninternal_count=2\n"
        "is_linear=0\nshrinkage=1\n\n\n"
    )
    head = (
        f"tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx={WIDTH - 1}\n"
        f"objective=binary sigmoid:1\nfeature_names={' '.join(NAMES)}\nfeature_infos={' '.join(['none'] * WIDTH)}\n"
        f"tree_sizes={len(tree)}\n\n"
    )
    return f"{head}{tree}end of trees\n"


@needs_kernel
def test_trees_without_a_split_have_margins() -> None:
    matrix, _ = training_rows()
    data = lightgbm.Dataset(matrix, np.arange(len(matrix)) % 2, feature_name=list(NAMES))
    trees = lightgbm.train(BASE | {"min_gain_to_split": 1e9}, data, 1)
    booster, forest = loaded(text_of(trees))
    assert list(forest.thresholds()) == []
    rows = matrix[: LANES + 1]
    assert same_bits(booster.margins(rows), np.asarray(trees.predict(rows, raw_score=True)))


@needs_kernel
def test_matrices_of_another_layout_or_type_have_the_same_margins() -> None:
    booster, _ = loaded(trained())
    matrix = training_rows()[0][:50]
    expected = booster._by_lightgbm(matrix)
    frozen = matrix.copy()
    frozen.flags.writeable = False
    wide = np.repeat(matrix, 2, axis=1)[:, ::2]
    for same in (np.asfortranarray(matrix), frozen, wide, np.repeat(matrix, 2, axis=0)[::2]):
        assert same_bits(booster.margins(same), expected)
    small = matrix.clip(-1e30, 1e30)
    for other in (small.astype(np.float32), small.astype(">f8"), small.round().clip(-9, 9).astype(np.float16)):
        assert same_bits(booster.margins(other), booster._by_lightgbm(other))


@needs_kernel
def test_trees_too_large_for_the_kernel_are_scored_by_lightgbm(monkeypatch: pytest.MonkeyPatch) -> None:
    text, rows = trained(num_leaves=129, min_data_in_leaf=1), training_rows()[0][:20]
    assert max(len(tree.leaves) for tree in check_model_text(text, NAMES)) == 129
    large = Booster(text, NAMES)
    assert not large.compiled
    assert same_bits(large.margins(rows), np.asarray(lightgbm.Booster(model_str=text).predict(rows, raw_score=True)))
    for limit, most in (("MOST_COLUMNS", WIDTH - 1), ("MOST_THRESHOLDS", 20)):
        with monkeypatch.context() as lowered:
            lowered.setattr(tree_kernel, limit, most)
            assert not Booster(trained(), NAMES).compiled, limit


@needs_kernel
def test_without_the_kernel_lightgbm_computes_the_same_margins(monkeypatch: pytest.MonkeyPatch) -> None:
    text, rows = trained(), training_rows()[0]
    compiled = Booster(text, NAMES)
    monkeypatch.setattr(tree_kernel, "KERNEL", None)
    plain = Booster(text, NAMES)
    assert (compiled.compiled, plain.compiled) == (True, False)
    assert same_bits(compiled.margins(rows), plain.margins(rows))


def test_without_the_library_there_is_no_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tree_kernel, "LIBRARY", tmp_path / LIBRARY.name)
    assert open_kernel() is None
    (tmp_path / LIBRARY.name).write_bytes(b"of another machine")
    assert open_kernel() is None


def with_threshold(trees: list[Tree]) -> None:
    """Move the root's threshold of the last tree by one bit."""
    trees[-1].thresholds[0] = float(np.nextafter(trees[-1].thresholds[0], np.inf))


def with_leaf(trees: list[Tree]) -> None:
    """Move each leaf of the first tree by one bit: sums round most of them away, but not all."""
    trees[0].leaves[:] = [float(np.nextafter(leaf, np.inf)) for leaf in trees[0].leaves]


def with_default(trees: list[Tree]) -> None:
    """Turn the defaults of all splits around that treat NaN as missing."""
    assert any(decision >= 8 for tree in trees for decision in tree.decisions)
    for tree in trees:
        tree.decisions[:] = [18 - decision if decision >= 8 else decision for decision in tree.decisions]


def with_children(trees: list[Tree]) -> None:
    """Exchange the children of a root."""
    tree = trees[5]
    tree.left[0], tree.right[0] = tree.right[0], tree.left[0]


def with_order(trees: list[Tree]) -> None:
    """Add the trees in another order: sums differ in their last bits alone."""
    trees.reverse()


@needs_kernel
@pytest.mark.parametrize("fault", [with_threshold, with_leaf, with_default, with_children, with_order])
def test_a_forest_that_differs_is_refused_when_a_model_is_loaded(
    fault: Callable[[list[Tree]], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    text, rows = trained(), training_rows()[0]
    assert KERNEL is not None
    trees = check_model_text(text, NAMES)
    expected = Booster(text, NAMES).margins(rows)
    fault(trees)
    wrong = KERNEL.forest(trees, WIDTH)
    assert wrong is not None
    monkeypatch.setattr(KERNEL, "forest", lambda _trees, _width: wrong)
    with caplog.at_level(logging.WARNING, "fraudstream.trees"):
        booster = Booster(text, NAMES)
    assert not booster.compiled
    assert same_bits(booster.margins(rows), expected)
    (record,) = caplog.records
    assert record.getMessage().startswith("LightGBM scores a model of 21 trees")
    assert record.event == "trees_differ"  # type: ignore[attr-defined] # our own field


@needs_kernel
@pytest.mark.parametrize("wrong_from", [1, LANES])
def test_the_proof_looks_at_small_batches_and_at_large_ones(wrong_from: int, monkeypatch: pytest.MonkeyPatch) -> None:
    booster, forest = loaded(trained())
    assert agrees(forest, booster._by_lightgbm)
    right = forest.margins

    def margins(matrix: np.ndarray) -> np.ndarray:
        found = right(matrix)
        if (len(matrix) < LANES) == (wrong_from == 1):
            found[0] = np.nextafter(found[0], np.inf)
        return found

    monkeypatch.setattr(forest, "margins", margins)
    assert not agrees(forest, booster._by_lightgbm)


@needs_kernel
def test_threads_compute_the_same_bits() -> None:
    booster, forest = loaded(trained(60))
    rows = edge_rows(forest, 3_000, np.random.default_rng(8))
    expected, found = booster._by_lightgbm(rows), []
    ready = threading.Barrier(4)

    def score() -> None:
        ready.wait()
        for _ in range(15):
            found.append(booster.margins(rows))
            found.append(np.concatenate([booster.margins(rows[at : at + 5]) for at in range(0, 3_000, 5)]))

    in_threads(score)
    assert len(found) == 120
    assert all(same_bits(margins, expected) for margins in found)


def by_functions(knots: np.ndarray, probabilities: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """Return the probabilities as they are defined, step by step."""
    slopes = np.diff(probabilities) / np.diff(knots)
    inside = np.clip(margins, knots[0], knots[-1])
    left = np.clip(np.searchsorted(knots, inside, side="right") - 1, 0, len(slopes) - 1)
    rise = np.multiply(np.subtract(inside, knots[left]), slopes[left])
    return np.minimum(np.add(probabilities[left], rise), probabilities[left + 1])


@pytest.mark.parametrize("count", [2, 3, 40])
def test_probabilities_have_the_bits_of_their_definition(count: int) -> None:
    random = np.random.default_rng(count)
    knots, probabilities = np.sort(random.normal(size=count)) * 3, np.sort(random.random(count))
    calibrator = Calibrator(knots, probabilities)
    near = np.concatenate((knots, np.nextafter(knots, np.inf), np.nextafter(knots, -np.inf), SPECIAL))
    margins = np.concatenate((near, random.normal(size=3_000) * 4))
    expected = by_functions(knots, probabilities, margins)
    assert same_bits(calibrator.probabilities(margins), expected)
    each = [calibrator.probabilities(margins[at : at + 1]) for at in range(len(near))]
    assert same_bits(np.concatenate(each), expected[: len(near)])
