"""The simulations of guards: their shortcuts equal the library's evidence, and the world is as its text says."""

import math

import numpy as np
import pytest

from benchmarks.simulations import guard_counting, guards
from benchmarks.simulations.guard_streams import (
    Scenario,
    SimulatedCards,
    bad_events,
    draw_cards,
    first_breach,
    least_canary,
    ratio_logs,
)
from benchmarks.simulations.guards import Effort, GuardFigures, simulate, simulate_alarms
from guards.evidence import log_evidence_of, log_ratio_evidence
from guards.specs import OF_A_CANARY, GuardKind, default_guards

WORLD = SimulatedCards(cards=5_000, days=10.0)
DECLINED = GuardKind.DECLINED


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few events and effects: a simulation of the same form that takes a second."""
    monkeypatch.setattr(guards, "_EVENTS_BY_SHARE", dict.fromkeys(guards.SHARES_BP, 300))
    monkeypatch.setattr(guards, "RATIOS", (5.0, 20.0))
    monkeypatch.setattr(guards, "MOST_EVENTS", 4_000)
    monkeypatch.setattr(
        guards.Effort,
        "__new__",
        lambda cls, runs, alarm_runs: tuple.__new__(cls, (runs, alarm_runs, SimulatedCards(500, 2, 9))),
    )
    monkeypatch.setattr(guard_counting, "_SET_SIZE", 10_000)


def tiny() -> GuardFigures:
    return simulate(3, Effort(3, 4), lambda *_: None)


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


def test_bad_events_are_clustered_by_card_and_each_card_has_one_first() -> None:
    rng = np.random.default_rng(6)
    cards = draw_cards(WORLD, rng)
    events = bad_events(WORLD, guards.EQUAL, DECLINED, cards, rng)
    assert (np.diff(events.days) >= 0).all()
    assert 2.5 < len(events.first) / events.first.sum() < 5
    assert events.canary.mean() == pytest.approx(0.1, abs=0.03)


def test_a_ratio_is_that_of_episodes_from_its_day_on() -> None:
    rng = np.random.default_rng(7)
    world = WORLD._replace(share_bp=5_000)
    drifting = Scenario("drifting", {GuardKind.REVIEWED: 3.0}, 5.0)
    events = bad_events(world, drifting, GuardKind.REVIEWED, draw_cards(world, rng), rng)
    before, after = events.canary[events.days < 5], events.canary[events.days >= 5]
    assert (~before).sum() == pytest.approx((~after).sum(), rel=0.15)
    assert before.sum() / (~before).sum() == pytest.approx(1, rel=0.15)
    assert after.sum() / (~after).sum() == pytest.approx(3, rel=0.15)


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


@pytest.mark.acceptance
@pytest.mark.usefixtures("small")
def test_the_same_seed_gives_the_same_figures() -> None:
    assert tiny() == tiny()
    assert [line.name for line in tiny().scenarios] == [one.name for one in guards.SCENARIOS]
