"""Where a rollout stands, read from the topics once: what `fraudstream rollout status` prints. It needs no guard."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from fraudstream.ops.rollout.guard.finding import Finding, Limits, Sight, finding_on
from fraudstream.ops.rollout.guard.presence import NO_GUARD, WITHOUT_A_GUARD, running_guards
from fraudstream.ops.rollout.guard.sight import empty_state, reader_of, sight_of
from fraudstream.ops.rollout.guard.training import KnownTraining
from fraudstream.ops.rollout.guard.watched import Past, Stretch, Watched, past_of
from guards.report import explain
from guards.shares import share_text
from guards.specs import guards_json
from models.times import format_time
from stream.clock import now_ms
from stream.control.client import read_log
from stream.settings import Settings

_LATE_MS = 60_000
"""A guard that runs takes a rung that is due within seconds."""

Tell = Callable[[int, int], None]
"""Receives how many records were read so far, and of how many."""


class Status(NamedTuple):
    """What is watched, and what a guard would make of it; these three are None if nothing is watched.

    `guards` are the names of the guards that run; None where that cannot be told.
    """

    past: Past
    watched: Watched | None = None
    sight: Sight | None = None
    finding: Finding | None = None
    guards: frozenset[str] | None = None

    @property
    def has_no_guard(self) -> bool:
        """Whether it is known that no guard runs."""
        return self.guards is not None and not self.guards


async def read_status(settings: Settings, limits: Limits, tell: Tell) -> Status:
    """Read the log, and count what was decided since the canary or the promotion began.

    Raises:
        ControlLogError: the event log has lost records.
        OtherHashKeyError: cards are excluded that are not known here.
        aiokafka.errors.KafkaError: the brokers do not answer, or a topic is missing.
    """
    fold, events = await read_log(settings)
    past, guards = past_of(settings.deployment, events, fold.term.publisher), await running_guards(settings)
    watched = past.watched
    if watched is None or watched.is_over(now_ms()):
        return Status(past, guards=guards)
    begun_ms, read = now_ms(), 0
    async with reader_of(settings, watched, empty_state(settings, watched), {}) as reader:
        ends, starts = await reader.topics.ranges(), reader.topics.positions
        total = sum(max(end - starts.get(tp, begin), 0) for tp, (begin, end) in ends.items())
        while reader.read_until_ms is None or reader.read_until_ms < begun_ms:
            read += await reader.step(_nothing)
            tell(min(read, total), total)
        known = KnownTraining(settings)
        sight = sight_of(settings, past, watched, reader, await known.of(watched))
        if known.trouble:
            sight = sight._replace(blind=(*sight.blind, known.trouble))
    return Status(past, watched, sight, finding_on(past, watched, sight, limits), guards)


async def _nothing() -> None:
    """Know no more shares than at the start: what is decided under later revisions is passed over."""


def facts(status: Status) -> dict[str, Any]:
    """Return a status as plain JSON."""
    past, watched, sight, finding, _ = status
    frozen = past.lineup.frozen
    about: dict[str, Any] = {
        "deployment": past.lineup.deployment,
        "revision": past.lineup.revision,
        "watched": watched and str(watched.stretch),
        "frozen": None if frozen is None else {"hands_off": frozen.hands_off},
        "guards": None if status.guards is None else sorted(status.guards),
    }
    if watched is None or sight is None or finding is None:
        return about
    rollout, progress = watched.rollout, finding.progress
    return about | {
        "models": list(watched.models),
        "model": None if watched.stretch is Stretch.SPLIT else watched.model,
        "other": watched.other,
        "since": watched.since,
        "since_at": format_time(watched.since_ms),
        "until": None if watched.until_ms is None else format_time(watched.until_ms),
        "share_bp": watched.share_bp,
        "share_since": format_time(watched.share_since_ms),
        "split": watched.split
        and {
            "arms": {arm.name: {"model": arm.model, "share_bp": arm.share_bp} for arm in watched.split.arms},
            "salt": watched.split.salt,
            "excluded_cards": len(watched.split.exclude),
        },
        "rollout": rollout
        and {
            "command_id": rollout.command_id,
            "ladder": rollout.ladder.to_json(),
            "guards": guards_json(rollout.guards, rollout.row_time, rollout.climb),
            "paused": rollout.paused,
            "waived": sorted(rollout.waived),
        },
        "phase": progress and str(progress.phase),
        "rung": progress and progress.rung,
        "next_share_bp": progress and progress.next_share_bp,
        "due": None if progress is None or progress.due_ms is None else format_time(progress.due_ms),
        "waits_for": list(progress.waits_for) if progress else [],
        "held": list(finding.held),
        "would_send": finding.order and str(finding.order.kind),
        "evidence": dict(sight.evidence),
    }


def lines(status: Status, name: Callable[[str], str]) -> Iterator[str]:
    """Say a status in words; `name` says what a digest is."""
    past, watched, sight, finding, _ = status
    if past.lineup.frozen is not None:
        way_back = "also those that end a model's exposure" if past.lineup.frozen.hands_off else "a way back stays open"
        yield f"automatic commands are frozen; {way_back}"
    if watched is None or sight is None or finding is None:
        yield f"nothing is watched at revision {past.lineup.revision}: no canary or split runs, no promotion is watched"
        if status.has_no_guard:
            yield "no guard runs, so nobody is told of incidents"
        return
    if status.has_no_guard:
        yield f"{NO_GUARD}: {WITHOUT_A_GUARD[watched.stretch]}"
    yield from _standing(status, watched, finding, sight, name)
    yield (
        f"counted until {format_time(sight.read_until_ms)}; E is how many times likelier the counts are if the new "
        "model does harm than if it does none, and a guard is breached from its bound on:"
    )
    yield from (f"  {line}" for line in explain(sight.evidence))


def _standing(
    status: Status, watched: Watched, finding: Finding, sight: Sight, name: Callable[[str], str]
) -> Iterator[str]:
    other = name(watched.other)
    models = f"{', '.join(map(name, watched.models))}, beside {other}"
    if watched.split is not None:
        arms = (f"{arm.name} {name(arm.model)} at {share_text(arm.share_bp)}" for arm in watched.split.arms)
        yield f"split: {', '.join(arms)}, beside {other}; since {format_time(watched.since_ms)}"
    elif watched.stretch is Stretch.PROMOTION:
        yield f"promoted: {models}; watched until {format_time(watched.until_ms or 0)}"
    else:
        rollout, share = watched.rollout, share_text(watched.share_bp)
        ladder = "without a ladder" if rollout is None else f"on the ladder {rollout.ladder}"
        yield f"canary: {models}; {share} since {format_time(watched.share_since_ms)}, {ladder}"
    if finding.progress is not None and finding.progress.next_share_bp is not None:
        due = format_time(finding.progress.due_ms or 0)
        yield f"next: {share_text(finding.progress.next_share_bp)}, not before {due}: {finding.progress.phase}"
        yield from (f"  waits for {wait}" for wait in finding.progress.waits_for)
    elif finding.held:
        yield from (f"held: {why}" for why in finding.held)
    if finding.order is not None:
        sends = "a guard would send now" if status.has_no_guard else "a guard that runs sends now"
        yield f"{sends}: {finding.order.kind} ({finding.order.reason})"
        due_ms = 0 if finding.progress is None else finding.progress.due_ms or 0
        is_late = sight.now_ms > due_ms + _LATE_MS
        if finding.order.raises and is_late and not status.has_no_guard:
            yield "no guard has sent it for more than a minute: does `fraudstream guard` run?"
