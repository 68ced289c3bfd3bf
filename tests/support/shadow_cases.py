"""Shared by tests of the shadow: decisions, accepted commands, and a publisher that keeps its events."""

from typing import Any

import numpy as np
from aiokafka.errors import KafkaError

from features.history.store import Entity, Fate, Histories, Observed
from fraudstream_client.outputs import DecidedBy, Decision
from models.commands import CommandKind, Event
from models.times import format_time
from stream.control.model_cache import ServingModels
from stream.engine.publisher import Publisher
from stream.scoring.decode import decode
from stream.scoring.encode import Judgement, Scored, ScoreFrame, encode
from stream.scoring.tracing import NoTracing
from stream.settings import Settings
from support.control_events import event
from support.stream_records import LATEST_MS, Told, text

DIGEST, LIVE = "a" * 64, "d" * 64


def accepted(revision: int, kind: str, model: Any, at_ms: int, until_ms: Any = None) -> Event:
    """Make the `accepted` event of a command, with the end of its watch if it has one."""
    of_command = {"command_id": f"c-{revision}", "command": CommandKind(kind), "model": model}
    until = None if until_ms is None else format_time(until_ms)
    return event("accepted", revision, f"e-{revision}", at=format_time(at_ms), watch_until=until, **of_command)


def scored(count: int, first: int = 0, score: float | None = 0.25) -> Scored:
    """Make the decisions of `count` transactions, alternately of two partitions."""
    records = [Told(text(transaction_id=f"t-{at}"), offset=at, partition=at % 2) for at in range(first, first + count)]
    decoded = decode(records, 0)
    nothing = Histories(np.zeros((count, 9), np.int64), np.ones(count, np.int64), np.arange(count))
    histories = {Entity.CARD: nothing, Entity.MERCHANT: nothing}
    observed = Observed([Fate.DECIDE] * count, histories, 1, incomplete=False)
    judgements = [Judgement(score, None, Decision.APPROVE, DecidedBy.MODEL, None)] * count
    frame = ScoreFrame(Settings(), ("x", "y"), "f", "0", 7, {0: 1, 1: 1}, LATEST_MS, NoTracing().headers)
    matrix = np.arange(2.0 * count).reshape(count, 2)
    return encode(frame, decoded, observed, (np.arange(count), {"f": matrix}, judgements))


def serving(challenger: str | None) -> ServingModels:
    return ServingModels(7, None, None, challenger)  # type: ignore[arg-type] - only the challenger is looked at


class Log(Publisher):
    """A publisher that keeps its events, and raises while `away` is set."""

    def __init__(self) -> None:
        super().__init__(Settings())
        self.events: list[Event] = []
        self.away = False

    async def publish_event(self, event: Event, *_: Any) -> int:
        if self.away:
            raise KafkaError("away")
        self.events.append(event)
        return len(self.events)
