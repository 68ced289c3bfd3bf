"""What folds share of the end of a topic: one that is read anew takes nothing of the reading before."""

from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition

from fraudstream.ops.folds import tail
from fraudstream.ops.folds.tail import Fetched, SharedTail, fetch_from
from stream.clock import now_ms
from stream.settings import Settings
from support.stream_records import Told

FIRST, OTHER = TopicPartition("outcomes", 0), TopicPartition("outcomes", 1)


class Consumer:
    """Partitions with ten records each; it notes what was sought, and does what it is told in the middle of a fetch."""

    def __init__(self, meanwhile: list[Any], removed: set[TopicPartition]) -> None:
        self.at: dict[TopicPartition, int] = {}
        self.meanwhile, self.removed = meanwhile, removed
        self.fetcher: Any = self
        self.queues: Any = self
        self.out_of_range: dict[TopicPartition, int] = {}
        self.passed_over: list[Any] = []
        self.ends: dict[TopicPartition, tuple[int, int]] = {}
        self.asked: list[TopicPartition] = []

    async def start(self) -> None:
        """It is connected."""

    async def stop(self) -> None:
        """It is disconnected."""

    def assign(self, tps: Sequence[TopicPartition]) -> None:
        self.at = dict.fromkeys(tps, 0)

    def assignment(self) -> set[TopicPartition]:
        return set(self.at)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.at[tp] = offset

    async def end_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        self.asked += tps
        return dict.fromkeys(tps, 10)

    async def getmany(self, *_: TopicPartition, **__: int) -> dict[TopicPartition, list[Told]]:
        for one in [self.meanwhile.pop(0)] if self.meanwhile else []:
            await one()
        self.out_of_range |= {tp: at for tp, at in self.at.items() if tp in self.removed and at < 6}
        found = {
            tp: [Told(partition=tp.partition, offset=one, timestamp=one) for one in range(at, 10)]
            for tp, at in self.at.items()
            if tp not in self.out_of_range
        }
        self.at |= dict.fromkeys(found, 10)
        return {tp: some for tp, some in found.items() if some}

    async def position(self, tp: TopicPartition) -> int:
        return self.at[tp]


class Log:
    """What happens to the topic: acts in the middle of fetches, and partitions without their first records."""

    def __init__(self) -> None:
        self.meanwhile: list[Any] = []
        self.removed: set[TopicPartition] = set()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    happens = Log()
    monkeypatch.setattr(tail, "open_consumer", lambda *_, **__: Consumer(happens.meanwhile, happens.removed))
    return happens


async def offsets(shared: SharedTail, at: dict[TopicPartition, int]) -> dict[TopicPartition, list[int]]:
    """Return the offsets that a reader at these takes."""
    await shared.reached(shared, at)
    part = await shared.take(shared, at, 0)
    return {tp: [one.offset for one in some] for tp, some in part.records.items()}


async def test_what_is_fetched_of_a_topic_that_is_made_anew_meanwhile_is_left_out(log: Log) -> None:
    shared = SharedTail(Settings())

    async def made_anew() -> None:
        await shared.forget("outcomes")
        await shared.reached(shared, {FIRST: 0})

    log.meanwhile.append(made_anew)
    assert await offsets(shared, {FIRST: 7}) == {}
    assert await offsets(shared, {FIRST: 0}) == {FIRST: list(range(10))}


async def test_a_partition_that_was_removed_in_part_is_shared_again_from_behind_that(log: Log) -> None:
    shared = SharedTail(Settings())
    log.removed.add(FIRST)
    assert await offsets(shared, {FIRST: 2, OTHER: 8}) == {OTHER: [8, 9]}
    assert await shared.reached(shared, {FIRST: 2, OTHER: 10}) == {OTHER}
    assert await offsets(shared, {FIRST: 8, OTHER: 10}) == {FIRST: [8, 9]}


@pytest.mark.parametrize(
    ("before", "timestamps", "at_end", "until"),
    [
        (None, [], False, None),
        (3, [], False, 3),
        (3, [7], False, 7),
        (9, [7], False, 9),
        (3, [99], False, 50),
        (None, [7], True, 50),
        (60, [7], True, 60),
    ],
)
def test_up_to_when_a_partition_is_read(before: int | None, timestamps: list[int], at_end: bool, until: int) -> None:  # noqa: FBT001 - a case
    records: Any = {FIRST: [Told(timestamp=one) for one in timestamps]}
    fetched = Fetched(records, {FIRST: 9}, {FIRST: (50, 9 if at_end else 10)}, {})
    assert fetched.until_ms(FIRST, before) == until


async def test_an_end_is_asked_for_only_where_no_answer_to_a_fetch_told_it_of_late(log: Log) -> None:
    consumer: Any = Consumer(log.meanwhile, log.removed)
    consumer.assign([FIRST, OTHER])
    just_now = now_ms()
    consumer.ends |= {FIRST: (just_now, 12), OTHER: (just_now - 60_000, 12)}
    fetched = await fetch_from(consumer, [FIRST, OTHER], 0)
    assert consumer.asked == [OTHER]
    assert fetched.ends[FIRST] == (just_now, 12)
    assert fetched.ends[OTHER] >= (just_now, 10)
    assert (fetched.until_ms(FIRST, None), fetched.until_ms(OTHER, None)) == (9, fetched.ends[OTHER][0])
