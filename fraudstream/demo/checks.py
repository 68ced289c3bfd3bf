"""What must hold when the demo ends: each check returns its problems, none if all is well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fraudstream.demo.canary import CanaryFacts
from fraudstream.demo.commands import CommandLog
from fraudstream.demo.comparisons import RevisionComparisons
from fraudstream.demo.scoreboard import FIRST_TERM, Outage, Place, Scoreboard, TermRevision, waited
from fraudstream.demo.shell import CommandRun, typed
from guards.report import breached_kinds
from models.commands import CommandKind, Event, EventKind

SHOWN = 3
UNCOUNTED = "cannot be counted again"
"""What `guard replay` says where records are missing; it compares nothing then."""
CHANGES = (
    CommandKind.CHALLENGE,
    CommandKind.PROMOTE,
    CommandKind.ROLL_BACK,
    CommandKind.ROLLOUT,
    CommandKind.END_CANARY,
)
"""The commands whose last one has to decide in every partition."""


def never_published(board: Scoreboard) -> tuple[str, ...]:
    """Name transactions that were sent and that the broker did not acknowledge."""
    return _named("never acknowledged by the broker", [name for name in board.truths if name not in board.published])


def late_or_lost(board: Scoreboard) -> tuple[str, ...]:
    """Name published transactions without a valid score."""
    late = [f"{name} at {_at(place)}" for name, place in board.published.items() if name not in board.decided]
    return _named("without a decision when the waiting ended", late)


def decided_unpublished(board: Scoreboard) -> tuple[str, ...]:
    """Name scores of transactions that this run did not publish."""
    return _named("decided and never published", [name for name in board.decided if name not in board.published])


def audited(audit: CommandRun, published: int) -> tuple[str, ...]:
    """Compare what `topics audit` counted with what was published: each offset is decided, and no transaction twice."""
    offsets = audit.facts.get("offsets")
    if offsets is None:
        return (f"`{typed(audit.command)}` counted nothing: {audit.problem}",)
    others = {kind: count for kind, count in offsets.items() if count and kind != "decided"}
    faults = {kind: count for kind, count in audit.facts["fault_counts"].items() if count}
    problems = [f"{count} offsets {kind.replace('_', ' ')}" for kind, count in (others | faults).items()]
    if offsets["decided"] != published:
        problems.append(f"{offsets['decided']:,} offsets decided, of {published:,} published")
    return tuple(f"`{typed(audit.command)}`: {problem}" for problem in problems)


def evidence_unlike_topics(replay: CommandRun | None) -> tuple[str, ...]:
    """Report what `guard replay` finds: the evidence with which a guard ended the bad model, counted again.

    That it cannot be counted is no fault of the run: the embedded broker states too early an end of a partition whose
    last batch the guard has read (docs/decisions/0002), and labels may be too rare for another batch.
    """
    if replay is None or replay.facts.get("equal") or UNCOUNTED in replay.error:
        return ()
    why = "; ".join(replay.facts.get("differences", ())) or replay.problem
    return (f"`{typed(replay.command)}`: {why}",)


def failed(runs: Iterable[CommandRun]) -> tuple[str, ...]:
    """Name commands that were refused, or that did not end."""
    problems = []
    for run in runs:
        if run.ended_ms is None:
            problems.append(f"`{typed(run.command)}` did not end")
        elif run.problem:
            problems.append(f"`{typed(run.command)}`: {run.problem}")
    return tuple(problems)


def void_scores(void: int, unreadable: int) -> tuple[str, ...]:
    """Report void scores: only a worker that outlived its assignment or its term writes them; `void` had no right to.

    Those that a fleet writes until it notices that another one publishes are not among them.
    """
    found = {"void": void, "unreadable": unreadable}
    return tuple(f"{count} scores were {what}" for what, count in found.items() if count)


def revisions_gone_back(board: Scoreboard) -> tuple[str, ...]:
    """Name records that an older revision decided than the record before them; in a new term they begin anew."""
    return _named("decided by a revision older than the one before", list(map(_at, board.went_back)))


def missed_cutovers(board: Scoreboard, partitions: Iterable[int], revision: int) -> tuple[str, ...]:
    """Name partitions in which a revision of the first term decided nothing."""
    wanted = TermRevision(FIRST_TERM, revision)
    missed = [partition for partition in partitions if wanted not in board.first_offsets.get(partition, {})]
    return tuple(f"partition {partition}: revision {revision} decided nothing there" for partition in missed)


def cutovers_unlike_announced(board: Scoreboard, events: Sequence[Event], revision: int) -> tuple[str, ...]:
    """Compare the workers' `cutover` events with the first offsets of the first term that the scores themselves show.

    `events` are those of the deployment that published in it. Later ones tell of later terms, and of silent decisions.
    """
    announced: dict[int | None, int | None] = {}
    for event in events:
        if event.kind is EventKind.CUTOVER and event.revision == revision:
            announced.setdefault(event.partition, event.offset)
    wanted = TermRevision(FIRST_TERM, revision)
    return tuple(
        f"partition {partition}: revision {revision} began at offset {first[wanted]}, announced was {offset}"
        for partition, first in sorted(board.first_offsets.items())
        if wanted in first and (offset := announced.get(partition)) != first[wanted]
    )


def shadow_unseen(comparisons: RevisionComparisons, commands: CommandLog) -> tuple[str, ...]:
    """Name revisions that had a challenger and no comparison with its decisions."""
    shadowed = [commands.last(kind) for kind in (CommandKind.CHALLENGE, CommandKind.PROMOTE)]
    revisions = [record.revision for record in shadowed if record is not None and record.revision is not None]
    return tuple(
        f"revision {revision}: no decision was compared with the challenger's"
        for revision in revisions
        if revision not in comparisons.by_revision
    )


def canary_not_ended(canary: CanaryFacts | None) -> tuple[str, ...]:
    """Report a bad canary that did not begin, that no guard ended on evidence, or whose cards had another arm."""
    if canary is None:
        return ("the canary of the bad model did not begin",)
    problems = []
    if canary.end is None or canary.end.answer is None:
        problems.append("no guard ended the canary of the bad model")
    elif not breached_kinds(canary.end.answer.evidence):
        problems.append("the canary of the bad model was ended without evidence of a breach")
    if not canary.decided:
        problems.append("the canary of the bad model decided nothing")
    return (*problems, *_named("decided by the arm of another card", canary.wrong_arms))


def not_recovered(board: Scoreboard, outage: Outage, partitions: int) -> tuple[str, ...]:
    """Name what did not follow the kill: new owners of all partitions, payments that waited, the backlog's end."""
    if outage.back_ms is None:
        return ("after the kill, no new worker decided anything",)
    problems = []
    taken = {takeover.partition for takeover in board.takeovers if takeover.seen_ms >= outage.killed_ms}
    if missed := sorted(set(range(partitions)) - taken):
        problems.append(f"after the kill, no worker took over partitions {', '.join(map(str, missed))}")
    if outage.caught_up_ms is None:
        problems.append("after the kill, the backlog was never decided")
    least_ms = (outage.back_ms - outage.killed_ms) / 2
    if not any(delay.round_trip >= least_ms for delay in waited(board, outage)):
        problems.append("the kill showed nothing: no payment had to wait for the new worker")
    return tuple(problems)


def dead_letters(board: Scoreboard) -> tuple[str, ...]:
    """Report dead letters: everything that was published is well-formed."""
    return tuple(f"{count} dead letters with {code}" for code, count in sorted(board.dead.items()))


def _at(place: Place) -> str:
    return f"{place.partition}:{place.offset}"


def _named(what: str, names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return ()
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (f"{len(names)} transactions {what}: {', '.join(names[:SHOWN])}{more}",)
