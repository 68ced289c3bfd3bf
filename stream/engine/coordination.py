"""How a consumer speaks with its group's coordinator: it waits for it long, tells its refusals, and leaves at once.

Whatever ends a worker, its group is left, also in the midst of a rebalance, by aiokafka's coordinator and past it: the
steps before it are made one by one, and one that raises is logged.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import KafkaError, NoError, for_code
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.group import LeaveGroupRequest

from stream.kafka.client import REQUEST_TIMEOUT_MS
from stream.kafka.stray import given_up_as_error

log = logging.getLogger("fraudstream.coordination")

_JOIN_SECONDS = 1.0
"""So long a member that leaves takes part in a rebalance that has begun, before it leaves in its midst."""
_TOLD_SECONDS = 10.0
"""So often a warning tells of requests that are refused on and on; outages that end sooner need nobody."""
_APART_SECONDS = 60.0
"""Refusals so far apart are of two requests: aiokafka asks again within its request timeout of 40 s."""
_COORDINATES = ContextVar("coordinates", default=False)


def require_commits(request: Any, answer: Any) -> None:  # noqa: ANN401 - aiokafka ships no types
    """Raise the error of an answer to a request for commits, if it has one of its own, as while a coordinator moves.

    aiokafka looks at the errors of single partitions only, and would take such an answer for a group that never
    committed: the consumer would read its partitions again from their beginnings.

    Raises:
        aiokafka.errors.KafkaError: the coordinator did not return the commits; one that helps to ask again says so.
    """
    error = for_code(getattr(answer, "error_code", 0)) if isinstance(request, OffsetFetchRequest) else NoError
    if error is not NoError:
        raise error("the coordinator did not return the commits of the group")


def error_of(answer: Any) -> str:  # noqa: ANN401 - aiokafka ships no types
    """Return the names of the errors in the answer to a commit or to a search for the coordinator; empty if none."""
    if hasattr(answer, "error_code"):
        codes = {answer.error_code}
    else:
        codes = {code for _, partitions in answer.topics for _, code in partitions}
    return ", ".join(sorted(for_code(code).__name__ for code in codes if code))


class Refusals:
    """Tells of a request that is refused for long: aiokafka repeats some for ever, and says so at INFO only."""

    def __init__(self, told: str, advice: str) -> None:
        self._told, self._advice = told, advice
        self._began: float | None = None
        self._last = self._tells_at = 0.0

    def note(self, error: str, now: float) -> None:
        """Note an answer by its error, empty if it has none, at the seconds `now` of a clock that never steps."""
        began, last, self._last = self._began, self._last, now
        if not error:
            self._began = None
            if began is not None and self._tells_at > began + _TOLD_SECONDS:
                log.info("that is over after %.0f s: %s", now - began, self._told)
        elif began is None or now - last > _APART_SECONDS:
            self._began, self._tells_at = now, now + _TOLD_SECONDS
        elif now >= self._tells_at:
            self._tells_at = now + _TOLD_SECONDS
            log.warning("%s for %.0f s (%s), and is asked on; %s", self._told, now - began, error, self._advice)


class BriskClient(AIOKafkaClient):  # type: ignore[misc] # aiokafka ships no types
    """A client that waits long only for the group's coordinator, where a rebalance may take that long.

    A broker that is hung answers neither fetches nor requests for metadata; with one timeout for all, each attempt at
    it would hold up the partitions of all brokers for as long as a rebalance may take. It also tells of commits that
    are refused for long.
    """

    _refusals: Mapping[type, Refusals]

    @classmethod
    def of(cls, client: AIOKafkaClient) -> "BriskClient":
        """Return a client in place of another one that was not used yet: aiokafka has no way to pass one."""
        brisk: BriskClient = cls.__new__(cls)
        brisk.__dict__.update(client.__dict__)
        brisk._refusals = {
            OffsetCommitRequest: Refusals(
                "the group's coordinator has taken no commit",
                "payments are decided meanwhile: look for __consumer_offsets in the brokers' logs",
            ),
            FindCoordinatorRequest: Refusals(
                "no broker has named the group's coordinator",
                "nothing is committed or taken over: are enough brokers up for __consumer_offsets?",
            ),
        }
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
        refusals = self._refusals.get(type(request))
        try:
            answer = await super().send(node_id, request, **options)
        except KafkaError as error:
            if refusals is not None:
                refusals.note(f"no answer: {error!r}", time.monotonic())
            raise
        if refusals is not None:
            refusals.note(error_of(answer), time.monotonic())
        require_commits(request, answer)
        return answer


async def leave_group(coordinator: Any, client: Any, *, is_static: bool) -> None:  # noqa: ANN401 - aiokafka's
    """Close a consumer's coordinator, which tells the group's that the member leaves, unless it is a static one.

    A rebalance that waits for another member leaves the request to join unanswered, and its connection blocked. Then
    the group's coordinator is told on the connection for records: it would count on this member otherwise, and if it is
    the one that assigns, all partitions would stand still until its session ends.

    Raises:
        aiokafka.errors.KafkaError: the group's coordinator does not respond.
    """
    closing = asyncio.create_task(coordinator.close())
    try:
        await asyncio.wait({closing}, timeout=_JOIN_SECONDS)
        node, member = coordinator.coordinator_id, coordinator.member_id
        if not closing.done() and member and node is not None and not is_static:
            await client.send(node, LeaveGroupRequest(coordinator.group_id, member))
            await asyncio.wait({closing}, timeout=_JOIN_SECONDS)
    finally:
        closing.cancel()  # where it has not ended, the consumer's own stop goes on from there
        await asyncio.wait({closing})
    if not closing.cancelled():
        closing.result()


async def do_all(*steps: Callable[[], Awaitable[object]]) -> None:
    """Take the steps of a worker's end in their order; log what one of them raises, and go on with the next."""
    for step in steps:
        try:
            with given_up_as_error():
                await step()
        except Exception:  # whatever it is, the worker ends anyway, and the other steps do not depend on this one
            log.exception("a step of this worker's end failed, the others follow")
