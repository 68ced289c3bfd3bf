"""`committed_offsets` returns the committed offsets or raises, and void scores are counted once."""

import asyncio

import msgspec
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.structs import OffsetAndMetadata

from fraudstream_client.validity import Standing, ValidScores, place_of
from stream.engine.unpacking import FetchedRecord
from stream.kafka.client import committed_offsets
from stream.positions.offsets import Position, ResumePoint, VoidCounter, folded
from stream.settings import Settings
from support.shadow_cases import scored

FIRST, SECOND = TopicPartition("transactions", 0), TopicPartition("transactions", 1)


class Coordinator:
    """Returns the offsets that it was created with."""

    def __init__(self, answer: dict[TopicPartition, OffsetAndMetadata]) -> None:
        self.answer = answer

    async def list_consumer_group_offsets(
        self, _group: str, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        return {tp: self.answer[tp] for tp in partitions if tp in self.answer}


def read_committed(answer: dict[TopicPartition, OffsetAndMetadata]) -> dict[TopicPartition, OffsetAndMetadata]:
    return asyncio.run(committed_offsets(Settings(), Coordinator(answer), [FIRST, SECOND]))


def test_an_uncommitted_partition_is_returned_with_offset_minus_one() -> None:
    answer = {FIRST: OffsetAndMetadata(5, "note"), SECOND: OffsetAndMetadata(-1, "")}
    assert read_committed(answer) == answer


def test_a_partition_missing_from_the_reply_raises_coordinator_not_available() -> None:
    with pytest.raises(GroupCoordinatorNotAvailableError, match="no offsets of group fraudstream"):
        read_committed({FIRST: OffsetAndMetadata(5, "note")})


@pytest.mark.parametrize(
    ("field", "value"),
    [("epoch", 2**63), ("source", {"offset": 2**44}), ("source", {"offset": 1, "log": 512}), ("epoch", None)],
)
def test_a_score_with_numbers_that_no_worker_writes_is_none_for_the_worker_and_for_consumers(
    field: str, value: object
) -> None:
    """The worker's note of such an epoch could not be read back: all scores would be read from their beginning."""
    genuine = msgspec.json.decode(scored(1).outgoing[0].value or b"")
    changed = genuine[field] | value if isinstance(value, dict) else value
    written = msgspec.json.encode(genuine | {field: changed})
    record = FetchedRecord("scores", 0, 0, 0, 0, None, written, ())
    assert folded(Position(), record) == Position(scores_offset=1)
    valid = ValidScores[FetchedRecord]()
    assert list(valid.of([record])) == []
    assert (valid.unreadable, valid.standings) == (1, {})


def test_a_void_score_is_counted_once_however_often_its_tail_is_read() -> None:
    voids = VoidCounter()

    def fresh(committed: int | None, void: int, partition: int = 0) -> int:
        return voids.count_new(partition, ResumePoint(committed, Position(void=void)))

    assert [fresh(10, 3), fresh(10, 3), fresh(10, 4), fresh(10, 4, partition=1)] == [3, 0, 1, 4]
    assert [fresh(20, 1), fresh(20, 1), fresh(None, 0), fresh(None, 2)] == [1, 0, 0, 2]


def test_a_partition_was_read_to_its_last_decision_or_to_its_commit_in_the_same_log_alone() -> None:
    decided = Position(Standing(1, place_of(0, 12)))
    assert ResumePoint(18, decided).read_to(0) == 18
    assert ResumePoint(7, decided).read_to(0) == ResumePoint(None, decided).read_to(0) == 13
    assert ResumePoint(None, decided, copied=15).read_to(0) == 15
    assert ResumePoint(18, decided).read_to(1) == 0
    assert ResumePoint(18, decided._replace(log=1)).read_to(1) == 18
    assert ResumePoint(18, decided._replace(log=1)).read_to(0) == 13
    assert ResumePoint(None, Position()).read_to(0) == 0
