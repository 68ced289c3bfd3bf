"""Scores as a worker writes them, and demo runs that have read them, for tests of the demo."""

import io
from dataclasses import replace
from typing import Any

from rich.console import Console

from fraudstream.demo.commands import CommandLog
from fraudstream.demo.comparisons import RevisionComparisons
from fraudstream.demo.scoreboard import FIRST_TERM, GroundTruth, Place, Scoreboard, TermRevision
from fraudstream.demo.script import script
from fraudstream.demo.shell import CommandRun
from fraudstream.demo.summary import RunFacts
from fraudstream.demo.view import View
from fraudstream.demo.world.rows import Pattern
from fraudstream_client.outputs import DecidedBy, Decision, ModelName, Positions, Score, Source
from models.commands import Command, CommandKind, Event, EventKind
from models.problems import Problem
from models.times import format_time
from shadow.comparison import Comparison, Side
from shadow.comparison import Source as ComparisonSource

OLD, NEW = "a" * 64, "b" * 64
MODELS = {OLD: "plain", NEW: "better"}
CHALLENGED, PROMOTED, BACK = 2, 3, 4
"""The revisions of a run after the first promotion, which is revision 1."""
BEGAN_MS = 900


def in_first_term(revision: int) -> TermRevision:
    """Return a revision of the deployment that publishes first."""
    return TermRevision(FIRST_TERM, revision)


def score(name: str, place: Place, **changes: Any) -> Score:
    """Make an approval of revision 2, decided within 5 ms."""
    revision = changes.get("revision", CHALLENGED)
    return Score(
        **{
            "transaction_id": name,
            "card_id": "card-1",
            "merchant_id": "shop-1",
            "occurred_at": "2026-01-01T00:00:00.000Z",
            "amount_minor": 1250,
            "currency": "EUR",
            "score": 0.25,
            "band": 500,
            "decision": Decision.APPROVE,
            "decided_by": DecidedBy.MODEL,
            "model": ModelName("cards", "1", NEW if revision == PROMOTED else OLD),
            "arm": "live",
            "revision": revision,
            "fingerprint": "f",
            "code_version": "0",
            "features": None,
            "positions": Positions(1, 1, 1),
            "degraded": (),
            "dropped": (),
            "epoch": 1,
            "source": Source("transactions", place.partition, place.offset),
            "scored_at": "2026-01-01T00:00:00.005Z",
            "latency_ms": 5,
        }
        | changes
    )


def comparison(name: str, place: Place, pair: tuple[Decision, Decision], **changes: Any) -> Comparison:
    """Make a comparison of the live model's and the challenger's decision, under revision 2."""
    revision = changes.get("revision", CHALLENGED)
    live, challenger = (NEW, OLD) if revision == PROMOTED else (OLD, NEW)
    return Comparison(
        **{
            "transaction_id": name,
            "card_id": "card-1",
            "occurred_at": "2026-01-01T00:00:00.000Z",
            "amount_minor": 1250,
            "currency": "EUR",
            "live": Side(live, 0.25, 500, pair[0]),
            "challenger": Side(challenger, 0.5, 550, pair[1]),
            "decision_changed": pair[0] is not pair[1],
            "revision": revision,
            "source": ComparisonSource("transactions", place.partition, place.offset),
            "compared_at": "2026-01-01T00:00:00.010Z",
        }
        | changes
    )


def sent(board: Scoreboard, name: str, place: Place, pattern: Pattern = Pattern.GENUINE, *, live: bool = True) -> Place:
    """Record a transaction that is due at 1,000 ms as acknowledged by the broker."""
    board.due(name, GroundTruth(pattern, live, 1_000))
    board.acknowledge(name, place)
    return place


