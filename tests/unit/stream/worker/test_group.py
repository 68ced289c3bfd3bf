"""The fleet is mixed while a member of the group is of a version that does not count attempts, or may be."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import GroupCoordinatorNotAvailableError

from stream.kafka.client import Member
from stream.settings import Settings
from stream.worker import group
from stream.worker.group import GroupCheck

OURS, BEFORE, STRANGER = Member("a", "default", attempts=True), Member("b", "default"), Member("console", "")


class Coordinator:
    """Returns the members of the group once it is in service."""

    def __init__(self, *members: Member) -> None:
        self.members = frozenset(members)
        self.failures = 0
        self.in_service = asyncio.Event()
        self.in_service.set()

    async def __call__(self, *_: object) -> frozenset[Member]:
        await self.in_service.wait()
        if self.failures:
            self.failures -= 1
            raise GroupCoordinatorNotAvailableError
        return self.members


@pytest.fixture
def coordinator(monkeypatch: pytest.MonkeyPatch) -> Coordinator:
    made = Coordinator(OURS)
    monkeypatch.setattr(group, "members_of", made)
    monkeypatch.setattr(group, "_RETRY_SECONDS", 0)
    return made


def checked() -> GroupCheck:
    unused: Any = None
    return GroupCheck(Settings(), unused)


@pytest.mark.parametrize(
    ("members", "mixed"), [((), False), ((OURS,), False), ((OURS, BEFORE), True), ((OURS, STRANGER), True)]
)
async def test_a_fleet_is_mixed_while_a_member_announces_no_attempts(
    coordinator: Coordinator, members: tuple[Member, ...], *, mixed: bool
) -> None:
    coordinator.members, check = frozenset(members), checked()
    assert check.is_mixed, "as long as nothing is known"
    check.assigned()
    await check.settle()
    assert check.is_mixed is mixed
    assert list(check.names_of("w")) == (["w", "w@attempts"] if mixed else ["w"])


async def test_the_members_of_an_assignment_are_waited_for_although_the_coordinator_fails(
    coordinator: Coordinator,
) -> None:
    check = checked()
    coordinator.failures = 3
    coordinator.in_service.clear()
    check.assigned()
    settling = asyncio.create_task(check.settle())
    await asyncio.sleep(0)
    assert not settling.done()
    coordinator.in_service.set()
    await settling
    assert not check.is_mixed


async def test_a_later_assignment_is_looked_at_anew(coordinator: Coordinator) -> None:
    check = checked()
    check.assigned()
    await check.settle()
    coordinator.in_service.clear()
    coordinator.members |= {BEFORE}
    check.assigned()
    check.assigned()
    coordinator.in_service.set()
    await check.settle()
    assert check.is_mixed
