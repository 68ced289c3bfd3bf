"""A client in place of aiokafka's own that waits long only where a rebalance may take long."""

from contextvars import ContextVar
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup

from stream.kafka.client import REQUEST_TIMEOUT_MS
from stream.kafka.commit_reads import require_commits

_COORDINATES = ContextVar("coordinates", default=False)


class BriskClient(AIOKafkaClient):  # type: ignore[misc] # aiokafka ships no types
    """A client that waits long only for the group's coordinator, where a rebalance may take that long.

    A broker that is hung answers neither fetches nor requests for metadata; with one timeout for all, each attempt at
    it would hold up the partitions of all brokers for as long as a rebalance may take.
    """

    @classmethod
    def of(cls, client: AIOKafkaClient) -> "BriskClient":
        """Return a client in place of another one that was not used yet: aiokafka has no way to pass one."""
        brisk: BriskClient = cls.__new__(cls)
        brisk.__dict__.update(client.__dict__)
        return brisk

    @property
    def _request_timeout_ms(self) -> int:
        """How long to wait on a connection that is made now."""
        whole: int = self.__dict__["_request_timeout_ms"]
        return whole if _COORDINATES.get() else min(whole, REQUEST_TIMEOUT_MS)

    async def _get_conn(self, node_id: int, **options: Any) -> Any:  # noqa: ANN401 - aiokafka's
        token = _COORDINATES.set(options.get("group") is ConnectionGroup.COORDINATION)
        try:
            return await super()._get_conn(node_id, **options)
        finally:
            _COORDINATES.reset(token)

    async def send(self, node_id: int, request: Any, **options: Any) -> Any:  # noqa: ANN401 - aiokafka's
        """Send a request; an answer without the commits that were asked for is an error."""
        answer = await super().send(node_id, request, **options)
        require_commits(request, answer)
        return answer
