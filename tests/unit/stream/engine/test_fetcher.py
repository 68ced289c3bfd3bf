"""A partition's queue returns records in order, each once, and stops before what cannot be read."""

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from stream.engine.partition_queue import FetchQueues, PartitionQueue
from stream.engine.unpacking import AnyBatch, FetchedRecord, Unreadable, split_batches
from support.record_batches import CODECS, packed, sent

TP = TopicPartition("transactions", 0)
FULL = 1024 * 1024


def batches(base: int, *sizes: int) -> list[AnyBatch]:
    """Return batches of so many records, one after the other."""
    found = list[AnyBatch]()
    for size in sizes:
        found += split_batches(packed([(b"k", b"v", ())] * size, base=base))
        base += size
    return found


def broken(base: int) -> list[AnyBatch]:
    message_set = bytearray(sent(base))
    message_set[-1] ^= 1
    return split_batches(bytes(message_set))


@given(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3), max_size=5), st.integers(1, 7), st.integers(0, 50))
def test_every_record_is_taken_once_and_in_order(responses: list[list[int]], limit: int, first: int) -> None:
    queue, at = PartitionQueue(TP), first
    for sizes in responses:
        queue.add(batches(at, *sizes), at, at + sum(sizes))
        at += sum(sizes)
    taken: list[FetchedRecord] = []
    while some := queue.take(limit):
        assert len(some) <= limit
        taken += some
        assert queue.position in {some[-1].offset + 1, None}
    assert [record.offset for record in taken] == list(range(first, at))
    assert not queue


def test_records_before_an_unreadable_range_are_taken_and_none_behind_it_until_it_is_skipped() -> None:
    queue = PartitionQueue(TP)
    queue.add([*batches(0, 2), *broken(2), *batches(3, 1)], 0, 4)
    assert [record.offset for record in queue.take(10)] == [0, 1]
    assert queue.take(10) == []
    assert queue.unreadable() == Unreadable(2, 3, "its checksum is wrong")
    assert queue.position == 2
    queue.skip_unreadable()
    assert queue.unreadable() is None
    assert [record.offset for record in queue.take(10)] == [3]


def test_a_large_batch_is_unpacked_aside_and_nothing_is_taken_of_its_partition_meanwhile() -> None:
    asked: list[PartitionQueue] = []
    queue = PartitionQueue(TP, asked.append)
    large = split_batches(packed([(b"k", bytes(600_000), ())] * 3, CODECS["zstd"], 2))
    queue.add([*batches(0, 2), *large, *batches(5, 1)], 0, 6)
    assert [record.offset for record in queue.take(10)] == [0, 1]
    for _ in range(3):
        assert (queue.take(10), queue.unreadable(), queue.position, bool(queue)) == ([], None, 2, True)
    assert asked == [queue]
    asked.pop().unpack_next()
    assert [record.offset for record in queue.take(10)] == [2, 3], "about a MiB at once"
    assert [record.offset for record in queue.take(10)] == [4, 5]
    assert (queue.position, bool(queue), asked) == (None, False, [])


def test_a_partition_counts_as_contained_while_its_queue_is_full_or_its_offset_does_not_exist() -> None:
    queues = FetchQueues()
    assert TP not in queues
    large = split_batches(packed([(b"k", b"v" * FULL, ())]))
    queues.of(TP).add(large, 0, 1)
    assert TP in queues
    assert queues[TP].calculate_backoff() == 0
    queues.of(TP).take(1)
    assert TP not in queues
    queues.out_of_range[TP] = 99
    assert TP in queues
    del queues[TP]
    assert TP not in queues
    assert queues.filled(None) == []


def test_a_partition_is_not_fetched_while_a_batch_that_is_large_when_unpacked_is_taken() -> None:
    value = bytes(64 * 1024)
    queue = PartitionQueue(TP)
    queue.add(split_batches(packed([(b"k", value, ())] * 150, CODECS["gzip"])), 0, 150)
    assert not queue.full
    taken = queue.take(10)
    assert queue.full
    while some := queue.take(100):
        taken += some
    assert [record.offset for record in taken] == list(range(150))
    assert not queue.full


def test_no_batch_is_unpacked_before_the_one_before_it_was_taken() -> None:
    first, second = batches(0, 5, 5)
    queue = PartitionQueue(TP)
    queue.add([first, second], 0, 10)
    assert [record.offset for record in queue.take(5)] == [0, 1, 2, 3, 4]
    assert (first.unpacked_size > 0, second.unpacked_size) == (True, 0)


def test_what_is_taken_at_once_is_bounded_by_headers_too() -> None:
    queue = PartitionQueue(TP)
    queue.add(split_batches(packed([(b"k", b"{}", [("", None)] * 1_000)] * 200)), 0, 200)
    counts = list[int]()
    while some := queue.take(512):
        counts.append(len(some))
    assert sum(counts) == 200
    assert max(counts) < 70
