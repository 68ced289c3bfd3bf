"""The facts of a run as one record, for `--json` and for the final report."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from fraudstream.demo import checks, fleets
from fraudstream.demo.blue_green import BlueGreen
from fraudstream.demo.canary import CanaryFacts
from fraudstream.demo.commands import CommandRecord
from fraudstream.demo.comparisons import Amount, RevisionComparison
from fraudstream.demo.fleets import BlueGreenSummary, summary_of
from fraudstream.demo.scoreboard import (
    FIRST_TERM,
    Delay,
    Outage,
    Percentiles,
    TermRevision,
    TruthTally,
    percentiles,
    undisturbed,
    waited,
)
from fraudstream.demo.shell import CommandRun
from fraudstream.demo.view import View
from guards.report import breached_kinds
from models.commands import CommandKind


class RevisionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The live decisions of one revision in one term."""

    term: int
    revision: int
    model: str
    decided: int
    review: int
    decline: int
    precision: float | None
    recall: float | None


class CommandSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One command and its verdict. Durations in milliseconds since it was sent."""

    kind: str
    model: str | None
    verdict: str | None
    revision: int | None
    took_ms: int | None
    ready_ms: dict[str, int]
    """By worker, when it had loaded the model."""
    cutover_ms: int | None
    """When every partition had its first decision under the new revision."""


class ShadowSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The comparisons of live transactions under one revision; `euro` at the simulation's rates."""

    revision: int
    live: str | None
    challenger: str | None
    compared: int
    coverage: float | None
    agreement: float | None
    swapped: int
    mean_score_shift: float | None
    frauds_only_challenger: Amount
    frauds_only_live: Amount
    false_alarms_only_challenger: Amount
    false_alarms_only_live: Amount


class ChaosSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The effects of the kill."""

    in_flight: int
    uncommitted: int | None
    gap_ms: int | None
    waited: int
    longest_wait_ms: int | None
    most_waiting: int
    caught_up_ms: int | None
    """From the kill until the backlog was decided."""


class CanarySummary(msgspec.Struct, frozen=True, kw_only=True):
    """The bad model as a canary. Durations in milliseconds, None if it was not ended."""

    model: str | None
    share_bp: int
    decided: int
    declined: int
    """What the canary decided and declined before it ended."""
    first_declines: tuple[int, int]
    """Cards whose first decline was the canary's, and the live model's."""
    evidence: float
    bound: float
    breached: tuple[str, ...]
    """The guards that ended it."""
    to_breach_ms: int | None
    """From the rollout's acceptance to the decision with which the guard on declines was breached."""
    after_breach_ms: int | None
    """From that decision to the canary's last."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Latencies in milliseconds, of live transactions; `problems` is empty if all checks passed."""

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
    """From the record's timestamp to the decision; with `--chaos` without those that the kill delayed."""
    round_trip: Percentiles | None
    """From when it was due until its score was read; likewise."""
    worst_lag_ms: int
    """How late the demo itself sent a record, at most."""
    promotion_ms: int | None
    rollback_ms: int | None
    commands: tuple[CommandSummary, ...]
    shadow: tuple[ShadowSummary, ...]
    chaos: ChaosSummary | None
    canary: CanarySummary | None
    revisions: tuple[RevisionSummary, ...]
    blue_green: BlueGreenSummary | None
    first_offsets: dict[int, dict[int, int]]
    """By partition and revision, in the first term."""
    seconds: float
    audit: dict[str, int]
    """How many offsets `topics audit` has found in which state; empty if it found nothing out."""
    evidence_equal: bool | None
    """Whether `guard replay` found the evidence that the guard stated; None without such a command, or an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """The last view of a run, and what was measured besides."""

    view: View
    unreadable: int
    rate: float
    worst_lag_ms: int
    seconds: float
    audit: CommandRun
    """`topics audit` at the end."""
    replay: CommandRun | None = None
    """`guard replay` of the command with which the guard ended the bad model."""


def problems_of(run: RunFacts) -> tuple[str, ...]:
    """Run all checks."""
    view = run.view
    board, commands = view.board, view.commands
    problems = [
        *checks.never_published(board),
        *checks.late_or_lost(board),
        *checks.decided_unpublished(board),
        *checks.audited(run.audit, len(board.published)),
        *checks.void_scores(view.void - board.late.total(), run.unreadable),
        *checks.revisions_gone_back(board),
        *checks.dead_letters(board),
        *checks.failed(view.runs),
        *checks.shadow_unseen(view.comparisons, commands),
    ]
    if view.has_canary:
        problems += [*checks.canary_not_ended(view.canary), *checks.evidence_unlike_topics(run.replay)]
    if view.blue_green is not None:
        problems += _handover_problems(view, view.blue_green)
    for kind in checks.CHANGES:
        record = commands.last(kind)
        if record is not None and record.revision is not None:
            problems += checks.missed_cutovers(board, range(view.partitions), record.revision)
            problems += checks.cutovers_unlike_announced(board, commands.events, record.revision)
    if view.outage is not None:
        problems += checks.not_recovered(board, view.outage, view.partitions)
    return tuple(problems)


def _handover_problems(view: View, state: BlueGreen) -> list[str]:
    """Run the checks of both hand-overs."""
    return [
        *fleets.not_handed_over(state),
        *fleets.published_by_others(view.board, state),
        *fleets.handovers_unlike_scores(view.board, state, range(view.partitions)),
    ]


def summarise(run: RunFacts) -> Summary:
    """Return the facts of a run."""
    view, problems = run.view, problems_of(run)
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
        commands=tuple(map(_command, view.commands.records)),
        shadow=tuple(_shadow(view, compared) for _, compared in sorted(view.comparisons.by_revision.items())),
        chaos=None if view.outage is None else _chaos(view, view.outage),
        canary=None if view.canary is None else _canary(view.canary),
        revisions=tuple(_revision(key, board.digests.get(key), tally) for key, tally in sorted(board.tallies.items())),
        blue_green=None if view.blue_green is None else summary_of(board, view.blue_green),
        first_offsets={
            partition: {key.revision: offset for key, offset in firsts.items() if key.term == FIRST_TERM}
            for partition, firsts in sorted(board.first_offsets.items())
        },
        seconds=round(run.seconds, 1),
        audit=run.audit.facts.get("offsets", {}),
        evidence_equal=None if run.replay is None else run.replay.facts.get("equal"),
    )


def longest(delays: list[Delay]) -> int | None:
    """Return the longest time from a record's timestamp to its decision; None without delays."""
    return max((delay.decision for delay in delays), default=None)


