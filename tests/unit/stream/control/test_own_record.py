"""A worker says on `model-events` what it is before it decides, and repeats nothing on a log that is kept for ever."""

from typing import Any

import msgspec
import pytest
from aiokafka.errors import KafkaError

from models.commands import CAPABILITIES, Event, EventKind
from stream.code_version import code_version
from stream.control.announcements import OwnRecord
from stream.control.follower import Follower
from stream.deciding_settings import deciding_settings
from stream.settings import Settings
from support.control_events import event
from support.hashed_cards import check_by_the_contract, exclusion_key

ANN, BEN = Settings(worker_id="ann", group="cards"), Settings(worker_id="ben", group="cards")


class Log:
    """`model-events` in memory: what is published is read by all followers at once, as after an acknowledgement."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.followers: list[Follower] = []
        self.refusing = False

    async def publish_event(self, event: Event) -> int:
        if self.refusing:
            raise KafkaError("no broker")
        self.events.append(event)
        for follower in self.followers:
            await self.show(follower, len(self.events) - 1)
        return len(self.events) - 1

    async def show(self, follower: Follower, offset: int) -> None:
        await follower._apply([Fetched(offset, self.events[offset])], 0)

    async def start(self, settings: Settings) -> None:
        """Start a worker, which reads the log and then says what it is."""
        follower = Follower(settings)
        for offset in range(len(self.events)):
            await self.show(follower, offset)
        self.followers.append(follower)
        await OwnRecord(settings, follower, self).write()  # type: ignore[arg-type] - it has what is used of a publisher


class Fetched:
    """A record of `model-events`."""

    headers: tuple[Any, ...] = ()

    def __init__(self, offset: int, event: Event) -> None:
        self.offset, self.value = offset, msgspec.json.encode(event)


async def test_a_worker_writes_its_group_its_version_and_its_settings_with_their_lines() -> None:
    log = Log()
    await log.start(ANN)
    (written,) = log.events
    deciding = deciding_settings(ANN)
    assert (written.kind, written.command_id, written.worker) == (EventKind.READY, None, "ann")
    assert (written.group, written.code_version) == ("cards", code_version())
    assert (written.settings, written.settings_lines) == (deciding.hash, deciding.lines)


async def test_a_worker_announces_what_it_can_and_the_check_value_of_its_hash_key() -> None:
    log = Log()
    await log.start(ANN)
    with exclusion_key():
        await log.start(ANN)
        await log.start(ANN)
    assert [one.can for one in log.events] == [CAPABILITIES] * 2
    assert [one.exclude_key_check for one in log.events] == [None, check_by_the_contract()]


async def test_a_worker_of_an_earlier_version_that_is_upgraded_announces_what_it_can() -> None:
    log = Log()
    await log.start(ANN)
    log.events[0] = msgspec.structs.replace(log.events[0], can=())
    await log.start(ANN)
    assert [one.can for one in log.events] == [(), CAPABILITIES]
    assert CAPABILITIES == ("erase", "hashed_exclude")


async def test_nothing_is_repeated_neither_by_a_restart_nor_by_another_worker_with_the_same_settings() -> None:
    log = Log()
    for settings in (ANN, BEN, ANN, BEN):
        await log.start(settings)
    assert [(one.worker, bool(one.settings_lines)) for one in log.events] == [("ann", True), ("ben", False)]


async def test_other_settings_and_another_group_are_written() -> None:
    log, skewed = Log(), msgspec.structs.replace(ANN, future_skew=60.0)
    moved = msgspec.structs.replace(skewed, group="cards-2")
    for settings in (ANN, skewed, moved, ANN):
        await log.start(settings)
    shown = [(one.group, one.settings, bool(one.settings_lines)) for one in log.events]
    first, second = deciding_settings(ANN).hash, deciding_settings(skewed).hash
    assert shown == [
        ("cards", first, True),
        ("cards", second, True),
        ("cards-2", second, False),
        ("cards", first, False),
    ]


async def test_it_is_not_said_to_be_written_before_it_is_acknowledged() -> None:
    log = Log()
    log.refusing = True
    with pytest.raises(KafkaError):
        await log.start(ANN)
    assert log.events == []


async def test_after_a_restore_of_the_log_it_is_written_again() -> None:
    log = Log()
    await log.start(ANN)
    await log.publish_event(event("restored", 0, "r", command_id="r-1", records=0))
    await OwnRecord(ANN, log.followers[0], log).write()  # type: ignore[arg-type] - likewise
    assert [one.kind for one in log.events] == ["ready", "restored", "ready"]
    assert log.events[2].settings_lines == deciding_settings(ANN).lines
