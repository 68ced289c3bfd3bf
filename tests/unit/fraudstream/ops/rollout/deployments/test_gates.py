"""Go or no-go: what each gate asks for, what only the way back leaves out, and the size of the evidence."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from fraudstream.ops.rollout.deployments.comparison import Comparison, DecisionChange
from fraudstream.ops.rollout.deployments.evidence import in_words
from fraudstream.ops.rollout.deployments.gates import (
    GateLimits,
    GoNoGo,
    Reproduction,
    evidence_of,
    gates_of,
    way_back_gates,
)
from fraudstream.ops.rollout.deployments.recent import Faults
from fraudstream.ops.rollout.deployments.state import DecisionLag, DeploymentState, HistoriesFound, LiveModel
from models.command_decoder import LARGEST_EVIDENCE_BYTES
from support import deployment_cases

STATE = replace(
    deployment_cases.GREEN,
    workers=("w-1", "w-2"),
    versions={"0": 100},
    decided_ms=1_000,
    live=LiveModel("a" * 64, "card", "1"),
    lag=DecisionLag(12, 1_000, 4),
    faults=Faults(0, 100),
    decided_to={0: 50},
)
COMPARISON = msgspec.structs.replace(
    deployment_cases.COMPARISON,
    until="2026-01-01T01:00:00.000Z",
    passed_over=0,
    changes=(DecisionChange("approve", "review", 9, {"EUR": 900}),),
    changed_amounts={"EUR": 900},
)
REPRODUCED = Reproduction(1_000, 990, 0)
LIMITS = GateLimits()


def found(state: DeploymentState = STATE, comparison: Comparison | None = COMPARISON, **changes: Any) -> GoNoGo:
    return gates_of(state, comparison, changes.pop("reproduction", REPRODUCED), LIMITS._replace(**changes))


def refusing(findings: GoNoGo) -> list[str]:
    return [gate.gate for gate in findings.gates if not gate.passed]


def test_a_deployment_that_is_whole_caught_up_and_agrees_may_publish() -> None:
    assert (found().go, refusing(found())) == (True, [])
    assert found().facts()["go"] is True


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"workers": ()}, "workers"),
        ({"histories": HistoriesFound(whole=False, found="history epoch 7 is being repaired")}, "histories"),
        ({"lag": DecisionLag(0, 1_001, 4)}, "caught_up"),
        ({"live": None}, "model"),
        ({"faults": Faults(0, 100, 1, {"history_incomplete": 1})}, "faults"),
        ({"faults": Faults(0, 100, 0, {}, 3, 1)}, "faults"),
    ],
)
def test_each_gate_of_the_state_refuses_alone(change: dict[str, Any], gate: str) -> None:
    state = replace(STATE, **change)
    assert refusing(found(state)) == [gate]
    (one,) = (one for one in found(state).gates if not one.passed)
    assert one.found
    assert one.required
    assert one.advice


def test_dead_letters_that_the_publishing_deployment_has_too_refuse_nothing() -> None:
    assert found(replace(STATE, faults=Faults(0, 100, 0, {}, 3, 0))).go


def test_histories_in_an_unknown_redis_are_judged_by_the_last_decisions() -> None:
    unknown = replace(STATE, histories=HistoriesFound(whole=None, found="its Redis is known to its own settings alone"))
    assert found(unknown).go
    lacking = replace(unknown, faults=Faults(0, 100, 1, {"history_incomplete": 1}))
    assert refusing(found(lacking)) == ["histories", "faults"]


@pytest.mark.parametrize(
    ("figures", "passed"),
    [
        ({"compared": 999, "changed": 9, "only_published": 1}, True),
        ({"compared": 999, "changed": 10, "only_published": 1}, False),
        ({"compared": 500, "changed": 0, "only_published": 0}, True),
        ({"compared": 499, "changed": 0, "only_published": 0}, False),
        ({"compared": 900, "changed": 0, "only_published": 0, "only_silent": 100}, False),
        ({"compared": 0, "changed": 0, "only_published": 0}, False),
    ],
)
def test_differences_are_held_to_a_budget_in_which_payments_that_one_side_alone_decided_count(
    figures: dict[str, int], *, passed: bool
) -> None:
    findings = found(comparison=msgspec.structs.replace(COMPARISON, **figures))
    assert refusing(findings) == ([] if passed else ["differences"])


def test_what_explains_a_decision_that_is_not_equal_is_named() -> None:
    gate = found(reproduction=Reproduction(200, 161, 0, {"order_unknown": 39})).gates[-1]
    assert gate.found == "0 unexplained and 161 equal of 200, 39 order_unknown"


@pytest.mark.parametrize(
    ("reproduction", "passed"),
    [
        (Reproduction(10, 10, 0), True),
        (Reproduction(10, 9, 1), False),
        (Reproduction(10, 0, 0), False),
        (Reproduction(problem="the range is empty"), False),
        (Reproduction(stated=True), True),
    ],
)
def test_decisions_reproduce_if_none_is_unexplained_and_some_are_equal(
    reproduction: Reproduction, *, passed: bool
) -> None:
    assert refusing(found(reproduction=reproduction)) == ([] if passed else ["reproduces"])


def test_on_the_way_back_only_the_state_counts() -> None:
    state = replace(STATE, faults=Faults(0, 100, 50, {"history_incomplete": 50}))
    findings = way_back_gates(state, LIMITS)
    assert findings.go
    assert [gate.gate for gate in findings.gates] == ["workers", "histories", "caught_up", "model"]
    assert not way_back_gates(replace(STATE, workers=()), LIMITS).go


def test_the_evidence_says_go_and_what_each_gate_found() -> None:
    evidence = evidence_of(found(), COMPARISON)
    assert (evidence["go"], evidence["way_back"], evidence["comparison"]["changed"]) == (True, False, 9)
    assert evidence["gates"]["workers"] == {
        "passed": True, "found": "2 in group fraudstream-green", "required": "at least 1",
    }  # fmt: skip
    assert evidence_of(found(replace(STATE, workers=())), COMPARISON)["go"] is False


def test_the_evidence_is_told_in_words() -> None:
    first, *others = in_words(evidence_of(found(replace(STATE, workers=())), COMPARISON))
    assert first == "no-go: 7 gates"
    assert others[0] == "workers NOT PASSED: 0 in group fraudstream-green"


def test_the_evidence_is_never_too_large() -> None:
    amounts = {f"C{number:02d}": 10**17 for number in range(100)}
    changes = tuple(DecisionChange("approve", "review", 9, amounts) for _ in range(99))
    large = msgspec.structs.replace(COMPARISON, changes=changes, amounts=amounts, changed_amounts=amounts)
    findings = found(replace(STATE, histories=HistoriesFound(whole=False, found="x" * 100_000)))
    evidence = evidence_of(findings, large)
    assert len(msgspec.json.encode(evidence)) <= LARGEST_EVIDENCE_BYTES
    assert (evidence["go"], evidence["gates"]["histories"]["passed"]) == (False, False)
