"""What a guard's verdict stands on: counts, E and bound as plain JSON, small enough for a command, and in words."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from guards.arm_report import ARMS, arm_evidence, arm_rows, arms_explained, e_of, recomputed_arms, rounded
from guards.evidence import Counts, log_evidence_of, log_ratio_evidence_of
from guards.row_time import disagreements as row_time_disagreements
from guards.row_time import explained as row_time_explained
from guards.shares import WHOLE_BP
from guards.specs import Action, GuardKind, GuardSpec, total_alpha
from guards.state import GuardState

LARGEST_EVIDENCE_BYTES = 16_000
"""A command's `evidence` is at most this long as JSON."""
MOST_SHARES = 20
"""Counts of at most so many shares are listed; a ladder has fewer, an operator's own changes may be more."""
_TOLERANCE = 1e-6

_WORDS: Mapping[GuardKind, str] = {
    GuardKind.REVIEWED: "first reviews",
    GuardKind.DECLINED: "first declines",
    GuardKind.STOOD_IN: "first payments that another model or the rules decided",
    GuardKind.FRAUD_APPROVED: "first approved frauds",
    GuardKind.SAMPLE_RATIO: "cards",
}


def log_evidence_for(kind: GuardKind, spec: GuardSpec, counts: Counts) -> float:
    """Return log E of one guard of a canary or a promotion."""
    if kind is GuardKind.SAMPLE_RATIO:
        return log_ratio_evidence_of(counts)
    return log_evidence_of(counts, spec.factor)


