import math
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream_client.outputs import DecidedBy, Decision, ModelName
from models.arms import Arm, Canary, Split
from models.errors import ScoringError
from models.loading import LEAST_CALLS, Model, load
from models.policy import bands
from models.repository import Repository
from stream.control.model_cache import ArmModels, ServingModels
from stream.scoring.score import REVIEW_ABOVE, Floats, decide_by_rules, score
from support.model_artifacts import FINGERPRINT, NAMES, artifact, history_vectors, rows


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Model]:
    folder: Path = tmp_path_factory.mktemp("models")
    repository = Repository(str(folder))
    found = [load(repository, repository.put(artifact(seed=seed)), {FINGERPRINT: history_vectors}) for seed in (0, 1)]
    first, second = found
    assert isinstance(first, Model)
    assert isinstance(second, Model)
    return first, second


FEATURES_NS = 20_000.0


class SameVectors:
    """The same vectors for every feature set."""

    def __init__(self, matrix: Floats, names: tuple[str, ...] = NAMES) -> None:
        self._matrix = matrix
        self._names = names

    def of(self, _fingerprint: str) -> Floats:
        return self._matrix

    def names(self, _fingerprint: str) -> tuple[str, ...]:
        return self._names

    def row_ns(self, _fingerprint: str) -> float:
        return FEATURES_NS


class Failing(Model):
    """A model that fails on every matrix for which `fails` is true."""

    def __init__(self, of: Model, fails: Any) -> None:
        super().__init__(of.digest, of.manifest, of._booster)
        self._fails = fails

    def score(self, matrix: Floats) -> Floats:
        if self._fails(matrix):
            raise ScoringError("this one fails")
        return super().score(matrix)


def always(_: Floats) -> bool:
    return True


def test_judgements_have_the_live_models_outputs_and_name(models: tuple[Model, Model]) -> None:
    live, _ = models
    matrix = rows(50, seed=3)
    judged = score(ServingModels(1, *models), SameVectors(matrix))
    expected = live.score(matrix)
    assert [one.score for one in judged] == expected.tolist()
    assert [one.band for one in judged] == bands(expected).tolist()
    assert [one.decision for one in judged] == live.policy.decide(expected)
    assert {one.decided_by for one in judged} == {DecidedBy.MODEL}
    assert {one.model for one in judged} == {ModelName("card", "1", live.digest)}
    assert {one.degraded for one in judged} == {()}


@given(st.integers(1, 40), st.integers(0, 2**31))
def test_a_row_gets_the_same_judgement_alone_and_in_a_batch(models: tuple[Model, Model], count: int, seed: int) -> None:
    matrix = rows(count, seed=seed)
    serving = ServingModels(1, *models)
    assert score(serving, SameVectors(matrix)) == [score(serving, SameVectors(row[np.newaxis]))[0] for row in matrix]


def test_if_a_batch_fails_only_the_failing_row_falls_back_to_the_model_before(
    models: tuple[Model, Model],
) -> None:
    live, before = models
    matrix = rows(5, seed=4)
    matrix[2, 0] = 77.0
    judged = score(ServingModels(1, Failing(live, lambda some: (some == 77.0).any()), before), SameVectors(matrix))
    assert [one.decided_by for one in judged] == ["model", "model", "fallback", "model", "model"]
    assert [one.degraded for one in judged] == [(), (), ("live_model_failed",), (), ()]
    assert judged[:2] == score(ServingModels(1, live, None), SameVectors(matrix[:2]))
    assert judged[2].score == before.score(matrix[2:3])[0]
    assert judged[2].model == ModelName("card", "1", before.digest)


@pytest.mark.parametrize("fails_too", [True, False])
def test_if_no_model_can_score_the_rules_decide_without_a_score(models: tuple[Model, Model], fails_too: bool) -> None:  # noqa: FBT001 - a parameter
    live, before = models
    serving = ServingModels(1, Failing(live, always), Failing(before, always) if fails_too else None)
    judged = score(serving, SameVectors(np.array([[5.0, 0, 0], [6.0, 0, 0]]), ("card_count_10m", "b", "c")))
    assert [one.decision for one in judged] == ["approve", "review"]
    for one in judged:
        assert (one.score, one.band, one.model, one.decided_by) == (None, None, None, "rules")
        assert one.degraded == ("live_model_failed", "no_model")


def test_the_model_before_scores_the_features_that_it_was_trained_on(models: tuple[Model, Model]) -> None:
    class VectorsBySet(SameVectors):
        def of(self, fingerprint: str) -> Floats:
            return rows(3, seed=8) if fingerprint == "before's" else rows(3, seed=7)

    live, before = models
    before = Model(before.digest, msgspec.structs.replace(before.manifest, fingerprint="before's"), before._booster)
    judged = score(ServingModels(1, Failing(live, always), before), VectorsBySet(rows(3, seed=7)))
    assert [one.score for one in judged] == before.score(rows(3, seed=8)).tolist()


# --- a canary


def beside(live: Model, canary: Model, fallback: Model | None = None) -> ServingModels:
    """Return a live model and a canary's; which cards are the canary's is given to `score`."""
    return ServingModels(1, live, fallback, None, ArmModels({"canary": canary}, Canary(canary.digest, 100, "s").split))


