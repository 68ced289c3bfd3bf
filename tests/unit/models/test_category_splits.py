"""Splits by categories have LightGBM's bits in the kernel, whatever a value is; damaged sets are refused."""

import re
import shutil
from collections.abc import Sequence
from functools import cache
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import tree_kernel
from models.artifact import same_bits
from models.booster import Booster, edge_rows, text_of, without_odd_categories
from models.errors import DamagedArtifactError
from models.model_text import check_model_text
from models.policy import Floats
from models.tree_kernel import KERNEL
from support.acceptance import sized
from support.examples import examples

NAMES = ("amount", "country", "count", "shop", "hour")
CATEGORIES = (1, 3, 4)
BASE = {
    "objective": "binary",
    "verbosity": -1,
    "num_threads": 1,
    "min_data_in_leaf": 5,
    "min_data_in_bin": 1,
    "min_data_per_group": 5,
    "cat_smooth": 1,
    "seed": 3,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "31 leaves": {"num_leaves": 31},
    "one against the rest": {"num_leaves": 31, "max_cat_to_onehot": 1_000},
    "large sets": {"num_leaves": 127, "max_cat_threshold": 1_000, "cat_l2": 0, "min_data_in_leaf": 1},
    "zero is missing": {"num_leaves": 31, "zero_as_missing": True},
    "nothing is missing": {"num_leaves": 31, "use_missing": False},
    "stumps": {"num_leaves": 2},
}
needs_kernel = pytest.mark.skipif(
    KERNEL is None and shutil.which("cc") is None, reason="no C compiler built the kernel"
)


