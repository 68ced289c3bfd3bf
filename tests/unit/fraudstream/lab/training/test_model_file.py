"""A LightGBM model of anyone's training: read as it is saved, or refused with all that is wrong with it."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest

from fraudstream.lab.training import model_file
from fraudstream.lab.training.model_file import read_model_file
from fraudstream.lab.training.request import ModelFileError
from models import artifact
from models.artifact import same_bits
from models.booster import Booster
from support.own_models import saved

NAMES = ("amount", "count", "gap", "share")


def rows(seed: int = 0, *, undefined: bool = True) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(1_000, len(NAMES)))
    frauds = (matrix[:, 0] + matrix[:, 2] > 1.5).astype(int)
    if undefined:
        matrix[random.random(1_000) < 0.3, 2] = np.nan
    return matrix, frauds


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.txt"


def refused(path: Path, names: tuple[str, ...] = NAMES, *, by_position: bool = False) -> str:
    with pytest.raises(ModelFileError) as caught:
        read_model_file(path, names, by_position=by_position)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    return "\n".join(line.removeprefix(f"{path}: ") for line in lines)


def margins_are_those_of(booster: lightgbm.Booster, path: Path) -> bool:
    matrix = rows(1)[0]
    served = Booster(read_model_file(path, NAMES, by_position=False).text, NAMES)
    return same_bits(served.margins(matrix), np.asarray(booster.predict(matrix, raw_score=True)))


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"boosting": "dart"},
        {"sigmoid": 0.5},
        {"monotone_constraints": [1, 0, 0, 0]},
        {"is_unbalance": True},
        {"zero_as_missing": True},
        {"data_sample_strategy": "goss"},
        {"num_leaves": 2},
    ],
    ids=str,
)
def test_a_binary_model_gives_the_margins_that_lightgbm_gives(path: Path, parameters: dict[str, Any]) -> None:
    assert margins_are_those_of(saved(path, rows(), NAMES, **parameters), path)


def test_a_file_with_line_ends_of_windows_is_read(path: Path) -> None:
    booster = saved(path, rows(), NAMES)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert margins_are_those_of(booster, path)


def test_a_file_without_parameters_is_read(path: Path) -> None:
    booster = saved(path, rows(), NAMES)
    head, end, _ = path.read_text().partition("end of trees\n")
    path.write_text(head + end)
    assert margins_are_those_of(booster, path)
    model = read_model_file(path, NAMES, by_position=False)
    assert (model.parameters, model.seed) == ({"num_iterations": 12}, 0)


def test_the_parameters_of_the_training_are_kept_and_nothing_of_the_machine(path: Path) -> None:
    saved(path, rows(), NAMES, seed=7, learning_rate=0.2, max_depth=-1, lambda_l2=1.5)
    model = read_model_file(path, NAMES, by_position=False)
    expected = {"num_leaves": 8, "learning_rate": 0.2, "max_depth": -1, "lambda_l2": 1.5, "num_iterations": 12}
    assert model.parameters.items() >= expected.items()
    assert model.parameters["objective"] == "binary"
    assert model.seed == 7
    assert not {"num_threads", "output_model", "data", "verbosity"} & model.parameters.keys()
    assert "parameters" not in model.text


def test_what_is_no_lightgbm_text_is_refused_with_how_to_save_one(path: Path) -> None:
    booster = saved(path, rows(), NAMES)
    text = path.read_text()
    others = (
        b"",
        b"\x80\x04\xff",
        pickle.dumps(booster),
        json.dumps(booster.dump_model()).encode(),
        b"tree\n",
        text[:500].encode(),
    )
    for value in others:
        path.write_bytes(value)
        assert refused(path).startswith("is not a LightGBM model as text: save it by booster.save_model('model.txt')")


def test_a_file_that_is_too_large_or_cannot_be_read_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(path) == "cannot be read: No such file or directory"
    saved(path, rows(), NAMES)
    monkeypatch.setattr(model_file, "LARGEST_BYTES", 1_000)
    assert "bytes, more than the 1,000 of an artifact" in refused(path)
    assert artifact.LARGEST_BYTES > 1_000


def own_objective(margins: np.ndarray, data: lightgbm.Dataset) -> tuple[np.ndarray, np.ndarray]:
    chances = 1 / (1 + np.exp(-margins))
    return chances - data.get_label(), chances * (1 - chances)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"objective": "regression"}, "has the objective 'regression': train with objective=binary"),
        ({"objective": "cross_entropy"}, "has the objective 'cross_entropy': train"),
        ({"objective": "multiclass", "num_class": 3}, "has the objective 'multiclass': train"),
        ({"objective": own_objective}, "names no objective, as after training with one of your own"),
        (
            {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
            "averages its trees (a random forest): train with boosting=gbdt or dart",
        ),
        ({"linear_tree": True}, "has linear models in its leaves: train with linear_tree=false"),
    ],
    ids=("regression", "cross entropy", "multiclass", "own objective", "random forest", "linear trees"),
)
def test_a_model_whose_margins_are_not_supported_is_refused(
    path: Path, parameters: dict[str, Any], message: str
) -> None:
    saved(path, rows(), NAMES, **parameters)
    found = refused(path)
    assert found.startswith(message)
    assert "\n" not in found


def test_a_model_that_learnt_nothing_is_refused(path: Path) -> None:
    saved(path, rows(), NAMES)
    head, _, rest = path.read_text().partition("\ntree_sizes=")
    trees = rest.partition("\n\n")[2].partition("end of trees")[2]
    path.write_text(f"{head}\ntree_sizes=\n\n\nend of trees{trees}")
    assert refused(path) == "has no trees: nothing was learnt; see the warnings of its training"


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_format_of_an_earlier_lightgbm_and_a_header_that_lacks_lines_are_refused(path: Path) -> None:
    saved(path, rows(), NAMES)
    replaced(path, "version=v4", "version=v3")
    assert refused(path) == "is of format 'v3', not v4: load it with LightGBM 4, and save it again"
    replaced(path, "version=v3\n", "")
    assert refused(path) == "its header lacks version: save the model again with LightGBM 4"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\nleft_child=", "\nleft_child=9 ", "left_child does not have"),
        ("\nthreshold=", "\nthreshold=nan ", "threshold holds a value that is not a number"),
        ("Tree=1\n", "Tree=8\n", "tree 1 is not at the position that tree_sizes gives"),
        ("feature_infos=", "feature_infos=none ", "feature_infos must have one entry for each feature"),
    ],
)
def test_damaged_trees_are_refused_before_lightgbm_sees_them(path: Path, old: str, new: str, message: str) -> None:
    saved(path, rows(), NAMES)
    replaced(path, old, new)
    found = refused(path)
    assert message in found or "position that tree_sizes gives" in found


# --- features


def renamed(path: Path, names: tuple[str, ...]) -> None:
    replaced(path, f"feature_names={' '.join(NAMES)}\n", f"feature_names={' '.join(names)}\n")


def test_missing_and_additional_features_are_named(path: Path) -> None:
    saved(path, rows(), NAMES)
    renamed(path, ("amount", "merchant_risk", "gap", "share"))
    lines = refused(path).splitlines()
    assert lines[0].startswith(
        "lacks 1 of the 4 features: 'count'; train on the feature columns of `fraudstream features"
    )
    assert lines[1].startswith("has features that are not computed here: 'merchant_risk'; train on")
    assert len(lines) == 2


def test_another_order_is_refused_with_the_first_column_that_differs(path: Path) -> None:
    saved(path, rows(), NAMES)
    assert refused(path, ("amount", "gap", "count", "share")).startswith(
        "has the features in another order, first in column 1: 'count' instead of 'gap'; train on"
    )


def test_all_problems_are_named_at_once(path: Path) -> None:
    saved(path, rows(), NAMES, objective="regression", linear_tree=True)
    assert len(refused(path, (*NAMES[:3], "other")).splitlines()) == 4


def test_a_model_without_feature_names_is_taken_by_position_only_if_asked_for(path: Path) -> None:
    booster = saved(path, rows(), None)
    assert "has no feature names (Column_0, …)" in refused(path)
    assert "(--features-by-position)" in refused(path)
    model = read_model_file(path, NAMES, by_position=True)
    assert model.features_by_position
    matrix = rows(1)[0]
    assert same_bits(Booster(model.text, NAMES).margins(matrix), np.asarray(booster.predict(matrix, raw_score=True)))
    counted = refused(path, (*NAMES, "other"), by_position=True)
    assert counted.startswith("has 4 features without names, the feature set has 5: train on")


def test_names_are_compared_even_if_positions_are_asked_for(path: Path) -> None:
    saved(path, rows(), NAMES)
    assert not read_model_file(path, NAMES, by_position=True).features_by_position
    assert "another order" in refused(path, ("amount", "gap", "count", "share"), by_position=True)


# --- undefined values


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda matrix: matrix, {"amount", "count", "share"}),
        (lambda matrix: np.nan_to_num(matrix, nan=-1.0), set(NAMES)),
    ],
    ids=["as they are", "filled"],
)
def test_the_features_that_were_never_undefined_in_training_are_known(
    path: Path, change: Callable[[np.ndarray], np.ndarray], expected: set[str]
) -> None:
    matrix, frauds = rows()
    saved(path, (change(matrix), frauds), NAMES)
    found = read_model_file(path, NAMES, by_position=False).undefined_as_0
    assert found <= expected
    assert {"amount"} <= found
    assert ("gap" in found) is ("gap" in expected)
