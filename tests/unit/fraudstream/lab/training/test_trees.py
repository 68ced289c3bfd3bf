"""Growing trees: early stopping by average precision, weights, and a test part that chooses nothing."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from fraudstream.lab.training.request import TrainingRequest
from fraudstream.lab.training.run import build
from fraudstream.lab.training.split import Split, split
from fraudstream.lab.training.trees import grow, parameters_of, precision_on
from fraudstream.lab.training.vectors import Table
from models.artifact import Artifact
from models.booster import Booster, text_of
from models.calibration import Calibrator
from support.tables import FOUR, learnable

DATA = learnable()
PARTS = split(DATA, 0)


def request_for(**changes: Any) -> TrainingRequest:
    base = TrainingRequest(file=Path("a.csv"), name="card", feature_set=FOUR, trees=60, leaves=8, threads=1)
    return replace(base, **({"learning_rate": 0.3, "refit": False} | changes))


def by_lightgbm(request: TrainingRequest) -> lightgbm.Booster:
    """Train all trees with plain LightGBM."""
    rows = lightgbm.Dataset(
        DATA.matrix[PARTS.train], label=DATA.fraud[PARTS.train], feature_name=list(FOUR.names), params=small(request)
    )
    return lightgbm.train(small(request), rows)


def small(request: TrainingRequest) -> dict[str, Any]:
    return parameters_of(request) | {"min_data_in_leaf": 5, "num_threads": 1}


def test_the_trees_are_those_up_to_the_highest_average_precision_on_validate() -> None:
    request = request_for(patience=60)
    fitted = grow(request, small(request), DATA, PARTS, lambda _: None)
    whole = by_lightgbm(request)
    frauds, matrix = DATA.fraud[PARTS.validate], DATA.matrix[PARTS.validate]
    kept = np.ones(len(frauds), np.bool_)
    for row, at in enumerate(PARTS.validate):  # rows of cards with a fraud known in the two weeks before are left out
        day = DATA.occurred_ms[at] // 86_400_000
        known = -(-DATA.labelled_ms[(DATA.card == DATA.card[at]) & (DATA.fraud == 1)] // 86_400_000)
        kept[row] = not ((known <= day) & (known > day - 14)).any()
    found = [
        average_precision_score(frauds[kept], whole.predict(matrix[kept], num_iteration=trees))
        for trees in range(1, request.trees + 1)
    ]
    assert 1 < fitted.trees == int(np.argmax(found)) + 1 < request.trees
    assert fitted.measure == pytest.approx(max(found), rel=1e-12)
    assert fitted.text == text_of(whole, fitted.trees)


def test_training_ends_once_so_many_trees_have_not_raised_it() -> None:
    seen: list[int] = []
    request = request_for(patience=7, trees=200)
    fitted = grow(request, small(request), DATA, PARTS, seen.append)
    assert seen[-1] == fitted.trees + 7 < 200


def test_the_number_of_threads_changes_no_tree() -> None:
    request = request_for(patience=10)
    one, three = (
        grow(replace(request, threads=threads), small(request) | {"num_threads": threads}, DATA, PARTS, lambda _: None)
        for threads in (1, 3)
    )
    assert one == three


def built(data: Table, parts: Split, **changes: Any) -> Artifact:
    return build(request_for(**changes), data, parts, lambda _stage, _done, _total: None).artifact


def test_the_test_part_chooses_nothing() -> None:
    artifact = built(DATA, PARTS)
    changed = copy.deepcopy(DATA)
    changed.fraud[PARTS.test] = 1 - changed.fraud[PARTS.test]
    changed.matrix[PARTS.test] = np.random.default_rng(5).normal(size=(len(PARTS.test), 4))
    other = built(changed, PARTS)
    assert other.model_text == artifact.model_text
    assert other.manifest.metrics != artifact.manifest.metrics
    for name in ("calibration", "policy", "parameters", "training"):
        assert getattr(other.manifest, name) == getattr(artifact.manifest, name)


def test_probabilities_stay_calibrated_when_frauds_count_more() -> None:
    frauds, matrix = DATA.fraud[PARTS.test], DATA.matrix[PARTS.test]
    for weight in (1.0, 25.0):
        artifact = built(DATA, PARTS, fraud_weight=weight)
        margins = Booster(artifact.model_text, FOUR.names).margins(matrix)
        scores = Calibrator.of(artifact.manifest.calibration).probabilities(margins)
        assert scores.mean() == pytest.approx(frauds.mean(), rel=0.3)
        as_grown = (1 / (1 + np.exp(-margins))).mean()
        assert bool(as_grown > 3 * frauds.mean()) is (weight > 1)


def test_the_measure_is_that_of_all_rows_if_the_cards_that_are_not_blocked_have_no_fraud() -> None:
    rows = np.flatnonzero(DATA.fraud == 1)[-20:]
    mixed = np.sort(np.concatenate((rows, np.flatnonzero(DATA.fraud == 0)[-20:])))
    data = copy.deepcopy(DATA)
    data.card[:] = 1
    data.card[mixed[data.fraud[mixed] == 0]] = 2
    scores = np.linspace(0, 1, len(mixed))
    assert precision_on(data, mixed)(scores) == pytest.approx(average_precision_score(data.fraud[mixed], scores))
