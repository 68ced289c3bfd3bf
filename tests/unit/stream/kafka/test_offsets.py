"""What a group has committed is an answer or an error, never a guess."""

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.structs import OffsetAndMetadata

from stream.kafka.offsets import Position, ResumePoint, VoidCounter, committed_offsets
from stream.settings import Settings

FIRST, SECOND = TopicPartition("transactions", 0), TopicPartition("transactions", 1)


class Coordinator:
    """Answers what it is told to."""

    def __init__(self, answer: dict[TopicPartition, OffsetAndMetadata]) -> None:
        self.answer = answer

    async def list_consumer_group_offsets(
        self, _group: str, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        return {tp: self.answer[tp] for tp in partitions if tp in self.answer}


def ask(answer: dict[TopicPartition, OffsetAndMetadata]) -> dict[TopicPartition, OffsetAndMetadata]:
    return asyncio.run(committed_offsets(Settings(), Coordinator(answer), [FIRST, SECOND]))


def test_a_partition_without_a_commit_is_told_by_a_negative_offset() -> None:
    answer = {FIRST: OffsetAndMetadata(5, "note"), SECOND: OffsetAndMetadata(-1, "")}
    assert ask(answer) == answer


def test_a_coordinator_that_leaves_a_partition_out_is_asked_again() -> None:
    with pytest.raises(GroupCoordinatorNotAvailableError, match="no offsets of group fraudstream"):
        ask({FIRST: OffsetAndMetadata(5, "note")})


def test_a_void_score_is_told_once_however_often_its_tail_is_read() -> None:
    voids = VoidCounter()

    def fresh(committed: int | None, void: int, partition: int = 0) -> int:
        return voids.count_new(partition, ResumePoint(committed, Position(void=void)))

    assert [fresh(10, 3), fresh(10, 3), fresh(10, 4), fresh(10, 4, partition=1)] == [3, 0, 1, 4]
    assert [fresh(20, 1), fresh(20, 1), fresh(None, 0), fresh(None, 2)] == [1, 0, 0, 2]
