"""Go or no-go: the gates that a deployment has to pass before it may publish, and the evidence for the judge."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from fraudstream.ops.rollout.deployments.comparison import Comparison
from fraudstream.ops.rollout.deployments.state import DeploymentState
from models.command_decoder import LARGEST_EVIDENCE_BYTES
from models.times import format_time
from stream.scoring.encode import HISTORY_INCOMPLETE

_LONGEST_TEXT = 400
"""What was found is cut there in the evidence: an error's text may quote anything."""


class GateLimits(NamedTuple):
    """What the gates ask for.

    A deployment may be `records` behind the last published decision, may have had no fault for `fault_minutes`, and
    may differ from the published decisions in a share `budget` of at least `minimum` payments.
    """

    records: int = 1_000
    fault_minutes: float = 10.0
    budget: float = 0.01
    minimum: int = 500


class Reproduction(NamedTuple):
    """What rescoring a sample of a deployment's own decisions gave, or the `problem` for which it gave nothing.

    Of those `compared`, some are `equal` to the last bit; others differ for a known reason, or are `unexplained`.
    `reasons` counts the decisions that each reason explains.
    """

    compared: int = 0
    equal: int = 0
    unexplained: int = 0
    reasons: Mapping[str, int] = MappingProxyType({})
    problem: str | None = None
    stated: bool = False
    """Whether a person states that the decisions reproduce, so that nothing was rescored."""


class Gate(msgspec.Struct, frozen=True):
    """One gate: whether it is passed, what was found, what is required, and what to do where it is not passed."""

    gate: str
    passed: bool
    found: str
    required: str
    advice: str


class GoNoGo(msgspec.Struct, frozen=True):
    """All gates of a deployment. On the way back to the one that published before, only its state counts."""

    deployment: str
    way_back: bool
    gates: tuple[Gate, ...]

    @property
    def go(self) -> bool:
        """Whether it may publish: every gate is passed."""
        return all(gate.passed for gate in self.gates)

    def facts(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        facts: dict[str, Any] = msgspec.to_builtins(self)
        return facts | {"go": self.go}


def state_gates(state: DeploymentState, limits: GateLimits) -> Iterator[Gate]:
    """Yield the gates that need only the state of the deployment itself."""
    name, workers = state.deployment, len(state.workers)
    yield Gate(
        "workers",
        workers > 0,
        f"{workers} in group {state.group}",
        "at least 1",
        f"start workers with FRAUDSTREAM_DEPLOYMENT={name}; if they have another group, name it: --group {name}=GROUP",
    )
    yield _histories_gate(state)
    yield Gate(
        "caught_up",
        state.lag.behind <= limits.records,
        f"{state.lag.behind:,} records behind the last published decision",
        f"at most {limits.records:,}",
        "wait, or start more workers of it; the /health/ready of each says what it waits for",
    )
    yield Gate(
        "model",
        state.live is not None,
        "none is live" if state.live is None else " ".join(filter(None, (*state.live[1:], state.live.digest[:12]))),
        "a live model",
        f"promote one: FRAUDSTREAM_DEPLOYMENT={name} fraudstream model promote MODEL",
    )


def _histories_gate(state: DeploymentState) -> Gate:
    """Return whether histories are whole; where their Redis is not known, by what the last decisions say.

    Its workers say it, too, when the judge asks them.
    """
    whole, found = state.histories.whole, state.histories.found
    if whole is None:
        lacking = state.faults.kinds.get(HISTORY_INCOMPLETE, 0)
        whole = not lacking
        found = f"unknown: {found}; {lacking:,} of its last {state.faults.decisions:,} decisions lacked histories"
    return Gate(
        "histories",
        whole,
        found,
        "whole",
        "wait for the repair: fraudstream_history_open_parts of its workers falls to 0",
    )


def fault_gate(state: DeploymentState, limits: GateLimits) -> Gate:
    """Return whether the deployment had no fault lately."""
    faults = state.faults
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in faults.kinds.items())
    found = f"{faults.faulty:,} of {faults.decisions:,} decisions{f' ({kinds})' if kinds else ''}"
    return Gate(
        "faults",
        faults.total == 0,
        f"{found}, {faults.own_letters:,} dead letters of its own since {format_time(faults.since_ms)}",
        f"none in {limits.fault_minutes:g} min",
        "find the cause: `degraded` of its scores, and `fraudstream dead-letters list`; then wait",
    )


