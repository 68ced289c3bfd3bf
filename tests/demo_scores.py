"""Scores as a worker would write them, and boards that have seen them, for tests of the demo."""

from typing import Any

from models.commands import Event, EventKind
from models.policy import Decision
from models.problems import Problem
from stream.contract.outputs import DecidedBy, ModelName, Positions, Score, Source
from stream.demo.scoreboard import Place, Scoreboard, Truth
from stream.demo.screen import Promotion, View
from stream.demo.summary import Run
from stream.simulation.rows import Pattern

OLD, NEW = "a" * 64, "b" * 64


def score(name: str, place: Place, **changes: Any) -> Score:
    """Make an approval of revision 1, decided within 5 ms."""
    revision = changes.get("revision", 1)
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
            "model": ModelName("cards", "1", OLD if revision == 1 else NEW),
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


def sent(board: Scoreboard, name: str, place: Place, pattern: Pattern = Pattern.GENUINE, *, live: bool = True) -> Place:
    """Let a transaction go out at 1,000 ms and reach the broker."""
    board.due(name, Truth(pattern, live, 1_000))
    board.acknowledge(name, place)
    return place


def sound_board(count: int = 8, partitions: int = 2) -> Scoreboard:
    """Make a board on which all went well: the second half was decided by revision 2."""
    board = Scoreboard()
    for number in range(count):
        place = sent(board, f"t{number}", Place(number % partitions, number // partitions))
        board.decide(score(f"t{number}", place, revision=1 + (number >= count // 2)), 1_010)
    return board


def event(kind: EventKind, revision: int = 2, place: Place | None = None, problems: tuple[Problem, ...] = ()) -> Event:
    return Event(
        event_id="e",
        deployment="demo",
        kind=kind,
        revision=revision,
        worker="w",
        at="2026-01-01T00:00:00.000Z",
        partition=None if place is None else place.partition,
        offset=None if place is None else place.offset,
        problems=problems,
    )


CUTOVERS = [event(EventKind.CUTOVER, place=place) for place in (Place(0, 2), Place(1, 2))]


def run_of(board: Scoreboard, promotion: Promotion | None, void: int = 0) -> Run:
    view = View(
        board=board,
        models={},
        partitions=2,
        done=8,
        total=8,
        now_ms=2_000,
        simulated_at="2026-01-01T00:00:00.000Z",
        labels=0,
        void=void,
        promotion=promotion,
    )
    return Run(view=view, events=CUTOVERS, unreadable=0, rate=100.0, worst_lag_ms=1, seconds=1.0)


PROMOTED = Promotion("b" * 64, 1_000, event(EventKind.ACCEPTED), 1_100)
