"""A scan of all records waits for open transactions to end, says what stays behind one, and drops nothing unsaid."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from fraudstream.lab.dataset.backfill_sources import require_all_read
from fraudstream.lab.dataset.errors import BackfillError
from stream import scan
from stream.engine.stalled import HeldBackPartitions
from stream.engine.unpacking import Unreadable
from stream.scan import TopicScan
from stream.settings import Settings
from support.stream_records import Told

FIRST, SECOND = TopicPartition("archive", 0), TopicPartition("archive", 1)
ENDS = {FIRST: 6, SECOND: 3}


class Consumer:
    """Two partitions, the first with an open transaction from offset `stable` on, which ends at poll `ends_at`."""

    def __init__(self, stable: int, ends_at: int | None = None) -> None:
        self._stable, self._ends_at, self._polls = {FIRST: stable, SECOND: 3}, ends_at, 0
        self._at: dict[TopicPartition, int] = {}
        self.held_back = HeldBackPartitions()
        self.passed_over: list[tuple[TopicPartition, Unreadable]] = []
        self.fetcher = self

    async def beginning_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 0)

    async def end_offsets(self, _tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict(self._stable)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._at[tp] = offset

    async def position(self, tp: TopicPartition) -> int:
        return self._at[tp]

    async def getmany(self, *tps: TopicPartition, timeout_ms: int) -> dict[TopicPartition, list[Told]]:
        del timeout_ms
        self._polls += 1
        if self._polls == self._ends_at:
            self._stable = {FIRST: 9, SECOND: 9}
        for tp, stable in self._stable.items():
            self.held_back.note(tp, stable, 9)
        found = {tp: list(range(self._at[tp], self._stable[tp])) for tp in tps}
        for tp, offsets in found.items():
            self._at[tp] += len(offsets)
        return {
            tp: [Told(b"", partition=tp.partition, offset=one, topic=tp.topic) for one in offsets]
            for tp, offsets in found.items()
            if offsets
        }


@pytest.fixture(autouse=True)
def _all_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ranges(_settings: Settings, tps: Sequence[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        return {tp: (0, ENDS[tp]) for tp in tps}

    monkeypatch.setattr(scan, "offset_ranges", ranges)
    monkeypatch.setattr(scan, "OPEN_SECONDS", 0.02)


def scan_of(consumer: Consumer) -> TopicScan:
    made: Any = consumer
    return TopicScan(Settings(), made, dict.fromkeys(ENDS, 0), before=0)


async def places(reading: Any) -> list[tuple[int, int]]:
    return sorted([(one.partition, one.offset) async for records, _ in reading for one in records])


async def test_a_scan_of_all_records_says_what_stays_behind_an_open_transaction() -> None:
    found = scan_of(Consumer(stable=4))
    assert await places(found.read_all()) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2)]
    assert {tp: (one.stable, one.records) for tp, one in found.held_back.items()} == {FIRST: (4, 2)}
    told = r"^archive partition 0: up to 2 records from offset 4 on wait for .* aborts it\. Run the same command again"
    with pytest.raises(BackfillError, match=told):
        require_all_read(found)


async def test_a_scan_of_all_records_waits_for_a_transaction_that_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "OPEN_SECONDS", 60.0)
    found = scan_of(Consumer(stable=0, ends_at=5))
    assert await places(found.read_all()) == [(tp.partition, at) for tp, end in ENDS.items() for at in range(end)]
    require_all_read(found)


async def test_a_scan_of_committed_records_ends_before_an_open_transaction() -> None:
    found = scan_of(Consumer(stable=4))
    assert len(await places(found.read())) == 7
    require_all_read(found)


async def test_what_was_passed_over_behind_the_end_is_not_a_part_of_the_scan() -> None:
    consumer = Consumer(stable=6)
    found = scan_of(consumer)
    await places(found.read_all())
    inside, behind = Unreadable(2, 4, "its checksum is wrong"), Unreadable(3, 5, "its checksum is wrong")
    consumer.passed_over = [(FIRST, inside), (SECOND, behind)]
    assert found.unreadable == [(FIRST, inside)]


@pytest.mark.parametrize(("since_ms", "firsts"), [(0, {FIRST: 1, SECOND: 1}), (5, {FIRST: 4, SECOND: 9})])
async def test_a_scan_since_0_begins_at_the_beginning_since_records_may_have_no_timestamp(
    since_ms: int, firsts: dict[TopicPartition, int]
) -> None:
    async def beginning(tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 1)

    async def ends(tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 9)

    async def for_times(_times: dict[TopicPartition, int]) -> dict[TopicPartition, Any]:
        return {FIRST: SimpleNamespace(offset=4), SECOND: None}

    consumer: Any = SimpleNamespace(beginning_offsets=beginning, end_offsets=ends, offsets_for_times=for_times)
    assert await scan.first_offsets(consumer, list(ENDS), since_ms) == firsts
