"""A backfill is written interleaved by time, once, and only if all of it is earlier than the stream."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, GroupCoordinatorNotAvailableError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import OffsetAndMetadata

from fraudstream.lab.dataset import backfill as module
from fraudstream.lab.dataset.backfill import (
    BackfillWriter,
    CardPlaces,
    InputScan,
    WrittenRecords,
    require_past,
    watch_applied,
)
from fraudstream.lab.dataset.backfill_sources import BackfillSource, FilesSource, LeftOut, TopicsSource
from fraudstream.lab.dataset.errors import BackfillError
from fraudstream.lab.dataset.records import RecordKind, TimedRecord
from fraudstream.lab.dataset.too_large import SizeFilter, TopicLimit
from fraudstream.ops.repair.partitioners import HASHES
from models.times import format_time
from stream.contract.transaction import BackfillMark, backfill_mark
from stream.engine.publisher import Destination, Outgoing
from stream.engine.unpacking import Unreadable
from stream.errors import PublishError
from stream.settings import Settings
from support.stream_records import Told
from support.training_files import DAY_MS, START_MS, transactions, write

LIMITS = {RecordKind.TRANSACTION: TopicLimit("transactions", 1_048_588), RecordKind.LABEL: TopicLimit("labels", None)}
PLACES = CardPlaces({RecordKind.TRANSACTION: 3, RecordKind.LABEL: 3}, "murmur2", LIMITS)
ROWS = 120


class Broker:
    """Keeps what is published; after `most` records it acknowledges no more, and keeps a part of the next call."""

    def __init__(self, most: int | None = None) -> None:
        self.logs: dict[Destination, list[Outgoing]] = {}
        self.calls: list[set[str]] = []
        self.sizes: list[int] = []
        self._most = most

    async def publish(self, outputs: Mapping[Destination, Sequence[Outgoing]]) -> dict[Destination, int]:
        self.calls.append({topic for topic, _ in outputs})
        self.sizes.append(sum(len(one.value or b"") for some in outputs.values() for one in some))
        for where, some in outputs.items():
            for one in some:
                if self._most is not None and sum(map(len, self.logs.values())) >= self._most:
                    raise PublishError("not acknowledged")
                self.logs.setdefault(where, []).append(one)
        return {where: len(self.logs[where]) for where in outputs}

    def records(self) -> list[Told]:
        """Return all records as a consumer returns them."""
        return [
            Told(one.value, one.key, partition, offset, one.headers, topic)
            for (topic, partition), log in self.logs.items()
            for offset, one in enumerate(log)
        ]

    def written(self, source: BackfillSource) -> WrittenRecords:
        """Return what is found of a backfill."""
        scan = InputScan(source, PLACES.backfill_of(source))
        for kind, topic in ((RecordKind.TRANSACTION, "transactions"), (RecordKind.LABEL, "labels")):
            scan.add(kind, [one for one in self.records() if one.topic == topic])
        return scan.written


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 20)


def a_file(folder: Path, rows: int = ROWS, name: str = "past.parquet", **more: Any) -> Path:
    return write(folder / name, transactions(rows=rows, days=30) | more)


def source_of(*paths: Path, until_ms: int | None = None) -> FilesSource:
    place = paths[0].parent / f"work-{len(list(paths[0].parent.iterdir()))}"
    place.mkdir()
    return FilesSource(paths, place, until_ms)


async def fill(broker: Broker, source: BackfillSource, written: WrittenRecords | None = None) -> int:
    writer = BackfillWriter(Settings(), broker, PLACES, broker.written(source) if written is None else written)
    return await writer.write(source, lambda _stage, _done, _total: None)


def times(records: Sequence[Told]) -> list[tuple[int, str]]:
    """Return the records in the order of their numbers, as time and transaction."""
    marked = sorted(records, key=lambda one: getattr(backfill_mark(one.headers), "number", -1))
    found = []
    for record in marked:
        fields = msgspec.json.decode(record.value or b"")
        found.append((fields.get("labelled_at") or fields["occurred_at"], fields["transaction_id"]))
    return found


# --- order


async def test_payments_and_their_labels_are_written_in_the_order_of_their_times(tmp_path: Path) -> None:
    broker = Broker()
    source = source_of(a_file(tmp_path))
    assert await fill(broker, source) == 2 * ROWS
    found = times(broker.records())
    labels = [one for one in broker.records() if one.topic == "labels"]
    assert [moment for moment, _ in found] == sorted(moment for moment, _ in found)
    assert len(labels) == ROWS
    assert sum(topics == {"transactions", "labels"} for topics in broker.calls) > 5


async def test_each_record_goes_to_the_partition_of_its_card_with_its_number(tmp_path: Path) -> None:
    broker = Broker()
    source = source_of(a_file(tmp_path))
    await fill(broker, source)
    places: dict[bytes, set[int]] = {}
    for record in broker.records():
        places.setdefault(record.key or b"", set()).add(record.partition)
        assert msgspec.json.decode(record.value or b"")["card_id"].encode() == record.key
    assert {len(some) for some in places.values()} == {1}
    assert len({partition for some in places.values() for partition in some}) == 3
    marks = [backfill_mark(record.headers) for record in broker.records()]
    assert sorted(mark.number for mark in marks if mark) == list(range(2 * ROWS))
    assert {mark.backfill for mark in marks if mark} == {PLACES.backfill_of(source)}


def test_cards_are_placed_by_the_hashes_of_the_clients() -> None:
    # of "abc" and "foobar" by Kafka's own unit tests, of "123456789" the check value of CRC-32
    assert HASHES["murmur2"](b"abc") == 479_470_107
    assert HASHES["murmur2"](b"foobar") == -790_332_482 & 0x7FFF_FFFF
    assert HASHES["crc32"](b"123456789") == 0xCBF4_3926
    record = TimedRecord(0, RecordKind.TRANSACTION, b"abc", b"")
    assert CardPlaces({RecordKind.TRANSACTION: 12}, "murmur2", LIMITS).of(record) == 479_470_107 % 12


async def test_files_are_merged_by_time_whatever_their_order(tmp_path: Path) -> None:
    whole = transactions(rows=ROWS, days=30)
    odd, even = ({name: values[at::2] for name, values in whole.items()} for at in (1, 0))
    parts = [write(tmp_path / "odd.csv", odd), write(tmp_path / "even.parquet", even)]
    together, apart, other = Broker(), Broker(), Broker()
    await fill(together, source_of(write(tmp_path / "whole.parquet", whole)))
    await fill(apart, source_of(*parts))
    await fill(other, source_of(*reversed(parts)))
    assert times(apart.records()) == times(together.records())
    assert source_of(*parts).identity == source_of(*reversed(parts)).identity
    assert apart.logs == other.logs


async def test_a_file_without_labels_and_an_until_leave_out_what_they_say(tmp_path: Path) -> None:
    columns = transactions(rows=ROWS, days=30)
    del columns["fraud"]
    broker = Broker()
    assert await fill(broker, source_of(write(tmp_path / "p.parquet", columns))) == ROWS
    until_ms = START_MS + 15 * DAY_MS
    source = source_of(a_file(tmp_path), until_ms=until_ms)
    cut = Broker()
    await fill(cut, source)
    found = times(cut.records())
    assert max(moment for moment, _ in found) < format_time(until_ms)
    assert len(found) == source.count(RecordKind.TRANSACTION) + source.count(RecordKind.LABEL)
    assert 0 < source.count(RecordKind.LABEL) < source.count(RecordKind.TRANSACTION) < ROWS
    assert source.last_ms < until_ms


# --- going on


@pytest.mark.parametrize("most", [0, 1, 19, 20, 77, 150, 2 * ROWS - 1])
async def test_a_backfill_that_was_cut_off_goes_on_and_writes_nothing_twice(tmp_path: Path, most: int) -> None:
    path, broker, whole = a_file(tmp_path), Broker(most), Broker()
    await fill(whole, source_of(path))
    with pytest.raises(PublishError):
        await fill(broker, source_of(path))
    assert sum(map(len, broker.logs.values())) == most
    broker._most = None
    assert await fill(broker, source_of(path)) == 2 * ROWS - most
    assert broker.logs == whole.logs
    assert await fill(broker, source_of(path)) == 0
    assert broker.logs == whole.logs


async def test_the_same_file_to_other_places_is_another_backfill_since_its_records_are_elsewhere(
    tmp_path: Path,
) -> None:
    source = source_of(a_file(tmp_path))
    others = [
        PLACES._replace(partitioner="crc32"),
        PLACES._replace(partitions={RecordKind.TRANSACTION: 4, RecordKind.LABEL: 3}),
        PLACES._replace(partitions={RecordKind.TRANSACTION: 3, RecordKind.LABEL: 4}),
    ]
    others.append(PLACES._replace(limits=LIMITS | {RecordKind.LABEL: TopicLimit("labels", 2_000_000)}))
    assert len({places.backfill_of(source) for places in (PLACES, *others)}) == 5
    assert PLACES.backfill_of(source) == PLACES.backfill_of(source_of(tmp_path / "past.parquet"))


async def test_another_file_is_another_backfill(tmp_path: Path) -> None:
    broker = Broker()
    await fill(broker, source_of(a_file(tmp_path)))
    other = source_of(a_file(tmp_path, rows=ROWS - 1, name="other.parquet"))
    assert broker.written(other) == WrittenRecords.nothing()
    assert source_of(tmp_path / "past.parquet", until_ms=START_MS + DAY_MS * 20).identity not in {
        other.identity,
        source_of(tmp_path / "past.parquet").identity,
    }


# --- sizes


def limited(largest: int, payments: int | None = None) -> CardPlaces:
    limits = {RecordKind.TRANSACTION: TopicLimit("transactions", payments), RecordKind.LABEL: TopicLimit("l", largest)}
    return PLACES._replace(limits=limits)


async def test_records_that_are_too_large_for_their_topic_are_left_out_and_named_and_the_others_written(
    tmp_path: Path,
) -> None:
    devices = ["d"] * ROWS
    devices[7], devices[9] = "x" * 1_048_588, "y" * 1_048_000
    path, broker = a_file(tmp_path, device_id=devices), Broker()
    for sent in (2 * ROWS - 1, 0):
        source = source_of(path)
        writer = BackfillWriter(Settings(), broker, PLACES, broker.written(source))
        assert await writer.write(source, lambda *_: None) == sent
        assert writer.too_large.counts == {RecordKind.TRANSACTION: 1}
        (named,) = writer.too_large.named
        assert named.startswith(f"{path} row 8, transaction 't7': 1,048,")
        assert named.endswith(" bytes, transactions takes 1,048,588")
        assert "raise max.message.bytes on the topic" in writer.too_large.lines()[-1]
    assert "t7" not in {name for at, name in times(broker.records()) if at < format_time(START_MS)}
    marks = [backfill_mark(record.headers) for record in broker.records()]
    assert len({mark.number for mark in marks if mark}) == 2 * ROWS - 1


async def test_a_record_is_too_large_by_the_bytes_of_a_batch_with_it_alone(tmp_path: Path) -> None:
    (record,) = list(source_of(a_file(tmp_path, rows=1)).records())[:1]
    header = BackfillMark("0" * 16, 0).header()
    batch = BatchBuilder(1, 0)
    batch.append(timestamp=None, key=record.key, value=record.value, headers=[header])
    size = len(batch._build())
    for largest, passes in ((size - 1, False), (size, True)):
        limits = limited(9, largest).limits
        assert SizeFilter(limits).passes(record, (header,)) is passes


async def test_a_record_that_a_producer_compresses_is_as_large_as_what_it_sends(tmp_path: Path) -> None:
    (record, *_) = source_of(a_file(tmp_path, rows=1, device_id=["x" * 1_200_000])).records()
    assert SizeFilter(LIMITS, "zstd").passes(record)
    assert not SizeFilter(LIMITS, "none").passes(record)


@pytest.mark.parametrize(("largest", "most"), [(1_048_588, 8 << 20), (70_000, 60_000)])
async def test_what_is_written_at_once_is_bounded_by_bytes_too(tmp_path: Path, largest: int, most: int) -> None:
    """With a limit below that of a batch, no batch may exceed it, even if a codec makes it larger."""
    devices = ["x" * (largest // 3)] * 70
    broker = Broker()
    source = source_of(a_file(tmp_path, rows=70, device_id=devices))
    writer = BackfillWriter(Settings(), broker, limited(1_048_588, largest), WrittenRecords.nothing())
    assert await writer.write(source, lambda *_: None) == 140
    assert max(broker.sizes) <= most
    assert max(broker.sizes) > most // 2


async def test_no_more_records_are_written_in_a_second_than_the_rate_and_found_ones_take_no_time(
    tmp_path: Path,
) -> None:
    broker, source = Broker(), source_of(a_file(tmp_path, rows=20))
    writer = BackfillWriter(Settings(), broker, PLACES, WrittenRecords.nothing())
    began = time.monotonic()
    assert await writer.write(source, lambda *_: None, 100) == 40
    assert time.monotonic() - began >= 0.3, "the last ten are due after 0.3 s"
    assert len(broker.calls) == 4
    again = BackfillWriter(Settings(), broker, PLACES, broker.written(source))
    async with asyncio.timeout(60):  # 40 records would take an hour
        assert await again.write(source, lambda *_: None, 0.01) == 0


async def test_what_a_slow_broker_has_delayed_is_not_caught_up_on(tmp_path: Path) -> None:
    """The debt of a stall would go out at full speed, before the payments of the stream."""

    class Stalling(Broker):
        async def publish(self, outputs: Mapping[Destination, Sequence[Outgoing]]) -> dict[Destination, int]:
            times.append(time.monotonic())
            await asyncio.sleep(0.5 if len(times) == 1 else 0)
            return await super().publish(outputs)

    times = list[float]()
    writer = BackfillWriter(Settings(), Stalling(), PLACES, WrittenRecords.nothing())
    await writer.write(source_of(a_file(tmp_path, rows=20)), lambda *_: None, 100)
    assert all(later - earlier > 0.09 for earlier, later in pairwise(times[1:]))


# --- refusals


def live(at_ms: int, **changes: Any) -> Told:
    value = {"transaction_id": "live", "card_id": "c1", "occurred_at": format_time(at_ms)} | changes
    return Told(msgspec.json.encode(value), b"c1", 2, 41)


def test_a_backfill_that_ends_after_the_stream_began_is_refused_and_told_where_to_cut(tmp_path: Path) -> None:
    source = source_of(a_file(tmp_path))
    scan = InputScan(source, PLACES.backfill_of(source))
    scan.add(RecordKind.TRANSACTION, [live(source.last_ms + 1), Told(b"no payment"), live(1, occurred_at="noon")])
    scan.add(RecordKind.LABEL, [live(START_MS)])
    scan.require_past("transactions")
    assert scan.live == 1
    scan.add(RecordKind.TRANSACTION, [live(source.last_ms), live(START_MS), live(source.last_ms)])
    where = r"the stream has begun before it ends.* 3 payments to decide .*transactions partition 2 offset 41"
    with pytest.raises(BackfillError, match=rf"{where}.*none of it can be filled in any more"):
        scan.require_past("transactions")


def test_a_backfill_that_is_older_in_part_is_cut_where_the_stream_begins(tmp_path: Path) -> None:
    source = source_of(a_file(tmp_path))
    scan = InputScan(source, PLACES.backfill_of(source))
    scan.add(RecordKind.TRANSACTION, [live(source.last_ms), live(source.first_ms + 1)])
    with pytest.raises(BackfillError, match=f"--until {format_time(source.first_ms + 1)}"):
        scan.require_past("transactions")
    again = source_of(a_file(tmp_path), until_ms=source.first_ms + 1)
    InputScan(again, PLACES.backfill_of(again)).require_past("transactions")


def test_a_payment_with_a_bad_mark_counts_as_one_of_the_stream(tmp_path: Path) -> None:
    scan = InputScan(source_of(a_file(tmp_path)), "e" * 16)
    marked, bad = live(START_MS), live(START_MS)
    marked.headers, bad.headers = [BackfillMark("f" * 16, 3).header()], [("fraudstream-backfill", b"1")]
    scan.add(RecordKind.TRANSACTION, [marked])
    assert scan.written == WrittenRecords.nothing()
    scan.require_past("transactions")
    scan.add(RecordKind.TRANSACTION, [bad])
    with pytest.raises(BackfillError, match="the stream has begun"):
        scan.require_past("transactions")


def test_payments_that_have_not_occurred_yet_are_refused(tmp_path: Path) -> None:
    source = source_of(a_file(tmp_path))
    require_past(source, source.last_ms)
    with pytest.raises(BackfillError, match="which is later than now"):
        require_past(source, source.last_ms - 1)


def test_a_source_without_payments_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackfillError, match=r"past.parquet: there is no payment before 2026-01-01T00:00:00.000Z"):
        source_of(a_file(tmp_path), until_ms=START_MS)


# --- topics


def spooled(folder: Path, records: Sequence[Told], until_ms: int | None = None) -> TopicsSource:
    place = folder / f"topics-{len(list(folder.iterdir()))}"
    place.mkdir()
    source = TopicsSource("archive", place, until_ms)
    for kind, topic in ((RecordKind.TRANSACTION, "transactions"), (RecordKind.LABEL, "labels")):
        source.add(kind, [one for one in records if one.topic == topic])
    return source


async def test_topics_give_the_same_backfill_as_the_file_with_their_records(tmp_path: Path) -> None:
    by_file, by_topics = Broker(), Broker()
    source = source_of(a_file(tmp_path))
    await fill(by_file, source)
    records = by_file.records()
    for one in records:
        one.key, one.headers = b"a key of their own", [BackfillMark("e" * 16, 1).header()]
    copied = spooled(tmp_path, records)
    assert await fill(by_topics, copied) == 2 * ROWS
    assert times(by_topics.records()) == times(by_file.records())
    assert [one.key for log in by_topics.logs.values() for one in log] == [
        one.key for where in by_topics.logs for one in by_file.logs[where]
    ]
    assert (copied.last_ms, copied.left_out) == (source.last_ms, [])
    assert copied.count(RecordKind.LABEL) == ROWS
    assert spooled(tmp_path, records[::-1]).identity == copied.identity
    assert spooled(tmp_path, records[1:]).identity != copied.identity


async def test_what_is_no_payment_or_label_in_a_topic_is_left_out_and_counted(tmp_path: Path) -> None:
    broker = Broker()
    await fill(broker, source_of(a_file(tmp_path)))
    junk = [Told(b"{", partition=1, offset=7), Told(b"{}", partition=1, offset=8), Told(None, offset=9)]
    source = spooled(tmp_path, [*junk, *broker.records()], START_MS + 15 * DAY_MS)
    assert source.count(RecordKind.TRANSACTION) < ROWS
    assert {one.code: one.records for one in source.left_out} == {"not_json": 1, "missing_field": 1, "empty_value": 1}
    assert source.left_out[0].first == "transactions partition 1 offset 7"
    source.leave_out([(TopicPartition("archive", 2), Unreadable(30, 36, "its checksum is wrong"))])
    assert source.left_out[0] == LeftOut("unreadable_record", 6, "archive partition 2 offset 30")


# --- waiting


async def waited(monkeypatch: pytest.MonkeyPatch, *answers: dict[int, int] | Exception) -> list[tuple[int, int]]:
    """Return what is seen of two partitions with ends 10 and 5, when the group's commits are these in turn."""
    asked = iter(answers)

    async def committed(_settings: Any, _admin: Any, tps: list[Any]) -> dict[Any, Any]:
        answer = next(asked)
        if isinstance(answer, Exception):
            raise answer
        return {tp: OffsetAndMetadata(answer.get(tp.partition, -1), "") for tp in tps}

    monkeypatch.setattr(module, "committed_offsets", committed)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.0)
    ends = {("transactions", 0): 10, ("transactions", 1): 5}
    seen: Any = None
    return [(one.applied, one.total) async for one in watch_applied(Settings(), seen, ends)]


async def test_waiting_ends_when_the_workers_have_committed_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await waited(monkeypatch, {}, {0: 3}, {0: 3, 1: 9}, {0: 10, 1: 9})
    assert found == [(0, 15), (3, 15), (8, 15), (15, 15)]


async def test_a_coordinator_that_is_away_is_asked_again_and_a_refusal_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    away = GroupCoordinatorNotAvailableError()
    assert await waited(monkeypatch, {0: 4}, away, {0: 10, 1: 5}) == [(4, 15), (4, 15), (15, 15)]
    with pytest.raises(GroupAuthorizationFailedError):
        await waited(monkeypatch, GroupAuthorizationFailedError())