def _took(view: View, kind: CommandKind) -> int | None:
    record = view.commands.last(kind)
    return None if record is None else record.took_ms


def _command(record: CommandRecord) -> CommandSummary:
    return CommandSummary(
        kind="" if record.kind is None else record.kind.value,
        model=record.model,
        verdict=None if record.answer is None else record.answer.kind.value,
        revision=record.revision,
        took_ms=record.took_ms,
        ready_ms={worker: at - record.sent_ms for worker, at in record.ready.items()},
        cutover_ms=record.cut_over_ms - record.sent_ms if record.cutovers else None,
    )


def _shadow(view: View, compared: RevisionComparison) -> ShadowSummary:
    return ShadowSummary(
        revision=compared.revision,
        live=compared.live,
        challenger=compared.challenger,
        compared=compared.tally.compared,
        coverage=view.coverage(compared),
        agreement=compared.agreement,
        swapped=compared.tally.changed,
        mean_score_shift=compared.shift.mean,
        frauds_only_challenger=compared.only_challenger(fraud=True),
        frauds_only_live=compared.only_live(fraud=True),
        false_alarms_only_challenger=compared.only_challenger(fraud=False),
        false_alarms_only_live=compared.only_live(fraud=False),
    )


def _chaos(view: View, outage: Outage) -> ChaosSummary:
    delayed = waited(view.board, outage)
    return ChaosSummary(
        in_flight=outage.in_flight,
        uncommitted=outage.uncommitted,
        gap_ms=outage.gap_ms,
        waited=len(delayed),
        longest_wait_ms=longest(delayed),
        most_waiting=outage.most_waiting,
        caught_up_ms=None if outage.caught_up_ms is None else outage.caught_up_ms - outage.killed_ms,
    )


def _canary(canary: CanaryFacts) -> CanarySummary:
    answer = None if canary.end is None else canary.end.answer
    return CanarySummary(
        model=canary.model,
        share_bp=canary.share_bp,
        decided=canary.decided,
        declined=canary.declined,
        first_declines=canary.first_declines,
        evidence=canary.evidence,
        bound=canary.bound,
        breached=breached_kinds(None if answer is None else answer.evidence),
        to_breach_ms=None if canary.breached_ms is None else canary.breached_ms - canary.started_ms,
        after_breach_ms=canary.after_breach_ms,
    )


def _revision(key: TermRevision, digest: str | None, tally: TruthTally) -> RevisionSummary:
    return RevisionSummary(
        term=key.term,
        revision=key.revision,
        model=digest or "",
        decided=tally.decided,
        review=tally.reviewed,
        decline=tally.declined,
        precision=tally.precision,
        recall=tally.recall,
    )
