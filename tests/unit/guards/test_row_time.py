"""The budget of the new model's time: how it is stated, what breaches it, and what its evidence says."""

import re
from typing import Any

import pytest

from guards.errors import GuardSpecError
from guards.report import breached_kinds, breaches, disagreements, evidence, explain
from guards.row_time import RowTime, row_time_evidence, slowest
from guards.specs import (
    DEFAULT_ROW_TIME,
    Action,
    GuardKind,
    RowTimeSpec,
    default_guards,
    guards_json,
    read_guards,
    read_row_time,
)
from guards.state import GuardState

SPEC = RowTimeSpec(500.0, Action.ROLL_BACK)


def test_the_budget_is_stated_beside_the_guards_that_count_and_read_back() -> None:
    stated = guards_json(default_guards(), SPEC)
    assert stated["row_time"] == {"budget_us": 500.0, "action": "roll_back"}
    assert (read_guards(stated), read_row_time(stated)) == (default_guards(), SPEC)
    assert read_row_time({"row_time": {"budget_us": 2_000}}) == DEFAULT_ROW_TIME
    assert read_row_time(guards_json(default_guards())) is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "guards.row_time: Object missing required field `budget_us`"),
        ([], "guards.row_time: Expected `object`, got `array`"),
        ({"budget_us": 0}, "guards.row_time.budget_us: 0 is not above 0 and at most 1,000,000"),
        ({"budget_us": 2e6}, "guards.row_time.budget_us: 2e+06 is not above 0 and at most 1,000,000"),
        ({"budget_us": float("nan")}, "guards.row_time.budget_us: nan is not above 0 and at most 1,000,000"),
        ({"budget_us": 1, "alpha": 0.01}, "guards.row_time.alpha: unknown field; it has budget_us and action"),
        ({"budget_us": 1, "action": "stop"}, "guards.row_time: Invalid enum value 'stop' - at `$.action`"),
    ],
)
def test_a_wrong_budget_is_refused_with_what_is_wrong(fields: Any, message: str) -> None:
    with pytest.raises(GuardSpecError, match=re.escape(message)):
        read_guards({**guards_json(default_guards()), "row_time": fields})


def test_a_rollout_needs_a_guard_that_counts_events_beside_it() -> None:
    with pytest.raises(GuardSpecError, match="none that counts events"):
        read_guards({"row_time": {"budget_us": 1}})


def found(measured: RowTime | None) -> dict[str, Any]:
    return evidence(GuardState(default_guards(), "default"), row_time=row_time_evidence(SPEC, measured))


def test_the_slowest_worker_above_the_budget_breaches_it() -> None:
    fast, slow = RowTime(120.0, "w-2", "e-2"), RowTime(500.04, "w-1", "e-1")
    assert slowest([fast, slow]) == slow
    assert slowest([]) is None
    assert breaches(found(slow)) == {}  # 500.0 as stated
    over = found(RowTime(500.06, "w-1", "e-1"))
    assert breaches(over) == {GuardKind.ROW_TIME: Action.ROLL_BACK}
    assert breached_kinds(over) == (GuardKind.ROW_TIME,)
    assert over["guards"]["row_time"] == {
        "budget_us": 500.0,
        "action": "roll_back",
        "row_us": 500.1,
        "worker": "w-1",
        "event_id": "e-1",
        "breached": True,
    }
    assert over["alpha"] == 0.05  # a measurement has no false alarm by chance


def test_a_model_that_is_slow_on_some_of_its_rows_is_breached_by_the_upper_quantiles() -> None:
    for p95, p99, expected in ((499.0, 2_400.0, False), (501.0, None, True), (100.0, 2_600.0, True)):
        stated = found(RowTime(40.0, "w-1", "e-1", p95, p99, 12.0))
        assert stated["guards"]["row_time"]["breached"] is expected
        assert disagreements(stated) == ()
    assert explain(stated)[-1] == (
        "row_time: the new model takes 40 µs for a row, 100 at the 95th percentile, 2,600 at the 99th, 12 of it for "
        "features on w-1, the slowest worker, against a budget of 500 µs: breached: roll_back"
    )
    quick = RowTime(400.0, "w-2", "e-2")
    assert slowest([quick, RowTime(40.0, "w-1", "e-1", 100.0, 2_600.0)]) != quick


def test_a_verdict_that_its_own_time_does_not_give_is_found() -> None:
    stated = found(RowTime(600.0, "w-1", "e-1"))
    assert disagreements(stated) == ()
    stated["guards"]["row_time"]["row_us"] = 400.0
    assert disagreements(stated) == ("row_time: 400 against 500 µs is not what `breached` says",)
    assert disagreements(found(None)) == ()
