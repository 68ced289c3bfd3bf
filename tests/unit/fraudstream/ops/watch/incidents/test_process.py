"""The teller's turn: what was fetched is counted once, whatever fails before and after."""

from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from fraudstream.ops.folds.topics import FetchedPart
from fraudstream.ops.watch.incidents.process import IncidentTeller
from fraudstream.ops.watch.incidents.told import Told, read_incident
from fraudstream_client.incidents import Incident
from support.fetched import fetched_part
from support.incident_world import SETTINGS, Past, PastReader, begin_at, troubled_past


class OnePart:
    """Topics that are fetched whole at once, and then have nothing new."""

    def __init__(self, past: Past) -> None:
        self._past = past
        self.fetches = 0
        self.topic_ids: dict[str, str] = {}

    async def fetch(self) -> FetchedPart:
        self.fetches += 1
        positions = {tp: len(records) for tp, records in self._past.records.items()}
        records = self._past.records if self.fetches == 1 else {}
        return fetched_part(records, positions, dict.fromkeys(positions, self._past.end_ms))


class Topic:
    """`incidents`, as the teller writes it and reads it back; a write may fail, before it or after it."""

    def __init__(self, faults: list[str]) -> None:
        self.written: list[Incident] = []
        self.told = Told(SETTINGS.deployment)
        self.faults = faults

    async def read_to_end(self) -> None:
        for one in self.written:
            self.told.add(one)

    async def send_and_wait(self, _topic: str, value: bytes, key: bytes, headers: list[tuple[str, bytes]]) -> None:
        assert (key, headers) == (b"bank", [])
        fault = self.faults.pop() if self.faults else ""
        if fault == "before":
            raise KafkaConnectionError
        self.written.append(decoded(value))
        if fault == "after":
            raise KafkaConnectionError


def decoded(value: bytes) -> Incident:
    found = read_incident(value)
    assert found is not None
    return found


class Connected:
    """Connections to one topic of incidents."""

    def __init__(self, topic: Topic) -> None:
        self.told = self.producer = topic
        self.events = self.waiting = None


def teller_of(past: Past, monkeypatch: pytest.MonkeyPatch, faults: list[str]) -> tuple[IncidentTeller, OnePart]:
    """Return a teller that reads a past; the event log fails once for each fault."""
    teller, topics = IncidentTeller(SETTINGS, None), OnePart(past)
    reader = PastReader(past, begin_at()).reader
    reader.topics = topics  # type: ignore[assignment]

    async def commands(*_: Any) -> None:
        if faults:
            raise KafkaConnectionError(faults.pop())

    async def nothing(*_: Any) -> None:
        pass

    monkeypatch.setattr(teller, "_reader", reader)
    monkeypatch.setattr(teller, "_read_commands", commands)
    monkeypatch.setattr(teller, "_look", nothing)
    monkeypatch.setattr(teller, "_may_advance", lambda _reader: True)
    monkeypatch.setattr(teller, "_rest", nothing)
    return teller, topics


async def until_done(teller: IncidentTeller, connected: Connected) -> int:
    """Take turns until one succeeds and leaves nothing to write; return how many failed."""
    failed = 0
    while True:
        try:
            await teller.turn(connected)  # type: ignore[arg-type]
        except KafkaConnectionError:
            failed += 1
        else:
            return failed


async def test_what_was_fetched_before_the_event_log_failed_is_counted_nevertheless(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    past = troubled_past(3)
    teller, topics = teller_of(past, monkeypatch, ["away"] * 3)
    topic = Topic([])
    assert await until_done(teller, Connected(topic)) == 3
    assert topics.fetches == 1
    assert topic.written == PastReader(past, begin_at()).read_all()
    assert teller._reader is not None
    assert teller._reader.fold.state.partitions[0].position == len(past.records[TopicPartition("scores", 0)])


@pytest.mark.parametrize("faults", [["before"] * 2, ["after", "before", "", "after", "before"]])
async def test_what_could_not_be_written_is_written_later_and_once(
    faults: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    past = troubled_past(3)
    teller, _ = teller_of(past, monkeypatch, [])
    topic = Topic(list(faults))
    assert await until_done(teller, Connected(topic)) == len([one for one in faults if one])
    assert topic.written == PastReader(past, begin_at()).read_all()


async def test_the_event_log_is_not_read_where_nothing_came(monkeypatch: pytest.MonkeyPatch) -> None:
    teller, topics = teller_of(troubled_past(3), monkeypatch, faults := list[str]())
    connected = Connected(Topic([]))
    await until_done(teller, connected)
    faults.append("away")
    await teller.turn(connected)  # type: ignore[arg-type]
    assert (topics.fetches, faults) == (2, ["away"])


async def test_the_gauge_shows_what_kafka_refuses_until_it_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    teller, _ = teller_of(troubled_past(3), monkeypatch, [])
    unwritten = teller.gauges.gauges()["fraudstream.incidents.unwritten"]
    connected = Connected(Topic(["before"]))
    with pytest.raises(KafkaConnectionError):
        await teller.turn(connected)  # type: ignore[arg-type]
    assert unwritten()[()] > 0
    assert await until_done(teller, connected) == 0
    assert unwritten()[()] == 0


async def test_a_second_guard_writes_nothing_that_the_first_one_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    past, topic = troubled_past(3), Topic([])
    for _ in range(2):
        teller, _ = teller_of(past, monkeypatch, [])
        await until_done(teller, Connected(topic))
    assert topic.written == PastReader(past, begin_at()).read_all()
