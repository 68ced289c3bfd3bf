"""The bytes of a topic are those of one replica, and a broker that does not tell them is named with what to do."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import ClusterAuthorizationFailedError, IncompatibleBrokerVersion

from benchmarks.parts.log_sizes import LogDirsRequest, log_bytes
from stream.errors import MeasurementError
from stream.kafka import client
from stream.settings import Settings

Answer = Callable[[int], list[Any]]


class DescribingAdmin:
    """Answers for two brokers, 1 and 2, with one topic of two partitions."""

    answer: Answer

    def __init__(self, **_: object) -> None:
        brokers = [SimpleNamespace(nodeId=node) for node in (1, 2)]
        self._client = SimpleNamespace(cluster=SimpleNamespace(brokers=lambda: brokers))

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def describe_topics(self, topics: list[str]) -> list[dict[str, Any]]:
        return [{"topic": topic, "partitions": [{"partition": 0}, {"partition": 1}]} for topic in topics]

    async def _send_request_to_node(self, node_id: int, request: LogDirsRequest) -> Any:
        assert request._partitions == {"scores": [0, 1]}
        return SimpleNamespace(log_dirs=type(self).answer(node_id))


def answering(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
    monkeypatch.setattr(DescribingAdmin, "answer", staticmethod(answer), raising=False)
    monkeypatch.setattr(client, "AIOKafkaAdminClient", DescribingAdmin)


async def test_partitions_are_summed_and_of_each_the_largest_replica_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {1: [(0, 100), (1, 7)], 2: [(0, 90), (1, 9)]}

    def answer(node: int) -> list[Any]:
        rows = [(partition, size, 0, False) for partition, size in sizes[node]]
        moving = [(0, 5_000, 0, True)]
        return [(0, "/data/a", [("scores", rows)]), (0, "/data/b", [("scores", moving)])]

    answering(monkeypatch, answer)
    assert await log_bytes(Settings(), ["scores"]) == {"scores": 109}


async def test_a_broker_without_the_request_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(_: int) -> list[Any]:
        raise IncompatibleBrokerVersion("no such request")

    answering(monkeypatch, answer)
    with pytest.raises(MeasurementError, match=r"^broker 1 does not tell .* measure on Apache Kafka$"):
        await log_bytes(Settings(), ["scores"])


async def test_a_missing_permission_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, lambda _: [(ClusterAuthorizationFailedError.errno, "", [])])
    with pytest.raises(MeasurementError, match=r"ClusterAuthorizationFailedError.* needs Describe on the cluster$"):
        await log_bytes(Settings(), ["scores"])
