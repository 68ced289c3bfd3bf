"""Where partitions are read on, and that what is lost is told for as long as it is."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from fraudstream_client.validity import Standing
from models.judge import InputTopic
from models.logs import Logs
from stream.positions.offsets import Position, ResumePoint
from stream.settings import Settings
from stream.worker.starts import PartitionStarts

TP = TopicPartition("transactions", 0)
POINT = ResumePoint(None, Position(Standing(1_024, 156), 1, 157, identity="of the topic before"))
"""Decided up to offset 156; the commits were deleted with their topic."""


class Growing:
    """A topic made anew, whose end rises with each look; at the last decided offset it has another payment."""

    def __init__(self, ends: Sequence[int]) -> None:
        self._ends = iter(ends)

    async def states(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, InputTopic]:
        return {tp: InputTopic("id-new", 0, next(self._ends)) for tp in tps}

    async def is_same_record(self, _records: object, _tp: object, state: InputTopic, _position: object) -> bool | None:
        return False if state.end > 156 else None


async def test_a_topic_made_anew_that_grows_past_the_last_decided_offset_is_not_the_one_that_was_read() -> None:
    looks = [150, 156, 160, 170]

    async def wait_for_change(_seconds: float) -> None: ...

    follower: Any = SimpleNamespace(logs=Logs(), wait_for_change=wait_for_change)
    published: Any = None
    facts: list[Any] = []
    starts = PartitionStarts(Settings(), follower, published, facts.append)
    readers: Any = (SimpleNamespace(consumer=None), Growing(looks))
    left = iter([True] * len(looks) + [False])
    assert await starts.find(readers, TP, POINT, lambda: next(left)) is None
    assert "the record at the last decided offset is another one" in starts.losses[0]
