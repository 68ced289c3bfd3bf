"""What the demo comes to: the facts of a run as one record, for `--json` and for the report."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from models.commands import CommandKind
from stream.demo import checks
from stream.demo.chronicle import Change, RevisionComparison, Sum
from stream.demo.scoreboard import Delay, Outage, Percentiles, TruthTally, percentiles, undisturbed, waited
from stream.demo.view import View


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """What one revision did with the live transactions."""

    revision: int
    model: str
    decided: int
    review: int
    decline: int
    precision: float | None
    recall: float | None


class CommandSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One command and its verdict. Durations in milliseconds from when it was given."""

    kind: str
    model: str | None
    verdict: str | None
    revision: int | None
    took_ms: int | None
    ready_ms: dict[str, int]
    """By worker, when it had loaded the model."""
    cutover_ms: int | None
    """When every partition had its first decision under the new revision."""


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """What the shadow showed under one revision, of live transactions; `euro` at the simulation's rates."""

    revision: int
    live: str | None
    challenger: str | None
    compared: int
    coverage: float | None
    agreement: float | None
    swapped: int
    mean_score_shift: float | None
    frauds_only_challenger: Sum
    frauds_only_live: Sum
    false_alarms_only_challenger: Sum
    false_alarms_only_live: Sum


class Chaos(msgspec.Struct, frozen=True, kw_only=True):
    """What the death of the worker came to."""

    in_flight: int
    uncommitted: int | None
    gap_ms: int | None
    waited: int
    longest_wait_ms: int | None
    most_waiting: int
    caught_up_ms: int | None
    """From the kill until the backlog was worked off."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Latencies in milliseconds, of live transactions; `problems` is empty when all held."""

    ok: bool
    problems: tuple[str, ...]
    published: int
    warm: int
    decided: int
    void: int
    outcomes: int
    fallbacks: int
    rate: float
    latency: Percentiles | None
    """From the record's time to the decision; with `--chaos` without those that the kill touched."""
    round_trip: Percentiles | None
    """From when it was due to its score, read back; likewise."""
    worst_lag_ms: int
    """By how much the demo itself sent late, at most."""
    promotion_ms: int | None
    rollback_ms: int | None
    commands: tuple[CommandSummary, ...]
    shadow: tuple[Beside, ...]
    chaos: Chaos | None
    revisions: tuple[Revision, ...]
    first_offsets: dict[int, dict[int, int]]
    """By partition and revision."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is measured beside the scoreboard."""

    view: View
    unreadable: int
    rate: float
    worst_lag_ms: int
    seconds: float


def found(run: Run) -> tuple[str, ...]:
    """Make all checks."""
    view = run.view
    board, chronicle = view.board, view.chronicle
    problems = [
        *checks.never_published(board),
        *checks.late_or_lost(board),
        *checks.decided_twice(board),
        *checks.decided_unasked(board),
        *checks.offset_gaps(board),
        *checks.void_scores(view.void, run.unreadable),
        *checks.revisions_gone_back(board),
        *checks.dead_letters(board),
        *checks.verdicts(chronicle),
        *checks.shadow_unseen(view.lanes, chronicle),
    ]
    for kind in checks.EXPECTED:
        change = chronicle.change(kind)
        if change is not None and change.revision is not None:
            problems += checks.missed_cutovers(board, range(view.partitions), change.revision)
            problems += checks.cutovers_unlike_announced(board, chronicle.events, change.revision)
    if view.outage is not None:
        problems += checks.not_recovered(board, view.outage, view.partitions)
    return tuple(problems)


def summarise(run: Run) -> Summary:
    """Fold a run into its facts."""
    view, problems = run.view, found(run)
    board, delays = view.board, undisturbed(view.board, view.outage)
    return Summary(
        ok=not problems,
        problems=problems,
        published=len(board.published),
        warm=sum(not truth.live for truth in board.truths.values()),
        decided=len(board.decided),
        void=view.void,
        outcomes=board.outcomes,
        fallbacks=board.fallbacks,
        rate=round(run.rate, 1),
        latency=percentiles([delay.decision for delay in delays]),
        round_trip=percentiles([delay.round_trip for delay in delays]),
        worst_lag_ms=run.worst_lag_ms,
        promotion_ms=_took(view, CommandKind.PROMOTE),
        rollback_ms=_took(view, CommandKind.ROLL_BACK),
        commands=tuple(map(_command, view.chronicle.changes)),
        shadow=tuple(_beside(view, lane) for _, lane in sorted(view.lanes.by_revision.items())),
        chaos=None if view.outage is None else _chaos(view, view.outage),
        revisions=tuple(
            _revision(number, board.digests.get(number), tally) for number, tally in sorted(board.tallies.items())
        ),
        first_offsets={partition: dict(firsts) for partition, firsts in sorted(board.first_offsets.items())},
        seconds=round(run.seconds, 1),
    )


def longest(delays: list[Delay]) -> int | None:
    """Return the longest time from a record's to its decision; None of nothing."""
    return max((delay.decision for delay in delays), default=None)


def _took(view: View, kind: CommandKind) -> int | None:
    change = view.chronicle.change(kind)
    return None if change is None else change.took_ms


def _command(change: Change) -> CommandSummary:
    return CommandSummary(
        kind="" if change.kind is None else change.kind.value,
        model=change.model,
        verdict=None if change.answer is None else change.answer.kind.value,
        revision=change.revision,
        took_ms=change.took_ms,
        ready_ms={worker: at - change.asked_ms for worker, at in change.ready.items()},
        cutover_ms=change.cut_over_ms - change.asked_ms if change.cutovers else None,
    )


def _beside(view: View, lane: RevisionComparison) -> Beside:
    return Beside(
        revision=lane.revision,
        live=lane.live,
        challenger=lane.challenger,
        compared=lane.tally.compared,
        coverage=view.coverage(lane),
        agreement=lane.agreement,
        swapped=lane.tally.changed,
        mean_score_shift=lane.shift.mean,
        frauds_only_challenger=lane.only_challenger(fraud=True),
        frauds_only_live=lane.only_live(fraud=True),
        false_alarms_only_challenger=lane.only_challenger(fraud=False),
        false_alarms_only_live=lane.only_live(fraud=False),
    )


def _chaos(view: View, outage: Outage) -> Chaos:
    touched = waited(view.board, outage)
    return Chaos(
        in_flight=outage.in_flight,
        uncommitted=outage.uncommitted,
        gap_ms=outage.gap_ms,
        waited=len(touched),
        longest_wait_ms=longest(touched),
        most_waiting=outage.most_waiting,
        caught_up_ms=None if outage.caught_up_ms is None else outage.caught_up_ms - outage.killed_ms,
    )


def _revision(number: int, digest: str | None, tally: TruthTally) -> Revision:
    return Revision(
        revision=number,
        model=digest or "",
        decided=tally.decided,
        review=tally.reviewed,
        decline=tally.declined,
        precision=tally.precision,
        recall=tally.recall,
    )
