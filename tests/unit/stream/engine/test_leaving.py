"""A member that leaves tells its coordinator at once, also where a rebalance waits for somebody else."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.group import LeaveGroupRequest

from stream.engine import coordination
from stream.engine.coordination import leave_group

NODE = 3


class Coordinator:
    """A consumer's coordinator, whose `close` waits for an answer to the request to join."""

    def __init__(self, *, is_joining: bool, member: str = "member-1") -> None:
        self.group_id, self.member_id, self.coordinator_id = "fraudstream", member, NODE
        self.joined = asyncio.Event()
        self.ended = ""
        if not is_joining:
            self.joined.set()

    async def close(self) -> None:
        try:
            await self.joined.wait()
            self.ended = "closed"
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise


class Client:
    """A client whose broker drops the member that leaves, and so answers its request to join."""

    def __init__(self, coordinator: Coordinator, *, answers: bool = True) -> None:
        self._coordinator, self._answers = coordinator, answers
        self.sent: list[tuple[int, Any]] = []

    async def send(self, node: int, request: LeaveGroupRequest) -> None:
        self.sent.append((node, request))
        if not self._answers:
            raise KafkaConnectionError
        self._coordinator.joined.set()


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordination, "_JOIN_SECONDS", 0.02)


async def test_outside_a_rebalance_the_consumers_coordinator_leaves() -> None:
    coordinator = Coordinator(is_joining=False)
    client = Client(coordinator)
    await leave_group(coordinator, client, is_static=False)
    assert (coordinator.ended, client.sent) == ("closed", [])


async def test_in_a_rebalance_that_waits_the_groups_coordinator_is_told_on_another_connection() -> None:
    coordinator = Coordinator(is_joining=True)
    client = Client(coordinator)
    await leave_group(coordinator, client, is_static=False)
    ((node, request),) = client.sent
    assert (node, request._group, request._member_id) == (NODE, "fraudstream", "member-1")
    assert coordinator.ended == "closed"


@pytest.mark.parametrize("kind", ["static", "not a member yet"])
async def test_who_has_nothing_to_leave_ends_after_a_moment(kind: str) -> None:
    coordinator = Coordinator(is_joining=True, member="member-1" if kind == "static" else "")
    client = Client(coordinator)
    await leave_group(coordinator, client, is_static=kind == "static")
    assert (coordinator.ended, client.sent) == ("cancelled", [])


async def test_a_coordinator_that_does_not_answer_is_told_of() -> None:
    coordinator = Coordinator(is_joining=True)
    with pytest.raises(KafkaConnectionError):
        await leave_group(coordinator, Client(coordinator, answers=False), is_static=False)
    assert coordinator.ended == "cancelled"


async def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    coordinator = Coordinator(is_joining=True)
    waiting = asyncio.create_task(leave_group(coordinator, Client(coordinator), is_static=True))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert (waiting.cancelled(), coordinator.ended) == (True, "cancelled")
