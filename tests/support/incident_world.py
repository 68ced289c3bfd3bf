"""A made-up past of a deployment: scores, dead letters and commands, some of them about incidents; and its reader.

Timestamps within a partition go forth and back by up to a second, as producers' do.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
from aiokafka import TopicPartition

from fraudstream.ops.watch.incidents.commands import AcceptedCommands, command_log
from fraudstream.ops.watch.incidents.fold import FoldState
from fraudstream.ops.watch.incidents.notices import incident_of
from fraudstream.ops.watch.incidents.reader import IncidentReader
from fraudstream_client.incidents import Incident
from models.commands import CommandKind, Event, EventKind
from models.times import format_time
from stream.contract.codes import DeadLetterCode
from stream.engine.unpacking import FetchedRecord
from stream.positions.dead_letters import DeadLetter, LetterOrigin
from stream.settings import Settings
from support.fetched import fetched_part

START_MS = 1_760_000_400_000
PARTITIONS = 3
SCORES, LETTERS = "scores", "dead-letters"
SETTINGS = Settings(deployment="bank", worker_id="guard-1", deadline_ms=100)
LIVE, NEW, OTHER = "a" * 64, "b" * 64, "c" * 64
CURRENCIES = ("EUR", "JPY")


class Past(NamedTuple):
    """The records of the topics, each partition in order, the events, and when all of it is over."""

    records: Mapping[TopicPartition, Sequence[FetchedRecord]]
    events: Sequence[Event]
    end_ms: int

    @property
    def commands(self) -> AcceptedCommands:
        return command_log(SETTINGS.deployment, self.events, SETTINGS.deployment)


def score(number: int, at_ms: int, partition: int = 0, **changes: Any) -> dict[str, Any]:
    """Return a score, as a worker writes it, of the payment at this offset."""
    found: dict[str, Any] = {
        "schema": "score/1",
        "transaction_id": f"t-{partition}-{number}",
        "card_id": f"card-{number % 50}",
        "merchant_id": "m",
        "occurred_at": format_time(at_ms),
        "amount_minor": 100 + number % 900,
        "currency": CURRENCIES[number % 2],
        "score": 0.25,
        "band": 500,
        "decision": "approve",
        "decided_by": "model",
        "model": {"name": "card", "version": "1", "digest": LIVE},
        "arm": "live",
        "deployment": SETTINGS.deployment,
        "revision": 1,
        "fingerprint": "f",
        "code_version": "0",
        "features": None,
        "positions": {"history_epoch": 1, "card": 1, "merchant": None},
        "degraded": [],
        "dropped": [],
        "epoch": 1,
        "source": {"topic": "transactions", "partition": partition, "offset": number},
        "scored_at": format_time(at_ms),
        "latency_ms": 5,
    }
    return found | changes


def record(topic: str, partition: int, place: tuple[int, int], value: bytes | None) -> FetchedRecord:
    """Return a record at an offset and a time."""
    offset, at_ms = place
    return FetchedRecord(topic, partition, offset, at_ms, 0, b"k", value, ())


def scored(scores: Iterable[Mapping[str, Any]], at_ms: Iterable[int], partition: int = 0) -> list[FetchedRecord]:
    """Return the records of a partition of scores."""
    return [
        record(SCORES, partition, (at, time), msgspec.json.encode(one))
        for at, (one, time) in enumerate(zip(scores, at_ms, strict=True))
    ]


def letter(
    number: int,
    at_ms: int,
    partition: int = 0,
    code: DeadLetterCode = DeadLetterCode.INVALID_FIELD,
    **changes: Any,
) -> FetchedRecord:
    """Return a dead letter of the transaction at an offset; its offset on the topic is to be set."""
    fields = {"amount_minor": 100 + number % 900, "currency": "EUR", "transaction_id": f"t-{number}"} | changes
    source = record("transactions", partition, (number, at_ms - 10), json.dumps(fields).encode())
    made = DeadLetter(source, code, "wrong").to_record(LetterOrigin(SETTINGS.deployment, values="redacted"))
    return msgspec.structs.replace(record(LETTERS, 0, (0, at_ms), made.value), headers=made.headers)


def on_letters(letters: Iterable[FetchedRecord]) -> list[FetchedRecord]:
    """Return dead letters in the order in which they were written, with their offsets."""
    ordered = sorted(letters, key=lambda one: one.timestamp)
    return [msgspec.structs.replace(one, offset=at) for at, one in enumerate(ordered)]


def accepted(revision: int, command: CommandKind, at_ms: int, **fields: Any) -> Event:
    """Return the acceptance of a command."""
    return Event(
        event_id=f"e-{revision}-{command}-{at_ms}",
        deployment=SETTINGS.deployment,
        kind=EventKind.ACCEPTED,
        revision=revision,
        worker="judge",
        at=format_time(at_ms),
        command_id=f"c-{revision}-{at_ms}",
        command=command,
        actor="anna",
        reason="a reason",
        **fields,
    )


BREACHED = {"guards": {"declined": {"breached": True, "action": "roll_back"}}}


class PastReader:
    """Reads a past part by part, as a guard does, and collects what it tells."""

    def __init__(self, past: Past, state: FoldState) -> None:
        self.past = past
        self.reader = IncidentReader(SETTINGS, state, 0, {})
        self.reader.fold.commands = past.commands
        self.told: list[Incident] = []
        self.at = dict.fromkeys(past.records, 0)
        for tp in past.records:
            position = state.letters_position if tp.topic == LETTERS else None
            if tp.topic == SCORES and tp.partition in state.partitions:
                position = state.partitions[tp.partition].position
            self.at[tp] = position or 0

    @property
    def state(self) -> FoldState:
        return self.reader.fold.state

    @property
    def is_done(self) -> bool:
        return all(at == len(self.past.records[tp]) for tp, at in self.at.items())

    def read(self, sizes: Mapping[TopicPartition, int], now_ms: int | None = None, *, is_all: bool = False) -> None:
        """Read so many records of each partition; of those that are read to their end, all is known until now.

        With `is_all` there are no others yet.
        """
        records = {tp: self.past.records[tp][at : at + sizes.get(tp, 0)] for tp, at in self.at.items()}
        self.at = {tp: at + len(records[tp]) for tp, at in self.at.items()}
        until_ms = now_ms or self.past.end_ms
        until = {tp: until_ms if is_all else self._until(tp, until_ms) for tp in self.at}
        known = {tp: time for tp, time in until.items() if time is not None}
        self.reader.count(fetched_part(records, dict(self.at), known))

    def _until(self, tp: TopicPartition, now_ms: int) -> int | None:
        records, at = self.past.records[tp], self.at[tp]
        if at == len(records):
            return now_ms
        return max((one.timestamp for one in records[:at]), default=None)

    def tell(self) -> None:
        notices = self.reader.fold.advance(self.reader.complete_ms)
        self.told += [incident_of(one, SETTINGS, self.reader.fold.commands) for one in notices]

    def read_all(self) -> list[Incident]:
        """Read the rest at once, and return everything that was told."""
        self.read({tp: len(records) for tp, records in self.past.records.items()})
        self.tell()
        return self.told

    def restarted(self) -> "PastReader":
        """Return a reader that goes on from the state as it is stored."""
        stored = msgspec.json.decode(msgspec.json.encode(self.state), type=FoldState)
        again = PastReader(self.past, stored)
        again.told = self.told
        return again


def begin_at(at_ms: int = START_MS) -> FoldState:
    return FoldState(at_ms // 1000, at_ms // 1000)


# --- a past with an incident of nearly every kind


@cache
def troubled_past(seed: int, minutes: int = 40) -> Past:
    """Return a past with incidents of every rule, at times that the seed says; it is made once."""
    draw = np.random.default_rng(seed)
    times = sorted(int(one) for one in draw.integers(60, minutes * 60 - 600, 8))
    scores, letters = list[FetchedRecord](), list[FetchedRecord]()
    for partition in range(PARTITIONS):
        made, refused = _partition(partition, draw, times, minutes)
        scores += made
        letters += refused
    by_partition = {
        TopicPartition(SCORES, number): [one for one in scores if one.partition == number]
        for number in range(PARTITIONS)
    }
    events = _events(times)
    end_ms = START_MS + (minutes + 30) * 60_000
    return Past({**by_partition, TopicPartition(LETTERS, 0): on_letters(letters)}, events, end_ms)


def _partition(
    partition: int, draw: np.random.Generator, times: Sequence[int], minutes: int
) -> tuple[list[FetchedRecord], list[FetchedRecord]]:
    scores, letters, offset, at_ms = list[FetchedRecord](), list[FetchedRecord](), 0, 0
    second = float(draw.exponential(6))
    while second < minutes * 60:
        late_ms, fields = _fields(second, draw, times, partition)
        paid_ms = START_MS + int(second * 1000) + int(draw.integers(0, 1000))
        at_ms = max(at_ms, paid_ms + late_ms)  # scores and letters come by offset
        if fields is None:
            letters.append(letter(offset, at_ms, partition))
            if draw.random() < 0.2:  # written again after a crash
                letters.append(msgspec.structs.replace(letters[-1], timestamp=at_ms + 5))
        else:
            value = msgspec.json.encode(score(offset, at_ms, partition, **fields))
            scores.append(record(SCORES, partition, (len(scores), at_ms), value))
            if draw.random() < 0.05:
                scores.append(record(SCORES, partition, (len(scores), at_ms), value))  # void
        offset += 1
        second += float(draw.exponential(6))
    return scores, letters


def _fields(
    second: float, draw: np.random.Generator, times: Sequence[int], partition: int
) -> tuple[int, dict[str, Any] | None]:
    """Return how late a payment of that time is decided, and what its score says; None if it is refused."""
    stood_in, incomplete, capped, missed, away, burst, halted, canary = times
    drawn = float(draw.random())

    def at(begin: int, seconds: int, share: float = 1.0) -> bool:
        return begin <= second < begin + seconds and drawn < share

    late_ms = int((away + 150 - second) * 1000) if at(away, 150) else 0  # no worker decides, nor refuses
    if at(burst, 90, 0.5) or (partition == 1 and at(halted, 240)):
        return late_ms, None
    fields: dict[str, Any] = {"decision": ("approve", "review", "decline")[int(drawn * 1e6) % 3]}
    if at(stood_in, 200, 0.3):
        fields |= {"decided_by": "rules" if drawn < 0.1 else "fallback", "degraded": ["live_model_failed"]}
    if at(incomplete, 150):
        fields["degraded"] = [*fields.get("degraded", []), "history_incomplete"]
    if at(capped, 300, 0.3):
        fields |= {"overruled": {"by": "decline_cap", "from": "decline"}, "decision": "review"}
    if at(canary, 120, 0.2):
        fields |= {"model": {"name": "card", "version": "2", "digest": NEW}, "arm": "canary", "revision": 2}
    epoch = 1 + (second >= incomplete) + (second >= away)
    fields["positions"] = {"history_epoch": epoch, "card": 1, "merchant": None}
    latency_ms = late_ms or (101 + int(drawn * 5_000) if at(missed, 800, 0.5) else 5)
    return late_ms, fields | {"latency_ms": latency_ms}


def _events(times: Sequence[int]) -> list[Event]:
    canary = START_MS + times[-1] * 1000
    found = [
        accepted(1, CommandKind.PROMOTE, START_MS - 60_000, model=LIVE),
        accepted(2, CommandKind.CANARY, canary, model=NEW, share_bp=2_000, salt="salt"),
        accepted(3, CommandKind.END_CANARY, canary + 120_000, evidence=BREACHED),
        accepted(
            3,
            CommandKind.ACCEPT_LOSS,
            START_MS + times[0] * 1000,
            topic="transactions",
            partition=0,
            log=0,
            up_to=100_000,
        ),
    ]
    return sorted(found, key=lambda event: event.at)
