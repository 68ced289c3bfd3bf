"""Ask a broker for the ids of topics: a topic that is deleted and made again under its name has another id.

aiokafka 0.14 sends Metadata up to version 5; ids come with version 10 (KIP-516, Kafka 2.8).
"""

from collections.abc import Sequence
from typing import NamedTuple, cast
from uuid import UUID

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

_METADATA_KEY, _VERSION = 3, 10
_LOW_BITS = 2**64 - 1
_ID = (("id_high", Int64), ("id_low", Int64))
_TAGS = ("tags", TaggedFields)


class TopicIdsResponse(Response):  # type: ignore[misc] # aiokafka ships no types
    """Metadata, version 10."""

    API_KEY = _METADATA_KEY
    API_VERSION = _VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(("id", Int32), ("host", CompactString()), ("port", Int32), ("rack", CompactString()), _TAGS),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString()),
                *_ID,
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("in_sync", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        _TAGS,
                    ),
                ),
                ("authorized_operations", Int32),
                _TAGS,
            ),
        ),
        ("authorized_operations", Int32),
        _TAGS,
    )


class TopicIdsRequestStruct(RequestStruct):  # type: ignore[misc] # likewise
    """Metadata, version 10."""

    API_KEY = _METADATA_KEY
    API_VERSION = _VERSION
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = TopicIdsResponse
    SCHEMA = Schema(
        ("topics", CompactArray(*_ID, ("name", CompactString()), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_operations", Boolean),
        ("include_topic_operations", Boolean),
        _TAGS,
    )


class TopicIdsRequest(Request[TopicIdsRequestStruct]):  # type: ignore[misc] # likewise
    """A request for the ids of some topics."""

    API_KEY = _METADATA_KEY

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[TopicIdsRequestStruct]) -> TopicIdsRequestStruct:
        """Return the request in its one version."""
        topics: list[tuple[int, int, str, dict[int, bytes]]] = [(0, 0, name, {}) for name in self._topics]
        return request_struct_class(
            topics=topics,
            allow_auto_topic_creation=False,
            include_cluster_operations=False,
            include_topic_operations=False,
            tags={},
        )


class TopicState(NamedTuple):
    """A topic's id and its number of partitions."""

    topic_id: str
    partitions: int


async def topic_states(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> dict[str, TopicState]:
    """Return the state of each existing topic; none from a broker that has no ids.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    try:
        response = await admin._send_request(TopicIdsRequest(topics))  # noqa: SLF001 - there is no public way
    except (IncompatibleBrokerVersion, NotImplementedError):
        return {}
    return {
        cast("str", name): TopicState(str(UUID(int=((high & _LOW_BITS) << 64) | (low & _LOW_BITS))), len(partitions))
        for code, name, high, low, _, partitions, *_ in response.topics
        if code == 0
    }
