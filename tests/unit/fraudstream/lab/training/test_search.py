"""A search is reproducible for a number of trials, looks at `validate` alone, and keeps within its budget."""

import copy
import sys
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from fraudstream.lab.dataset.errors import MissingExtraError
from fraudstream.lab.training.assembly import PartMargins
from fraudstream.lab.training.evaluation import blocked
from fraudstream.lab.training.request import TrainingRequest
from fraudstream.lab.training.run import Built, build
from fraudstream.lab.training.search import _Trials
from fraudstream.lab.training.split import split
from fraudstream.lab.training.trees import grow, parameters_of
from fraudstream.lab.training.vectors import Table
from models.artifact import write_artifact
from models.booster import Booster, FittedTrees
from support.tables import FOUR, learnable

pytest.importorskip("optuna")
DATA = learnable(days=90)
PARTS = split(DATA, 0)


def request_for(**changes: Any) -> TrainingRequest:
    base = TrainingRequest(file=Path("a.csv"), name="card", feature_set=FOUR, trees=20, threads=1)
    return replace(base, **({"patience": 5, "learning_rate": 0.2, "refit": False} | changes))


def built(data: Table = DATA, **changes: Any) -> tuple[Built, list[tuple[str, int, int]]]:
    seen: list[tuple[str, int, int]] = []
    return build(request_for(**changes), data, PARTS, lambda *step: seen.append(step)), seen


def test_the_same_seed_and_number_of_trials_give_the_same_artifact() -> None:
    (first, _), (second, _) = built(trials=4), built(trials=4)
    assert write_artifact(first.artifact) == write_artifact(second.artifact)
    assert first.search == second.search
    other, _ = built(trials=4, seed=2)
    assert other.artifact.manifest.parameters != first.artifact.manifest.parameters


def test_the_first_trial_has_the_parameters_of_the_request_and_the_best_is_no_worse() -> None:
    request = request_for()
    plain = grow(request, parameters_of(request), DATA, PARTS, lambda _: None)
    one, _ = built(trials=1)
    assert one.artifact.model_text == plain.text
    assert one.search is not None
    assert one.search.first == one.search.best == plain.measure
    five, seen = built(trials=5)
    assert five.search is not None
    assert (five.search.trials, five.search.first, five.search.reproducible) == (5, plain.measure, True)
    assert five.search.best >= five.search.first
    assert [step for step in seen if step[0] == "search"] == [("search", done, 5) for done in range(1, 6)]


def test_the_first_trial_is_kept_unless_another_is_better_by_a_standard_error_paired_by_card() -> None:
    request = request_for()
    usual = parameters_of(request) | {"min_data_in_leaf": 20, "feature_fraction": 0.7}
    tried = [usual | {"seed": seed} for seed in (1, 2)]
    tried += [usual | {"num_leaves": 2, "num_iterations": trees} for trees in (1,)]
    grown = [(one, grow(request, one, DATA, PARTS, lambda _: None)) for one in tried]
    answers = set()
    for first, other in permutations(grown, 2):
        difference, error = by_card(first[1].text, other[1].text)
        if difference > 0 and abs(difference / error - 1) > 0.3:
            trials = _Trials(request, usual, DATA, PARTS, lambda *_: None)
            trials.taken = [first]
            assert trials._is_better(*other) is (difference > error)
            answers.add(difference > error)
    assert True in answers


class _Noisy(_Trials):
    """Trials whose scores are one column with noise: none is better than another."""

    def _margins(self, tried: Any, _fitted: Any) -> PartMargins:
        rows = PARTS.validate
        noise = np.random.default_rng(tried["seed"]).normal(size=len(rows))
        return PartMargins(rows, DATA.matrix[rows, 0] + 0.3 * noise, rows)


def test_of_trials_that_differ_by_noise_hardly_one_in_six_replaces_the_first() -> None:
    nothing, replaced = FittedTrees("", 1), 0
    for first in range(5):
        trials = _Noisy(request_for(), {}, DATA, PARTS, lambda *_: None)
        trials.taken = [({"seed": first}, nothing)]
        replaced += sum(trials._is_better({"seed": other}, nothing) for other in range(10, 16))
    assert replaced <= 15  # 5 of 30 are expected beyond one standard error


def by_card(first: str, other: str) -> tuple[float, float]:
    """Return by how much other trees rank `validate` better, and the standard error, drawing cards with their rows."""
    rows = PARTS.validate[~blocked(DATA, PARTS.validate)]
    scores = [Booster(text, FOUR.names).margins(DATA.matrix[rows]) for text in (first, other)]
    of_card = [np.flatnonzero(DATA.card[rows] == card) for card in np.unique(DATA.card[rows])]
    random, found = np.random.default_rng(7), list[float]()
    for _ in range(60):
        drawn = np.concatenate([of_card[one] for one in random.integers(len(of_card), size=len(of_card))])
        one, two = (average_precision_score(DATA.fraud[rows[drawn]], score[drawn]) for score in scores)
        found.append(two - one)
    one, two = (average_precision_score(DATA.fraud[rows], score) for score in scores)
    return two - one, float(np.std(found))


def test_a_search_by_folds_of_time_compares_what_their_trees_have_not_seen() -> None:
    few = learnable(days=45, per_day=60)
    parts = split(few, 0)
    assert parts.folds
    found = build(request_for(trials=2), few, parts, lambda *_: None)
    assert found.search is not None
    assert found.search.highest >= found.search.best >= found.search.first > 0


def test_the_test_part_changes_nothing_that_is_found() -> None:
    data = copy.deepcopy(DATA)
    data.fraud[PARTS.test] = 1 - data.fraud[PARTS.test]
    data.matrix[PARTS.test] = np.random.default_rng(3).normal(size=(len(PARTS.test), 4))
    (first, _), (second, _) = built(trials=4), built(data, trials=4)
    assert first.search == second.search
    assert first.artifact.model_text == second.artifact.model_text


def test_a_limit_of_time_ends_the_search_and_the_report_says_that_it_is_not_reproducible() -> None:
    found, seen = built(search_seconds=1e-3)
    assert found.search is not None
    assert (found.search.trials, found.search.reproducible) == (1, False)
    assert [stage for stage, *_ in seen if stage != "refit"][-1] == "search"
    both, _ = built(search_seconds=600.0, trials=2)
    assert both.search is not None
    assert (both.search.trials, both.search.reproducible) == (2, True)


def test_budgets_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"trials: expected .* got 0; search: expected .*; patience: a search"):
        request_for(trials=0, search_seconds=0.0, patience=0)


def test_a_search_without_optuna_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match="a search: Optuna is not installed"):
        built(trials=1)