@cache
def training_rows(seed: int = 11, count: int = 4_000) -> tuple[Floats, np.ndarray]:
    """Return rows and labels: 60 countries, 900 shops with numbers far apart, 24 hours, NaN in some."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(count, len(NAMES)))
    matrix[:, 1] = random.zipf(1.4, count) % 60
    matrix[:, 2] = random.poisson(2, count)
    matrix[:, 3] = random.integers(0, 900, count) * 37
    matrix[:, 4] = random.integers(0, 24, count)
    matrix[:, 1:4][random.random((count, 3)) < 0.1] = np.nan
    risk = np.isin(matrix[:, 1], [1, 5, 7, 40]) * 2 + np.isin(matrix[:, 4], [2, 3, 23]) + np.sin(matrix[:, 3]) * 2
    return matrix, (matrix[:, 0] + np.nan_to_num(risk) + random.normal(size=count) > 2).astype(int)


@cache
def trained(trees: int = 21, columns: Sequence[int] = CATEGORIES, **parameters: Any) -> str:
    """Return the text of a model of which some columns are categories."""
    matrix, labels = training_rows()
    used = BASE | parameters
    data = lightgbm.Dataset(
        matrix, labels, feature_name=list(NAMES), categorical_feature=list(columns), params=dict(used)
    )
    return text_of(lightgbm.train(used, data, trees))


TEXT = trained(7, num_leaves=15)


def by_lightgbm(text: str, rows: Floats, columns: Sequence[int] = CATEGORIES) -> Floats:
    sound = without_odd_categories(rows, columns)
    return np.asarray(lightgbm.Booster(model_str=text).predict(sound, raw_score=True, num_threads=1))


@needs_kernel
@pytest.mark.parametrize("name", VARIANTS)
def test_rows_and_edge_rows_have_the_bits_of_lightgbm(name: str) -> None:
    text = trained(**VARIANTS[name])
    assert any(tree.sets for tree in check_model_text(text, NAMES))
    booster = Booster(text, NAMES)
    assert booster._forest is not None
    for rows in (training_rows(5)[0], edge_rows(booster._forest, 4_000, np.random.default_rng(1))):
        expected = by_lightgbm(text, rows)
        assert len(np.unique(expected)) > 10
        assert same_bits(booster.margins(rows), expected)
        few = [booster.margins(rows[at : at + 3]) for at in range(0, 999, 3)]
        assert same_bits(np.concatenate(few), expected[:999])


@needs_kernel
@pytest.mark.full_size
def test_a_million_rows_have_the_bits_of_lightgbm() -> None:
    text = trained(sized(30, 200), num_leaves=63)
    booster = Booster(text, NAMES)
    assert booster._forest is not None
    random = np.random.default_rng(2)
    for _ in range(sized(2, 50)):
        rows = np.concatenate(
            (training_rows(int(random.integers(2**31)), 10_000)[0], edge_rows(booster._forest, 10_000, random))
        )
        assert same_bits(booster.margins(rows), by_lightgbm(text, rows))


@needs_kernel
def test_trees_that_split_by_categories_alone_have_the_bits_of_lightgbm() -> None:
    text = trained(columns=tuple(range(len(NAMES))))
    booster = Booster(text, NAMES)
    assert booster._forest is not None
    assert not list(booster._forest.thresholds())
    rows = np.concatenate((training_rows(5)[0], edge_rows(booster._forest, 999, np.random.default_rng(4))))
    assert same_bits(booster.margins(rows), by_lightgbm(text, rows, range(len(NAMES))))


def test_treelite_277_an_undefined_category_is_not_category_0() -> None:
    matrix = np.repeat([[1.0], [2.0], [0.0]], 30, axis=0)
    labels = np.repeat([0, 0, 1], 30)
    data = lightgbm.Dataset(matrix, labels, feature_name=["a"], categorical_feature=[0], params=dict(BASE))
    text = text_of(lightgbm.train(BASE, data, 1))
    rows = np.array([[np.nan], [0.0], [-0.0]])
    undefined, zero, minus_zero = Booster(text, ("a",)).margins(rows)
    assert undefined != zero == minus_zero
    assert same_bits(Booster(text, ("a",)).margins(rows), by_lightgbm(text, rows, [0]))


def test_lightgbm_6908_a_category_that_training_did_not_see_goes_with_the_undefined_ones() -> None:
    booster = Booster(trained(), NAMES)
    rows = training_rows(5)[0][:200]
    unseen, undefined = rows.copy(), rows.copy()
    unseen[:, 1], undefined[:, 1] = 999, np.nan
    assert same_bits(booster.margins(unseen), booster.margins(undefined))


def test_nannyml_224_what_is_no_category_is_undefined_in_either_kernel() -> None:
    booster, rows = Booster(TEXT, NAMES), training_rows(5)[0][:50]
    undefined = rows.copy()
    undefined[:, 1] = np.nan
    expected, shares = booster.margins(undefined), booster.contributions(undefined[:5])
    for odd in (-1.0, -0.5, 0.5, 5.5, 1e-36, 2.0**31, 2.0**32 + 5, 2.0**48, np.inf, -np.inf):
        rows[:, 1] = odd
        assert same_bits(booster.margins(rows), expected), odd
        assert same_bits(booster._by_lightgbm(rows), expected), odd
        assert same_bits(booster.contributions(rows[:5]), shares), odd


def test_contributions_sum_to_the_margin() -> None:
    booster, rows = Booster(trained(), NAMES), training_rows(5)[0][:50]
    np.testing.assert_allclose(booster.contributions(rows).sum(axis=1), booster.margins(rows), atol=1e-9)


@needs_kernel
@pytest.mark.parametrize(("limit", "most"), [("MOST_COLUMNS", 4), ("MOST_SETS", 3), ("MOST_KNOWN", 50)])
def test_sets_too_many_for_the_kernel_are_looked_up_by_lightgbm(
    limit: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, rows = trained(), training_rows(5)[0][:50]
    assert Booster(text, NAMES).compiled
    monkeypatch.setattr(tree_kernel, limit, most)
    booster = Booster(text, NAMES)
    assert not booster.compiled
    assert same_bits(booster.margins(rows), by_lightgbm(text, rows))


def resized(text: str) -> str:
    """Correct tree_sizes, so that only the intended change is wrong."""
    head, _, trees = text.partition("\n\n")
    sizes = " ".join(str(len(one)) for one in re.split(r"(?=^Tree=|^end of)", trees, flags=re.MULTILINE)[1:-1])
    return re.sub(r"tree_sizes=.*", f"tree_sizes={sizes}", head) + "\n\n" + trees


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"num_cat=\d+", "num_cat=0", "fields of a tree"),
        (r"num_cat=\d+", "num_cat=99", "does not divide"),
        (r"cat_boundaries=.*\n", "", "fields of a tree"),
        (r"cat_boundaries=0", "cat_boundaries=1", "does not divide"),
        (r"cat_boundaries=0 \d+", "cat_boundaries=0 0", "does not divide"),
        (r"(cat_boundaries=.*)", r"\1 9999", "does not divide"),
        (r"(cat_threshold=.*)", r"\1 1", "does not divide"),
        (r"cat_threshold=\d+", "cat_threshold=4294967296", "not a 32-bit integer"),
        (r"cat_threshold=\d+", "cat_threshold=-1", "below 0"),
        (r"(?<=cat_threshold=)[\d ]+", lambda found: re.sub(r"\d+", "0", found[0]), "is empty"),
    ],
)
def test_sets_that_lightgbm_must_not_load_are_refused(pattern: str, replacement: Any, message: str) -> None:
    text = resized(re.sub(pattern, replacement, TEXT, count=1))
    with pytest.raises(DamagedArtifactError, match=message):
        check_model_text(text, NAMES)


def test_categories_beyond_two_million_are_refused() -> None:
    words = " ".join(["0"] * 2**16 + ["1"])
    text = re.sub(r"num_cat=\d+", "num_cat=1", TEXT, count=1)
    text = re.sub(r"cat_boundaries=.*", f"cat_boundaries=0 {2**16 + 1}", text, count=1)
    text = resized(re.sub(r"cat_threshold=.*", f"cat_threshold={words}", text, count=1))
    with pytest.raises(DamagedArtifactError, match="a split knows the category 2,097,152 or one above"):
        check_model_text(text, NAMES)


@settings(max_examples=examples(200), deadline=None)
@given(st.data())
def test_a_damaged_text_is_refused_or_still_scores_as_lightgbm_does(data: st.DataObject) -> None:
    """Overwrite the lines of sets and splits, without the check of the digest: the process must not crash."""
    places = [found.start() for found in re.finditer(r"(?<=[ =])\d", TEXT)]
    place = data.draw(st.sampled_from(places))
    change = data.draw(st.sampled_from(["", "-", "9", " ", "0", "31", "1 1"]))
    text = resized(TEXT[:place] + change + TEXT[place + 1 :])
    try:
        booster = Booster(text, NAMES)
    except DamagedArtifactError:
        return
    rows = training_rows(5)[0][:40]
    assert same_bits(booster.margins(rows), by_lightgbm(text, rows, booster._by_category))
