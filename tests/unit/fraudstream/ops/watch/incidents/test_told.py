"""What `incidents` says counts once: two guards may write it twice, in any order of their writes, and cut off."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudstream.ops.watch.incidents import rules
from fraudstream.ops.watch.incidents.told import Told, read_incident, write_incident
from fraudstream.ops.watch.incidents.webhook import event_id
from fraudstream_client.incidents import Incident, IncidentKind
from support.examples import examples
from support.incident_world import SETTINGS, PastReader, begin_at, troubled_past


@pytest.fixture(autouse=True, scope="module")
def _short_runs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "HALTING_RUN", 15)
        yield


@cache
def found(seed: int) -> list[Incident]:
    return PastReader(troubled_past(seed), begin_at()).read_all()


def news(written: Sequence[Incident]) -> list[Incident]:
    """Return what a reader of the topic takes for news."""
    told = Told(SETTINGS.deployment)
    return [one for one in written if told.add(one)]


class SlowGuard:
    """A guard that reads the topic, and writes only what it had decided to write by then, perhaps much later."""

    def __init__(self, incidents: Sequence[Incident]) -> None:
        self._outbox = list(incidents)
        self._told = Told(SETTINGS.deployment)
        self._read = 0
        self._ready: Incident | None = None

    @property
    def is_done(self) -> bool:
        return not self._outbox

    def read(self, topic: Sequence[Incident]) -> None:
        """Read to the end, and decide what to write of the next one."""
        for one in topic[self._read :]:
            self._told.add(one)
        self._read = len(topic)
        self._ready = self._told.next_of(self._outbox[0]) if self._outbox else None
        if self._outbox and self._ready is None:
            self._outbox.pop(0)

    def write(self, topic: list[Incident], *, answered: bool) -> None:
        """Write it; without an answer it does not know that it has, and will look again."""
        if self._ready is not None:
            topic.append(self._ready)
            self._ready = None
            if answered:
                self._outbox.pop(0)


@settings(max_examples=examples(60))
@given(st.integers(0, 9), st.data())
def test_guards_that_write_at_the_same_time_and_lose_answers_tell_everything_once(
    seed: int, data: st.DataObject
) -> None:
    expected, topic = found(seed), list[Incident]()
    guards = [SlowGuard(expected) for _ in range(data.draw(st.integers(1, 3)))]
    while left := [one for one in guards if not one.is_done]:
        guard = data.draw(st.sampled_from(left))
        if data.draw(st.booleans()):
            guard.read(topic)
        else:
            guard.write(topic, answered=data.draw(st.booleans()))
            guard.read(topic)
    assert news(topic) == expected
    assert Counter(map(event_id, news(topic))).most_common(1)[0][1] == 1


@settings(max_examples=examples(40))
@given(st.integers(0, 9), st.integers(0, 5))
def test_a_guard_that_knows_less_still_tells_the_end(seed: int, behind: int) -> None:
    """One without a checkpoint counts the records that tell of an incident from the last one on."""
    told = Told(SETTINGS.deployment)
    for one in found(seed):
        if one.kind is not IncidentKind.CLOSED:
            told.add(one)
            continue
        late = msgspec.structs.replace(one, sequence=max(1, one.sequence - behind))
        written = told.next_of(late)
        assert written is not None
        assert written.sequence == one.sequence
        assert told.add(written)
        assert told.next_of(late) is None
    assert told.open_ones() == []


def test_unreadable_records_and_those_of_others_are_left_out_and_what_a_later_version_adds_is_ignored() -> None:
    one = found(0)[0]
    told = Told(SETTINGS.deployment)
    assert not told.add(msgspec.structs.replace(one, deployment="other"))
    later_version = msgspec.to_builtins(one) | {"cause": "x"}
    assert read_incident(msgspec.json.encode(one)) == read_incident(msgspec.json.encode(later_version)) == one
    for value in (None, b"", b"{}", b"\xff", b"[" * 10_000, msgspec.json.encode({"schema": "incident/2"})):
        assert read_incident(value) is None


class SentIncidents:
    """Takes the place of a producer."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, bytes, list[tuple[str, bytes]]]] = []

    async def send_and_wait(self, topic: str, value: bytes, key: bytes, headers: list[tuple[str, bytes]]) -> None:
        self.sent.append((topic, value, key, headers))


async def test_an_incident_is_written_as_an_event_where_that_is_asked_for() -> None:
    producer: Any = SentIncidents()
    incident = found(1)[0]
    for asked in (False, True):
        await write_incident(msgspec.structs.replace(SETTINGS, cloud_events=asked), producer, incident)
    without, with_event = producer.sent
    assert with_event[:3] == without[:3]
    assert without[3] == []
    assert dict(with_event[3])["ce_id"].decode() == event_id(incident)