def sound_board(count: int = 12, partitions: int = 2) -> Scoreboard:
    """Make a board without problems: revisions 2, 3 and 4 each decided a third."""
    board = Scoreboard()
    for number in range(count):
        place = sent(board, f"t{number}", Place(number % partitions, number // partitions))
        board.decide(score(f"t{number}", place, revision=CHALLENGED + number * 3 // count), 1_010)
    return board


def event(kind: EventKind, revision: int, **changes: Any) -> Event:
    """Make an event of 1,100 ms."""
    return Event(
        **{
            "event_id": "e",
            "deployment": "demo",
            "kind": kind,
            "revision": revision,
            "worker": "w",
            "at": format_time(1_100),
        }
        | changes
    )


def command(command_id: str, kind: CommandKind, model: str | None = None, at_ms: int = 1_000) -> Command:
    return Command(
        command_id=command_id,
        deployment="demo",
        expected_revision=0,
        kind=kind,
        model=model,
        actor="demo",
        reason="",
        issued_at=format_time(at_ms),
        expires_at=format_time(at_ms + 1_000),
    )


STORY = (
    (command("one", CommandKind.PROMOTE, OLD, 100), 1, OLD),
    (command("two", CommandKind.CHALLENGE, NEW, 200), CHALLENGED, NEW),
    (command("three", CommandKind.PROMOTE, NEW, 1_000), PROMOTED, NEW),
    (command("four", CommandKind.ROLL_BACK, None, 1_080), BACK, OLD),
)


def commands_of(board: Scoreboard) -> CommandLog:
    """Make the log of the run's commands and events, with the cutovers on the board."""
    log = CommandLog()
    for asked, revision, model in STORY:
        log.command(asked)
        entry = {"command_id": asked.command_id, "command": asked.kind, "model": model}
        if asked.kind is not CommandKind.ROLL_BACK:
            log.event(event(EventKind.READY, revision - 1, **entry))
        log.event(event(EventKind.ACCEPTED, revision, **entry))
        for partition, firsts in sorted(board.first_offsets.items()):
            if in_first_term(revision) in firsts:
                entry = {"partition": partition, "offset": firsts[in_first_term(revision)]}
                log.event(event(EventKind.CUTOVER, revision, **entry))
    return log


def comparisons_of(board: Scoreboard) -> RevisionComparisons:
    """Make a comparison for each decision of revisions 2 and 3; the models agree on all."""
    compared = RevisionComparisons(board.truths)
    for name, place in board.published.items():
        firsts = board.first_offsets.get(place.partition, {})
        revision = max((known.revision for known, first in firsts.items() if first <= place.offset), default=0)
        if revision in (CHALLENGED, PROMOTED) and name in board.decided:
            pair = (Decision.APPROVE, Decision.APPROVE)
            compared.compare([comparison(name, place, pair, revision=revision)])
    return compared


def view_of(board: Scoreboard, **changes: Any) -> View:
    """Make the last view of a run without problems."""
    return View(
        **{
            "board": board,
            "comparisons": comparisons_of(board),
            "commands": commands_of(board),
            "outage": None,
            "models": MODELS,
            "partitions": len(board.last_offsets) or 2,
            "done": len(board.truths),
            "total": max(1, len(board.truths)),
            "began_ms": BEGAN_MS,
            "now_ms": 1_500,
            "simulated_at": "2026-01-01T12:34:00.000Z",
            "labels": 3,
            "void": 0,
            "begun": tuple(script(OLD, NEW, "c" * 64).values()),
        }
        | changes
    )


def audit_of(decided: int, **changes: Any) -> CommandRun:
    """Make a run of `topics audit` that has found so many decided offsets, and none of another kind."""
    facts = {"clean": True, "offsets": {"decided": decided, "undecided": 0}, "fault_counts": {}}
    return CommandRun(("topics", "audit"), 1_000, 1_500, 0, facts | changes)


def run_of(view: View, **changes: Any) -> RunFacts:
    """Make the facts of a run whose topics say that all that was published is decided."""
    audit = audit_of(len(view.board.published))
    known = {"view": view, "unreadable": 0, "rate": 100.0, "worst_lag_ms": 1, "seconds": 1.0, "audit": audit}
    return RunFacts(**(known | changes))


def refused(log: CommandLog, command_id: str, *problems: Problem) -> CommandLog:
    """Return the log with another verdict for one command."""
    again = CommandLog()
    for asked, _, _ in STORY:
        again.command(asked)
    for entry in log.events:
        if entry.command_id == command_id and entry.kind is EventKind.ACCEPTED:
            again.event(event(EventKind.REFUSED, 0, command_id=command_id, command=entry.command, problems=problems))
        else:
            again.event(entry)
    return again


def without(view: View, command_id: str) -> View:
    """Return the view of a run in which one command got no verdict."""
    again = CommandLog()
    for asked, _, _ in STORY:
        again.command(asked)
    for entry in view.commands.events:
        if entry.command_id != command_id:
            again.event(entry)
    return replace(view, commands=again)


def drawn(what: object, width: int = 110) -> str:
    """Return what a terminal of so many columns shows."""
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(what)
    stream = console.file
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()