def arms_of(flags: list[bool]) -> list[str]:
    return ["canary" if flag else "live" for flag in flags]


# --- a split


def divided(live: Model, fallback: Model | None = None, **arms: Model) -> ServingModels:
    """Return a live model and those of arms; which cards are whose is given to `score`."""
    split = Split(tuple(Arm(name, model.digest, 100) for name, model in sorted(arms.items())), "s")
    return ServingModels(1, live, fallback, arms=ArmModels(arms, split))


@given(st.lists(st.sampled_from(["a", "b", "control", "live"]), min_size=1, max_size=40), st.integers(0, 2**31))
def test_each_payment_of_a_split_is_judged_by_the_model_of_its_arm_as_if_it_were_alone(
    models: tuple[Model, Model], arms: list[str], seed: int
) -> None:
    """Two arms may have one model, and one may have the live one."""
    live, new = models
    serving, matrix = divided(live, a=new, b=new, control=live), rows(len(arms), seed=seed)
    judged = score(serving, SameVectors(matrix), arms)
    assert [one.arm for one in judged] == arms
    for one, arm, row in zip(judged, arms, matrix, strict=True):
        model = new if arm in "ab" else live
        assert (one.score, one.model) == (model.score(row[np.newaxis])[0], ModelName("card", "1", model.digest))
        assert (one.decided_by, one.degraded) == (DecidedBy.MODEL, ())
        assert [one] == score(serving, SameVectors(row[np.newaxis]), [arm])


@pytest.mark.parametrize(
    ("failing", "decided_by", "degraded"),
    [
        ((), "model", ()),
        (("other",), "model", ()),
        (("live",), "model", ()),
        (("arm",), "fallback", ("failed",)),
        (("arm", "live"), "fallback", ("failed", "live_model_failed")),
        (("arm", "live", "before"), "rules", ("failed", "live_model_failed", "no_model")),
    ],
)
@pytest.mark.parametrize(("arm", "failed"), [("canary", "canary_model_failed"), ("a", "arm_model_failed")])
def test_where_an_arms_model_fails_live_stands_in_then_the_model_before_then_the_rules(
    models: tuple[Model, Model],
    arm: str,
    failed: str,
    *,
    failing: tuple[str, ...],
    decided_by: str,
    degraded: tuple[str, ...],
) -> None:
    live, new = models
    given = {"arm": new, "live": live, "before": Model("b" * 64, live.manifest, live._booster), "other": new}
    used = {name: Failing(model, always) if name in failing else model for name, model in given.items()}
    serving = divided(used["live"], used["before"], **{arm: used["arm"], "other": used["other"]})
    (judged,) = score(serving, SameVectors(np.zeros((1, 3))), [arm])
    expected = tuple(failed if code == "failed" else code for code in degraded)
    assert (judged.arm, judged.decided_by, judged.degraded) == (arm, decided_by, expected)
    stood = next((given[name] for name in ("arm", "live", "before") if name not in failing), None)
    assert (judged.model and judged.model.digest) == (stood and stood.digest)


# --- the rule policy


@given(st.dictionaries(st.sampled_from([*REVIEW_ABOVE, "x"]), st.floats(allow_nan=True)))
def test_the_rules_never_decline_and_review_values_above_a_limit(values: dict[str, float]) -> None:
    decision = decide_by_rules(tuple(values), np.array(list(values.values()), np.float64))
    above = any(values.get(name, math.nan) > limit for name, limit in REVIEW_ABOVE.items())
    assert decision is (Decision.REVIEW if above else Decision.APPROVE)


class Waiting(Model):
    """A model that waits for 5 ms and computes for 1 ms before each score."""

    def __init__(self, of: Model) -> None:
        super().__init__(of.digest, of.manifest, of._booster)

    def score(self, matrix: Floats) -> Floats:
        time.sleep(0.005)
        end_ns = time.thread_time_ns() + 1_000_000
        while time.thread_time_ns() < end_ns:
            pass
        return super().score(matrix)


def test_the_processor_time_of_each_arms_model_is_measured_and_what_it_waits_is_not(
    models: tuple[Model, Model],
) -> None:
    live, canary = Waiting(models[0]), Waiting(models[1])
    serving = ServingModels(1, live, None, arms=ArmModels({"canary": canary}, Canary(canary.digest, 5_000, "s").split))
    began_ns = time.thread_time_ns()
    for _ in range(LEAST_CALLS):
        score(serving, SameVectors(rows(5, seed=3)), arms_of([True, False, False, False, False]))
    spent_us = (time.thread_time_ns() - began_ns) / 1_000 / LEAST_CALLS
    assert canary.row_times.median_us is not None
    assert live.row_times.median_us is not None
    assert 1_000 <= canary.row_times.median_us - FEATURES_NS / 1_000 < spent_us - 1_000
    assert 250 <= live.row_times.median_us < canary.row_times.median_us
    assert canary.row_times.quantiles is not None
    assert canary.row_times.quantiles.features_us == FEATURES_NS / 1_000
