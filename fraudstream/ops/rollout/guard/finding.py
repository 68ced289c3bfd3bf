"""What a guard does next: a pure function of what it watches, of the evidence, and of the time.

What ends a model's exposure comes first and at once; what raises it comes only if nothing speaks against it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from fraudstream.ops.rollout.guard.watched import Past, Stretch, Watched
from fraudstream_client.arms import LIVE, WHOLE_BP
from guards.ladder import Progress, RolloutPhase, Situation, progress_on
from guards.report import breaches, lacking, rate_ratio
from guards.shares import share_text
from guards.specs import Action, GuardKind
from models.commands import CommandKind

_ENDS = {
    Stretch.CANARY: CommandKind.END_CANARY,
    Stretch.SPLIT: CommandKind.END_SPLIT,
    Stretch.PROMOTION: CommandKind.ROLL_BACK,
}
"""What ends the exposure of what is watched."""
RETREAT_MS = 3_600_000
"""So long a canary that declines too much stays at the first rung before it ends, if nothing else is breached."""
GRAVE_RATIO = 3.0
"""A canary that has declined so many times as many cards as live ends at once."""
LEAST_LABELLED = 5
"""So many labels of its declines are needed to say that most of them were fraud."""


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
    if found.get(GuardKind.DECLINED) is Action.ROLL_BACK:
        found[GuardKind.DECLINED] = _of_declines(past, watched, sight, found)
    waived = {
        kind for kind, action in found.items() if action is Action.HOLD and _is_waived(past, watched, sight, kind)
    }
    breached = {kind: action for kind, action in found.items() if kind not in waived}
    held = (*_held(past, watched, sight, limits), *(f"{kind} is breached" for kind in breached))
    progress = _progress(watched, sight, limits, held)
    return Finding(_order(past, watched, breached, progress, sight.evidence), progress, held, breached)


def _is_waived(past: Past, watched: Watched, sight: Sight, kind: GuardKind) -> bool:
    """Tell whether an operator let a guard go on; too many declines are no longer so because too few were accepted."""
    too_many = kind is GuardKind.DECLINED and breaches(sight.evidence)[kind] is Action.ROLL_BACK
    return past.accepts_declines if too_many else kind in watched.waived


def _of_declines(past: Past, watched: Watched, sight: Sight, found: Mapping[GuardKind, Action]) -> Action:
    """Return what follows where a canary declines too much.

    A wave of fraud that it alone catches looks so, too. So on a ladder, as long as nothing else says that it harms, its
    share is lowered, and it ends only if that lasts for an hour and labels do not speak for it.
    """
    guard = sight.evidence["guards"][GuardKind.DECLINED]
    if watched.stretch is not Stretch.CANARY or watched.rollout is None or rate_ratio(guard) >= GRAVE_RATIO:
        return Action.ROLL_BACK
    if past.accepts_declines:
        return Action.HOLD
    if any(kind is not GuardKind.DECLINED and kind not in watched.waived for kind in found):
        return Action.ROLL_BACK
    if past.retreated_ms is None:
        can = _is_above_first(watched) or not watched.rollout.paused  # else no command could be the retreat on record
        return Action.HOLD if can else Action.ROLL_BACK
    labelled = guard.get("labelled", {"fraud": 0, "genuine": 0})
    fraud, genuine = labelled["fraud"], labelled["genuine"]
    is_fraud = fraud + genuine >= LEAST_LABELLED and fraud > genuine
    return Action.HOLD if is_fraud or sight.now_ms < past.retreated_ms + RETREAT_MS else Action.ROLL_BACK


def _is_above_first(watched: Watched) -> bool:
    return watched.rollout is not None and watched.share_bp > watched.rollout.ladder.rungs[0].share_bp


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
        watched.share_bp,
        watched.share_since_ms,
        sight.now_ms,
        sight.read_until_ms,
        sight.canary_decisions,
        held,
        watched.rollout.climb.from_bp,
        tuple(lacking(sight.evidence, watched.waived)),
    )
    return progress_on(watched.rollout.ladder, now, limits.least_decisions)


def _order(
    past: Past,
    watched: Watched,
    breached: Mapping[GuardKind, Action],
    progress: Progress | None,
    evidence: Mapping[str, Any],
) -> Order | None:
    frozen, rollout = past.lineup.frozen, watched.rollout
    if breached and frozen is not None and frozen.hands_off:
        return None
    leaving = [kind for kind, action in breached.items() if action is Action.ROLL_BACK]
    if leaving:
        winner = LIVE if watched.stretch is Stretch.SPLIT else None
        return Order(_ENDS[watched.stretch], f"breached: {', '.join(leaving)}", winner=winner)
    if breached and watched.stretch is Stretch.CANARY and rollout is not None:
        return _held_back(past, watched, breached, evidence)
    if rollout is None or progress is None or progress.phase is not RolloutPhase.DUE:
        return None
    rung = rollout.ladder.rungs[progress.rung]
    reason = f"rung {progress.rung + 1} of {rollout.ladder}"
    if rung.share_bp == WHOLE_BP:
        return Order(CommandKind.PROMOTE, reason, raises=True, model=watched.model, watch=rung.seconds)
    reason = f"{reason}: {share_text(rung.share_bp)}"
    return Order(CommandKind.CANARY, reason, raises=True, model=watched.model, share_bp=rung.share_bp)


def _held_back(
    past: Past, watched: Watched, breached: Mapping[GuardKind, Action], evidence: Mapping[str, Any]
) -> Order | None:
    """Return what keeps a breached rollout at its share, or brings it back to the first; None if that is done."""
    rollout, reason = watched.rollout, f"breached: {', '.join(breached)}"
    assert rollout is not None  # noqa: S101 - only rollouts are held back
    retreats = GuardKind.DECLINED in breached and breaches(evidence)[GuardKind.DECLINED] is Action.ROLL_BACK
    if retreats and past.retreated_ms is None and _is_above_first(watched):
        first_bp = rollout.ladder.rungs[0].share_bp
        reason = f"{reason}; back to {share_text(first_bp)}"
        return Order(CommandKind.CANARY, reason, model=watched.model, share_bp=first_bp)
    return None if rollout.paused else Order(CommandKind.PAUSE, reason)
