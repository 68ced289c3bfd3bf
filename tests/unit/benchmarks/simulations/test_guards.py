"""The simulations of guards: their shortcuts equal the library's evidence, and the world is as its text says."""

import math

import numpy as np
import pytest

from benchmarks.simulations.guard_streams import (
    SimulatedCards,
    first_breach,
    least_canary,
    ratio_logs,
)
from benchmarks.simulations.guards import simulate_alarms
from guards.evidence import log_evidence_of, log_ratio_evidence
from guards.specs import OF_A_CANARY, GuardKind, default_guards

WORLD = SimulatedCards(cards=5_000, days=10.0)
DECLINED = GuardKind.DECLINED


@pytest.mark.parametrize(("share_bp", "factor"), [(100, 1.0), (1_000, 1.0), (1_000, 1.25), (5_000, 1.0)])
def test_the_least_number_of_the_canarys_is_where_evidence_reaches_the_bound(share_bp: int, factor: float) -> None:
    least = least_canary(share_bp / 10_000, factor, 0.01, 300)
    bound = math.log(100)
    for total in (0, 1, 2, 5, 17, 60, 300):
        number = int(least[total])
        assert log_evidence_of({share_bp: (number - 1, total - number + 1)}, factor) < bound
        assert number > total or log_evidence_of({share_bp: (number, total - number)}, factor) >= bound


def test_the_breach_of_a_run_is_the_first_event_with_enough_evidence() -> None:
    canary = np.random.default_rng(4).random(400) < 0.25
    at = first_breach(canary, least_canary(0.1, 1.0, 0.01, 400))
    logs = [log_evidence_of({1_000: (int(canary[:n].sum()), n - int(canary[:n].sum()))}) for n in range(1, 401)]
    assert at == next(number for number, log in enumerate(logs) if log >= math.log(100))


def test_the_sample_ratio_along_a_run_equals_the_librarys() -> None:
    canary = np.random.default_rng(5).random(200) < 0.2
    logs = ratio_logs(canary, 0.1)
    for number in (1, 2, 50, 200):
        count = int(canary[:number].sum())
        assert logs[number - 1] == pytest.approx(log_ratio_evidence((count, number - count), (0.1, 0.9)))


@pytest.mark.acceptance
def test_clustered_cards_raise_no_false_alarm_if_only_first_events_count_and_many_otherwise() -> None:
    runs = 150
    lines = {line.rule: line for line in simulate_alarms(1, runs, default_guards(), WORLD, lambda *_: None)}
    for kind in default_guards().keys() - OF_A_CANARY:
        assert lines[f"guard on {kind}"].false_alarms * runs <= runs * 0.01 + 3 * math.sqrt(runs * 0.01)
    assert lines["any of these guards"].false_alarms <= 0.05 + 3 * math.sqrt(0.05 / runs)
    assert lines["the same evidence on every decline"].false_alarms > 0.15
    assert lines["a fixed-horizon test on every decline"].false_alarms > 0.4
    assert lines["evidence on the first decline of each card, from the start"].noticed > 0.3  # type: ignore[operator]