def difference_gate(comparison: Comparison | None, limits: GateLimits) -> Gate:
    """Return whether the decisions differ within the budget; those that one side alone has made count as different."""
    required = f"at most {limits.budget:.2%} of at least {limits.minimum:,}"
    advice = "look at the differences; is a larger --budget what you want, or did too few payments come?"
    if comparison is None:
        return Gate("differences", passed=False, found="nothing was compared", required=required, advice=advice)
    alone = comparison.only_published + comparison.only_silent
    total = comparison.compared + alone
    share = (comparison.changed + alone) / total if total else 0.0
    found = (
        f"{share:.2%}: {comparison.changed:,} of {comparison.compared:,} compared differ, "
        f"{comparison.only_published:,} only published, {comparison.only_silent:,} only silent"
    )
    passed = comparison.compared >= limits.minimum and share <= limits.budget
    return Gate("differences", passed, found, required, advice)


def reproduction_gate(deployment: str, reproduction: Reproduction) -> Gate:
    """Return whether the deployment's own decisions, made again from the topics, are the same."""
    advice = (
        f"run it with the settings, features and code of {deployment}: fraudstream score --topic --diff; if that "
        "reports none as unexplained, say so: --reproduced"
    )
    if reproduction.stated:
        return Gate("reproduces", passed=True, found="stated by the sender", required="0 unexplained", advice=advice)
    found = reproduction.problem or (
        f"{reproduction.unexplained:,} unexplained and {reproduction.equal:,} equal of {reproduction.compared:,}"
        + "".join(f", {count:,} {reason}" for reason, count in reproduction.reasons.items())
    )
    passed = reproduction.problem is None and reproduction.unexplained == 0 and reproduction.equal > 0
    return Gate("reproduces", passed, found, "0 unexplained, some equal", advice)


def way_back_gates(state: DeploymentState, limits: GateLimits) -> GoNoGo:
    """Return go or no-go for the deployment that published before: only its state counts, since it is urgent."""
    return GoNoGo(state.deployment, way_back=True, gates=tuple(state_gates(state, limits)))


def gates_of(
    state: DeploymentState, comparison: Comparison | None, reproduction: Reproduction, limits: GateLimits
) -> GoNoGo:
    """Return go or no-go for a deployment that is to take over."""
    gates = (
        *state_gates(state, limits),
        fault_gate(state, limits),
        difference_gate(comparison, limits),
        reproduction_gate(state.deployment, reproduction),
    )
    return GoNoGo(state.deployment, way_back=False, gates=gates)


def evidence_of(findings: GoNoGo, comparison: Comparison | None) -> dict[str, Any]:
    """Return the evidence of a command: go or no-go, the gates, and the comparison in short, at most 16 kB."""
    evidence: dict[str, Any] = {
        "go": findings.go,
        "way_back": findings.way_back,
        "gates": _gates_in_short(findings.gates),
    }
    with_comparison = evidence if comparison is None else evidence | {"comparison": comparison.short()}
    is_small = len(msgspec.json.encode(with_comparison)) <= LARGEST_EVIDENCE_BYTES
    return with_comparison if is_small else evidence


def _gates_in_short(gates: Sequence[Gate]) -> dict[str, Any]:
    return {
        one.gate: {"passed": one.passed, "found": one.found[:_LONGEST_TEXT], "required": one.required} for one in gates
    }