def evidence(
    state: GuardState, about: Mapping[str, Any] | None = None, row_time: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the evidence of all guards as plain JSON, for `evidence` of a command: at most 16,000 bytes.

    What it has of a split in place of counts by share is in `guards.arm_report`.

    `alpha` is the sum over all guards. For each guard: `alpha`, `factor`, `action`, `bound` = 1/alpha, `e` (at most
    1e304), `breached` (whether e >= bound), and `counts`, the cards with a first bad event by share and arm. `decided`
    are the payments by share and arm. `positions` are the offsets behind the last record that was read, a list by
    partition, so that it can be computed again from the topics; left out if they would not fit. `about` is what else it
    says, first; `row_time` is what `guards.row_time.row_time_evidence` says, if that is guarded.
    """
    counted = {str(kind): _evidence_of(kind, spec, state) for kind, spec in state.guards.items()}
    found: dict[str, Any] = {
        **(about or {}),
        "alpha": rounded(total_alpha(state.guards)),
        "guards": counted if row_time is None else {**counted, str(GuardKind.ROW_TIME): row_time},
        "decided": _rows(state.decided()) if state.split is None else arm_rows(state.split, state.decided()),
    }
    positions = {"scores": _positions(state.partitions), "outcomes": _positions(state.outcomes)}
    whole = found | {"positions": positions}
    return whole if len(msgspec.json.encode(whole)) <= LARGEST_EVIDENCE_BYTES else found


def _evidence_of(kind: GuardKind, spec: GuardSpec, state: GuardState) -> dict[str, Any]:
    counts = state.counts_of(kind)
    return _guard_evidence(kind, spec, counts) if state.split is None else arm_evidence(kind, spec, state.split, counts)


def breaches(found: Mapping[str, Any]) -> dict[GuardKind, Action]:
    """Return the guards that are breached by some evidence, with the action of each."""
    return {GuardKind(kind): Action(guard["action"]) for kind, guard in found["guards"].items() if guard["breached"]}


def breached_kinds(evidence: object) -> tuple[GuardKind, ...]:
    """Return the guards that are breached by some command's evidence, which may be any JSON, in the order of kinds."""
    guards = evidence.get("guards") if isinstance(evidence, dict) else None
    if not isinstance(guards, dict):
        return ()
    return tuple(
        kind for kind in GuardKind if isinstance(guards.get(kind), dict) and guards[kind].get("breached") is True
    )


def recomputed(found: Mapping[str, Any]) -> dict[GuardKind, float]:
    """Compute the E of each guard that counts events again from the counts that some evidence states."""
    values = {}
    for name, guard in found["guards"].items():
        if name == GuardKind.ROW_TIME:
            continue
        kind, spec = GuardKind(name), GuardSpec(guard["alpha"], Action(guard["action"]), guard["factor"])
        if ARMS in guard:
            values[kind] = recomputed_arms(kind, spec, guard[ARMS])
            continue
        counts = {row["share_bp"]: (row["canary"], row["live"]) for row in guard["counts"]}
        values[kind] = e_of(log_evidence_for(kind, spec, counts))
    return values


def disagreements(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what is wrong with some evidence: an E or a verdict that its own figures do not give."""
    problems = []
    for kind, value in recomputed(found).items():
        guard = found["guards"][kind]
        if "shares_left_out" not in guard and not math.isclose(value, guard["e"], rel_tol=_TOLERANCE):
            problems.append(f"{kind}: its counts give E = {value:g}, but it states {guard['e']:g}")
        if guard["breached"] != (guard["e"] >= guard["bound"]):
            problems.append(f"{kind}: E = {guard['e']:g} against {guard['bound']:g} is not what `breached` says")
    row_time = found["guards"].get(GuardKind.ROW_TIME)
    return (*problems, *(() if row_time is None else row_time_disagreements(row_time)))


def explain(found: Mapping[str, Any]) -> list[str]:
    """Say in words what some evidence states, one line for each guard."""
    return list(explain_each(found).values())


def explain_each(found: Mapping[str, Any]) -> dict[GuardKind, str]:
    """Say in words what some evidence states of each guard."""
    return {GuardKind(kind): _explained(GuardKind(kind), guard) for kind, guard in found["guards"].items()}


def _explained(kind: GuardKind, guard: Mapping[str, Any]) -> str:
    if kind is GuardKind.ROW_TIME:
        return row_time_explained(guard)
    if ARMS in guard:
        return arms_explained(kind, guard, _WORDS[kind])
    rows: Sequence[Mapping[str, int]] = guard["counts"]
    canary, total = sum(row["canary"] for row in rows), sum(row["canary"] + row["live"] for row in rows)
    if not total:
        return f"{kind}: no {_WORDS[kind]} yet"
    fair = sum((row["canary"] + row["live"]) * row["share_bp"] / WHOLE_BP for row in rows)
    tolerated = f", {guard['factor']:g} times as many are tolerated" if guard["factor"] > 1 else ""
    bound = f"{guard['bound']:,.3g} (alpha {guard['alpha']:g})"
    verdict = f"breached: {guard['action']}" if guard["breached"] else "not breached"
    return (
        f"{kind}: {canary:,} of {total:,} {_WORDS[kind]} are the canary's; by its share of cards, {fair:,.1f} would be"
        f"{tolerated}. E = {guard['e']:,.3g} against a bound of {bound}: {verdict}"
    )


def _guard_evidence(kind: GuardKind, spec: GuardSpec, counts: Counts) -> dict[str, Any]:
    e = e_of(log_evidence_for(kind, spec, counts))
    fields = {
        "alpha": rounded(spec.alpha),
        "factor": spec.factor,
        "action": str(spec.action),
        "bound": rounded(spec.bound),
        "e": e,
        "breached": e >= spec.bound,
        "counts": _rows(counts),
    }
    return fields | ({"shares_left_out": len(counts) - MOST_SHARES} if len(counts) > MOST_SHARES else {})


def _rows(counts: Counts) -> list[dict[str, int]]:
    """Return the counts as rows, at most 20, those with the most events."""
    largest = sorted(counts, key=lambda share_bp: -sum(counts[share_bp]))[:MOST_SHARES]
    return [
        {"share_bp": share_bp, "canary": counts[share_bp][0], "live": counts[share_bp][1]}
        for share_bp in sorted(largest)
    ]


def _positions(partitions: Mapping[int, Any]) -> list[int]:
    return [partitions[at].position if at in partitions else 0 for at in range(max(partitions, default=-1) + 1)]
