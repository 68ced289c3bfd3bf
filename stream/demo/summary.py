"""What the demo comes to: the facts of a run as one record, for `--json`, and as tables for a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from rich.console import Group, RenderableType
from rich.rule import Rule

from models.commands import Event, EventKind
from stream.demo import checks
from stream.demo.scoreboard import Percentiles, Tally, percentiles
from stream.demo.screen import View, models_table, partitions_table, patterns_table, promotion_text


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """What one revision did with the live transactions."""

    revision: int
    model: str
    decided: int
    review: int
    decline: int
    precision: float | None
    recall: float | None


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
    """From the record's time to the decision."""
    round_trip: Percentiles | None
    """From when it was due to its score, read back."""
    worst_lag_ms: int
    """By how much the demo itself sent late, at most."""
    promotion_ms: int | None
    revisions: tuple[Revision, ...]
    first_offsets: dict[int, dict[int, int]]
    """By partition and revision."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is measured beside the scoreboard."""

    view: View
    events: Sequence[Event]
    unreadable: int
    rate: float
    worst_lag_ms: int
    seconds: float


def found(run: Run) -> tuple[str, ...]:
    """Make all checks."""
    view = run.view
    board, promotion = view.board, view.promotion
    problems = [
        *checks.never_published(board),
        *checks.late_or_lost(board),
        *checks.decided_twice(board),
        *checks.decided_unasked(board),
        *checks.offset_gaps(board),
        *checks.void_scores(view.void, run.unreadable),
        *checks.revisions_gone_back(board),
        *checks.dead_letters(board),
    ]
    if promotion is None or promotion.answer is None:
        return (*problems, "the second model's promotion got no verdict")
    if promotion.answer.kind is not EventKind.ACCEPTED:
        why = "; ".join(problem.detail for problem in promotion.answer.problems)
        return (*problems, f"the second model's promotion was refused: {why}")
    revision = promotion.answer.revision
    problems += checks.missed_cutovers(board, range(view.partitions), revision)
    problems += checks.cutovers_unlike_announced(board, run.events, revision)
    return tuple(problems)


def summarise(run: Run) -> Summary:
    """Fold a run into its facts."""
    view, problems = run.view, found(run)
    board, promotion = view.board, view.promotion
    answered = promotion is not None and promotion.answer is not None
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
        latency=percentiles([delay.decision for delay in board.delays]),
        round_trip=percentiles([delay.round_trip for delay in board.delays]),
        worst_lag_ms=run.worst_lag_ms,
        promotion_ms=promotion.answered_ms - promotion.sent_ms if promotion is not None and answered else None,
        revisions=tuple(
            _revision(number, board.digests.get(number), tally) for number, tally in sorted(board.tallies.items())
        ),
        first_offsets={partition: dict(firsts) for partition, firsts in sorted(board.first_offsets.items())},
        seconds=round(run.seconds, 1),
    )


def report(run: Run, summary: Summary) -> RenderableType:
    """Draw the end."""
    board, view = run.view.board, run.view
    verdict = (
        "[bold green]all checks held[/]: every transaction decided exactly once, no gap, no void score, and no "
        "partition went back to an older revision"
        if summary.ok
        else "[bold red]not as it must be[/]:\n" + "\n".join(f"  {problem}" for problem in summary.problems)
    )
    return Group(
        Rule("summary"),
        models_table(board, view.models),
        "",
        patterns_table(board),
        "",
        promotion_text(view),
        partitions_table(board, view.partitions),
        "",
        f"published {summary.published:,} transactions ({summary.warm:,} to fill the histories, then "
        f"{len(board.delays):,} at {summary.rate:.0f}/s), decided {summary.decided:,}; void scores {summary.void}, "
        f"labels applied {summary.outcomes:,}",
        f"latency of live ones: decided in {_both(summary.latency)}; score read back in {_both(summary.round_trip)} "
        f"(counted from when each was due; this process itself sent at most {summary.worst_lag_ms} ms late)",
        f"{summary.seconds:.0f} s in all",
        verdict,
    )


def _revision(number: int, digest: str | None, tally: Tally) -> Revision:
    return Revision(
        revision=number,
        model=digest or "",
        decided=tally.decided,
        review=tally.reviewed,
        decline=tally.declined,
        precision=tally.precision,
        recall=tally.recall,
    )


def _both(delay: Percentiles | None) -> str:
    return "-" if delay is None else f"p50 {delay.p50:.0f} ms, p99 {delay.p99:.0f} ms"
