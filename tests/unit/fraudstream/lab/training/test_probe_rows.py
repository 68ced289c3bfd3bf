"""The invented rows reach all deciles and nearly all splits of a model, and follow from its trees and manifest."""

from functools import cache
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.lab.training import probe_rows
from fraudstream.lab.training.probe_rows import ROWS, invented_rows, roundest
from models.artifact import same_bits
from models.booster import Booster, text_of
from models.errors import DamagedArtifactError
from models.model_text import check_model_text, without_ranges
from models.policy import Policy
from models.training_reference import ReferenceRows, TrainingReference, bins_of, build_reference

COUNT, WIDTH = 3_000, 16
NAMES = tuple(f"f{number}" for number in range(WIDTH))
NO_NAN, NEVER_NAN = 3, (0, 1, 2)


def ways_gone(text: str, names: tuple[str, ...], rows: Any) -> tuple[int, int]:
    """Return how many splits of a model's trees rows go both ways at, and how many splits there are."""
    trees = check_model_text(text, names)
    choices = [probe_rows._ValueChoice(column, np.zeros(len(column), np.int64)) for column in rows.T]
    splits, gone = probe_rows._splits(trees, choices), set[tuple[int, bool]]()
    for row in range(len(rows)):
        gone.update(probe_rows._walk(splits, [row] * len(names)))
    return sum({(split, False), (split, True)} <= gone for split in range(len(splits.left))), len(splits.left)


@cache
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Draw rows of counts, of flags and of amounts, the last two kinds undefined in some rows, and labels of them."""
    random = np.random.default_rng(5)
    matrix = np.exp(random.normal(size=(COUNT, WIDTH)) * 2)
    matrix[:, :4] = random.poisson(2, (COUNT, 4))
    matrix[:, 4:8] = random.random((COUNT, 4)) < 0.3
    undefined = random.random(matrix.shape) < 0.05
    undefined[:, NEVER_NAN] = False
    matrix[undefined] = np.nan
    risk = (np.log1p(np.nan_to_num(matrix)) * random.normal(size=WIDTH)).sum(axis=1) + random.normal(size=COUNT)
    return matrix, (risk > np.quantile(risk, 0.8)).astype(int)


@cache
def booster(trees: int = 40, **parameters: Any) -> lightgbm.Booster:
    matrix, frauds = drawn()
    fixed = {"objective": "binary", "verbosity": -1, "num_leaves": 15, "num_threads": 1, "seed": 1}
    data = lightgbm.Dataset(matrix, frauds, feature_name=list(NAMES))
    return lightgbm.train(fixed | parameters, data, trees)


def model(trees: int = 40, **parameters: Any) -> str:
    return text_of(booster(trees, **parameters))


@cache
def reference() -> TrainingReference:
    matrix, frauds = drawn()
    at = np.arange(COUNT)
    rows = ReferenceRows(matrix, at, np.clip(frauds + 0.1, 0, 1).astype(float), at, at * 3_600_000)
    return build_reference(rows, Policy(0.5, 0.8))


@cache
def rows() -> np.ndarray:
    return invented_rows(model(), NAMES, reference())


def test_the_rows_go_both_ways_at_nearly_all_splits_which_as_many_real_ones_do_not() -> None:
    both, splits = ways_gone(model(), NAMES, rows())
    assert (len(rows()), splits) == (ROWS, 40 * 14)
    assert both >= 0.98 * splits
    by_score = drawn()[0][np.argsort(Booster(model(), NAMES).margins(drawn()[0]))]
    real = by_score[np.linspace(0, COUNT - 1, ROWS).astype(int)]
    assert ways_gone(model(), NAMES, real)[0] < both


@pytest.mark.parametrize("parameters", [{"use_missing": False}, {"zero_as_missing": True}], ids=str)
def test_the_ways_are_those_of_lightgbm_with_each_kind_of_missing_values(parameters: dict[str, Any]) -> None:
    """The rows end in as many leaves by LightGBM as the ways say: in one more than there are splits."""
    text = model(1, **parameters)
    found = invented_rows(text, NAMES, reference())
    leaves = lightgbm.Booster(model_str=text).predict(found, pred_leaf=True)
    both, splits = ways_gone(text, NAMES, found)
    assert both == splits
    assert len(np.unique(leaves)) == splits + 1


def test_the_rows_have_each_decile_of_each_feature_and_are_undefined_where_a_feature_can_be() -> None:
    for column, quantity in zip(rows().T, reference().features, strict=True):
        there = np.flatnonzero(np.add(quantity.workdays, quantity.weekends)).tolist()
        assert set(there) <= set(bins_of(column, quantity.edges).tolist())
    undefined = np.isnan(rows()).any(axis=0)
    assert undefined.tolist() == [number not in NEVER_NAN for number in range(WIDTH)]


def test_no_value_of_a_payment_is_in_the_rows() -> None:
    """Amounts are not round, so none of them is met by chance; counts and flags are no one's own."""
    for number in range(8, WIDTH):
        assert set(rows()[:, number].tolist()) & set(drawn()[0][:, number].tolist()) == set()


def test_rows_are_invented_without_a_reference_too_and_every_feature_may_then_be_undefined() -> None:
    found = invented_rows(model(), NAMES, None)
    both, splits = ways_gone(model(), NAMES, found)
    assert both >= 0.95 * splits
    assert np.isnan(found).any(axis=0).all()


def test_a_large_model_with_many_thresholds_gets_rows_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_rows, "_MOST_SPLITS", 100)
    monkeypatch.setattr(probe_rows, "_MOST_CUTS", 8)
    found = invented_rows(model(), NAMES, reference())
    assert found.shape == (ROWS, WIDTH)
    assert ways_gone(model(), NAMES, found)[0] > 100


def test_a_model_of_leaves_alone_gets_rows() -> None:
    stumps = model(2, min_data_in_leaf=COUNT)
    assert ways_gone(stumps, NAMES, invented_rows(stumps, NAMES, None)) == (0, 0)


def test_a_text_that_is_no_model_is_refused() -> None:
    with pytest.raises(DamagedArtifactError, match="does not start like a LightGBM model"):
        invented_rows("tree", NAMES, None)


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        (-np.inf, 0.0, 0.0), (0.0, 0.5, 0.1), (2.5, 3.5, 3.0), (12.37, 15.9, 13.0), (1234.567, 1301.2, 1300.0),
        (37.2, np.inf, 100.0), (0.0, np.inf, 1.0), (-3.0, 4.0, 0.0), (-np.inf, -5.3, -10.0), (-2.75, -2.31, -2.4),
        (1.0, float(np.nextafter(1.0, 2.0)), float(np.nextafter(1.0, 2.0))), (1e308, np.inf, 1e308), (9.0, 10.0, 9.1),
    ],
)  # fmt: skip
def test_between_two_numbers_lies_a_round_one(low: float, high: float, found: float) -> None:
    assert roundest(low, high) == found


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_the_round_number_is_between_the_two(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    if low < high:
        assert low < roundest(low, high) <= high


def test_ranges_of_features_are_left_out_of_a_text_and_margins_stay() -> None:
    whole = booster().model_to_string()
    assert "\nfeature_infos=[" in whole
    for text in (without_ranges(whole), model()):
        assert f"\nfeature_infos={' '.join(['none'] * WIDTH)}\n" in text
        assert without_ranges(text) == text
    matrix = drawn()[0]
    expected = np.asarray(booster().predict(matrix, raw_score=True))
    assert same_bits(Booster(model(), NAMES).margins(matrix), expected)
