"""Ask brokers how many bytes the logs of topics take: what is on a replica's disk, as it was compressed.

aiokafka 0.14 has no such request. Version 1 of it is answered by Apache Kafka 2.0 and later, 4.x included.
"""

from collections.abc import Collection
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import IncompatibleBrokerVersion, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Int64, Schema, String

from stream.errors import MeasurementError
from stream.kafka.client import open_admin
from stream.settings import Settings

_DESCRIBE_LOG_DIRS_KEY, _VERSION = 35, 1


class LogDirsResponse(Response):  # type: ignore[misc] # aiokafka ships no types
    """DescribeLogDirs, version 1."""

    API_KEY = _DESCRIBE_LOG_DIRS_KEY
    API_VERSION = _VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "log_dirs",
            Array(
                ("error_code", Int16),
                ("log_dir", String()),
                (
                    "topics",
                    Array(
                        ("name", String()),
                        (
                            "partitions",
                            Array(("partition", Int32), ("size", Int64), ("lag", Int64), ("is_future", Boolean)),
                        ),
                    ),
                ),
            ),
        ),
    )


class LogDirsRequestStruct(RequestStruct):  # type: ignore[misc] # likewise
    """DescribeLogDirs, version 1."""

    API_KEY = _DESCRIBE_LOG_DIRS_KEY
    API_VERSION = _VERSION
    RESPONSE_TYPE = LogDirsResponse
    SCHEMA = Schema(("topics", Array(("name", String()), ("partitions", Array(Int32)))))


class LogDirsRequest(Request[LogDirsRequestStruct]):  # type: ignore[misc] # likewise
    """A request for the sizes of some topics' partitions on one broker."""

    API_KEY = _DESCRIBE_LOG_DIRS_KEY

    def __init__(self, partitions: dict[str, list[int]]) -> None:
        self._partitions = partitions

    def build(self, request_struct_class: type[LogDirsRequestStruct]) -> LogDirsRequestStruct:
        """Return the request in its one version."""
        return request_struct_class(topics=list(self._partitions.items()))


async def log_bytes(settings: Settings, topics: Collection[str]) -> dict[str, int]:
    """Return the bytes of one replica of each topic's log: of the largest replica of each of its partitions.

    Raises:
        MeasurementError: a broker does not tell sizes.
        aiokafka.errors.KafkaError: a broker does not respond.
    """
    async with open_admin(settings) as admin:
        described: list[dict[str, Any]] = await admin.describe_topics(list(topics))
        asked = {one["topic"]: [each["partition"] for each in one["partitions"]] for one in described}
        largest: dict[tuple[str, int], int] = {}
        for broker in admin._client.cluster.brokers():  # noqa: SLF001 - there is no public way
            for place, size in (await _sizes_on(admin, broker.nodeId, asked)).items():
                largest[place] = max(size, largest.get(place, 0))
    return {topic: sum(size for (name, _), size in largest.items() if name == topic) for topic in topics}


async def _sizes_on(
    admin: AIOKafkaAdminClient, node_id: int, asked: dict[str, list[int]]
) -> dict[tuple[str, int], int]:
    """Return the bytes of each partition's log on one broker."""
    try:
        response = await admin._send_request_to_node(node_id, LogDirsRequest(asked))  # noqa: SLF001 - likewise
    except (IncompatibleBrokerVersion, NotImplementedError) as error:
        raise MeasurementError(
            f"broker {node_id} does not tell the sizes of logs (DescribeLogDirs): measure on Apache Kafka"
        ) from error
    refused = {code for code, *_ in response.log_dirs if code}
    if refused:
        why = ", ".join(sorted(for_code(code).__name__ for code in refused))
        raise MeasurementError(
            f"broker {node_id} does not tell the sizes of logs ({why}): this client needs Describe on the cluster"
        )
    return {
        (name, partition): size
        for _, _, topics in response.log_dirs
        for name, partitions in topics
        for partition, size, _, is_future in partitions
        if not is_future
    }
