"""Stands in for aiokafka's client where only the leaders of partitions are asked for."""

from collections.abc import Callable
from types import SimpleNamespace

from aiokafka import TopicPartition


class KnownLeaders:
    """A client that knows who leads each partition; node 0 leads all unless it is told."""

    def __init__(self, leader: Callable[[TopicPartition], int] = lambda _: 0) -> None:
        self.cluster = SimpleNamespace(leader_for_partition=leader)

    async def _maybe_wait_metadata(self) -> bool:
        return True
