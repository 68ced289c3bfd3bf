"""What a guard does next: a pure function of what it watches, of the evidence, and of the time.

What ends a model's exposure comes first and at once; what raises it comes only if nothing speaks against it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from guards.ladder import Progress, RolloutPhase, Situation, progress_on
from guards.report import breaches
from guards.shares import LIVE, WHOLE_BP, share_text
from guards.specs import Action, GuardKind
from models.commands import CommandKind
from stream.guard.watched import Past, Stretch, Watched

_ENDS = {
    Stretch.CANARY: CommandKind.END_CANARY,
    Stretch.SPLIT: CommandKind.END_SPLIT,
    Stretch.PROMOTION: CommandKind.ROLL_BACK,
}
"""What ends the exposure of what is watched."""


class Limits(NamedTuple):
    """What a guard is told at its start.

    `cool_down_ms` is for how long after a breach nothing climbs; `least_decisions` are those of the canary without
    which no rung is left.
    """

    cool_down_ms: int
    least_decisions: int


class Sight(NamedTuple):
    """What a guard has seen.

    Attributes:
        now_ms: the present time.
        read_until_ms: the time up to which all partitions were counted.
        evidence: that of `guards.report.evidence`.
        canary_decisions: the payments that the canary decided under the present share.
        blind: why what it has seen does not suffice to climb, in words; nothing if empty.
    """

    now_ms: int
    read_until_ms: int
    evidence: Mapping[str, Any]
    canary_decisions: int
    blind: tuple[str, ...] = ()


class Order(NamedTuple):
    """A command that the guard sends now, and why; `raises` tells whether it raises the model's exposure."""

    kind: CommandKind
    reason: str
    raises: bool = False
    model: str | None = None
    share_bp: int | None = None
    watch: float | None = None
    winner: str | None = None


class Finding(NamedTuple):
    """What a guard makes of what it has seen.

    Attributes:
        order: the command that is to be sent; None if there is none.
        progress: where the rollout stands on its ladder; None where there is no ladder to climb.
        held: why nothing climbs, in words.
        breached: the guards that are breached and that no operator let go on.
    """

    order: Order | None
    progress: Progress | None
    held: tuple[str, ...]
    breached: Mapping[GuardKind, Action]


def finding_on(past: Past, watched: Watched, sight: Sight, limits: Limits) -> Finding:
    """Return what follows from what a guard has seen."""
    found = breaches(sight.evidence)
    waived = {kind for kind, action in found.items() if action is Action.HOLD and kind in watched.waived}
    breached = {kind: action for kind, action in found.items() if kind not in waived}
    held = (*_held(past, watched, sight, limits), *(f"{kind} is breached" for kind in breached))
    progress = _progress(watched, sight, limits, held)
    return Finding(_order(past, watched, breached, progress), progress, held, breached)


def _held(past: Past, watched: Watched, sight: Sight, limits: Limits) -> tuple[str, ...]:
    held = [*sight.blind]
    if watched.rollout is not None and watched.rollout.paused:
        held.append("it is paused: `fraudstream rollout resume` lets it go on")
    if past.lineup.frozen is not None:
        held.append("automatic commands are frozen: `fraudstream model thaw` ends that")
    if past.breached_ms is not None and sight.now_ms < past.breached_ms + limits.cool_down_ms:
        left_s = -((sight.now_ms - past.breached_ms - limits.cool_down_ms) // 1000)
        held.append(f"cool-down after a breach: {left_s:,} s more")
    return tuple(held)


def _progress(watched: Watched, sight: Sight, limits: Limits, held: tuple[str, ...]) -> Progress | None:
    if watched.rollout is None or watched.stretch is Stretch.PROMOTION:
        return None
    now = Situation(
        watched.share_bp, watched.share_since_ms, sight.now_ms, sight.read_until_ms, sight.canary_decisions, held
    )
    return progress_on(watched.rollout.ladder, now, limits.least_decisions)


def _order(
    past: Past, watched: Watched, breached: Mapping[GuardKind, Action], progress: Progress | None
) -> Order | None:
    frozen, rollout = past.lineup.frozen, watched.rollout
    if breached and frozen is not None and frozen.hands_off:
        return None
    leaving = [kind for kind, action in breached.items() if action is Action.ROLL_BACK]
    if leaving:
        winner = LIVE if watched.stretch is Stretch.SPLIT else None
        return Order(_ENDS[watched.stretch], f"breached: {', '.join(leaving)}", winner=winner)
    if breached and watched.stretch is Stretch.CANARY and rollout is not None and not rollout.paused:
        return Order(CommandKind.PAUSE, f"breached: {', '.join(breached)}")
    if rollout is None or progress is None or progress.phase is not RolloutPhase.DUE:
        return None
    rung = rollout.ladder.rungs[progress.rung]
    reason = f"rung {progress.rung + 1} of {rollout.ladder}"
    if rung.share_bp == WHOLE_BP:
        return Order(CommandKind.PROMOTE, reason, raises=True, model=watched.model, watch=rung.seconds)
    reason = f"{reason}: {share_text(rung.share_bp)}"
    return Order(CommandKind.CANARY, reason, raises=True, model=watched.model, share_bp=rung.share_bp)
