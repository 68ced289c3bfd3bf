"""What lies behind a partition's last stable offset is held back, and its age counts from that offset's last move."""

from aiokafka import TopicPartition

from stream.engine.stalled import HeldBack, HeldBackPartitions

TP = TopicPartition("transactions", 0)


def test_the_age_counts_from_the_last_move_of_the_last_stable_offset_not_of_the_end() -> None:
    first = HeldBack.after(None, stable=4, end=6, now=1.0)
    grown = HeldBack.after(first, stable=4, end=9, now=8.0)
    moved = HeldBack.after(grown, stable=7, end=9, now=10.0)
    assert (first, grown, moved) == (HeldBack(4, 2, 1.0), HeldBack(4, 5, 1.0), HeldBack(7, 2, 10.0))


def test_the_reason_says_how_many_from_where_for_how_long_and_what_to_do() -> None:
    reason = HeldBack(4, 5, 0.0).reason(31.4)
    assert reason.startswith("up to 5 records from offset 4 on wait for a producer's transaction")
    assert "open for 31 s" in reason
    assert "kafka-transactions.sh" in reason


def test_a_partition_is_forgotten_once_its_last_stable_offset_is_its_end() -> None:
    partitions = HeldBackPartitions()
    partitions.note(TP, 4, 6)
    partitions.note(TopicPartition("transactions", 1), 9, 9)
    assert {tp: (one.stable, one.records) for tp, one in partitions.copy().items()} == {TP: (4, 2)}
    partitions.note(TP, 6, 6)
    assert partitions.copy() == {}
