"""Whoever waits for a verdict is told if no worker is there to give one, and never told so wrongly."""

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, GroupCoordinatorNotAvailableError, KafkaError

from stream.control import client as sender
from stream.control.client import tell_if_unjudged
from stream.kafka import client
from stream.settings import Settings

SETTINGS = Settings(deployment="green")
WORKER: frozenset[str] = frozenset({"w-1"})
EMPTY: frozenset[str] = frozenset()


class Coordinator:
    """Answers each question for the group's workers with the next of some answers, the last one for ever."""

    def __init__(
        self, answers: Sequence[frozenset[str] | KafkaError], looks: int = 100, start: KafkaError | None = None
    ) -> None:
        self.asked = 0
        self.enough = asyncio.Event()
        self.closed = False
        self._answers = answers
        self._looks = looks
        self._start = start

    async def start(self) -> None:
        if self._start is not None:
            raise self._start

    async def close(self) -> None:
        self.closed = True

    async def members(self, _admin: object, _settings: Settings) -> frozenset[str]:
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        if self.asked == self._looks:
            self.enough.set()
        if isinstance(answer, KafkaError):
            raise answer
        return answer


async def told(monkeypatch: pytest.MonkeyPatch, coordinator: Coordinator) -> list[str]:
    """Return what is told until it has ended, or the group was asked often enough."""
    monkeypatch.setattr(client, "AIOKafkaAdminClient", lambda **_: coordinator)
    monkeypatch.setattr(sender, "group_members", coordinator.members)
    monkeypatch.setattr(sender, "_BETWEEN_SECONDS", 0.0)
    said: list[str] = []
    telling = asyncio.create_task(tell_if_unjudged(SETTINGS, 0.0, said.append))
    enough = asyncio.create_task(coordinator.enough.wait())
    await asyncio.wait({telling, enough}, return_when=asyncio.FIRST_COMPLETED)
    for task in (telling, enough):
        task.cancel()
    await asyncio.gather(telling, enough, return_exceptions=True)
    assert coordinator.closed
    return said


async def test_an_empty_group_is_told_once_with_what_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    (said,) = await told(monkeypatch, Coordinator([EMPTY]))
    assert said.startswith("no worker of deployment green is in the group fraudstream-green, so nobody judges ")
    assert said.endswith("start one by `fraudstream worker`")


async def test_a_group_with_a_worker_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await told(monkeypatch, Coordinator([WORKER], looks=20)) == []


async def test_a_worker_that_left_or_whose_session_timed_out_meanwhile_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(await told(monkeypatch, Coordinator([WORKER, WORKER, EMPTY, EMPTY]))) == 1


@pytest.mark.parametrize("between", [WORKER, GroupCoordinatorNotAvailableError()])
async def test_a_single_look_that_finds_no_worker_is_not_told(
    between: frozenset[str] | KafkaError, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await told(monkeypatch, Coordinator([EMPTY, between, EMPTY, between, WORKER], looks=20)) == []


async def test_without_the_right_to_see_the_group_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator = Coordinator([GroupAuthorizationFailedError()])
    assert await told(monkeypatch, coordinator) == []
    assert coordinator.asked == 1


async def test_without_a_broker_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator = Coordinator([EMPTY], start=KafkaError())
    assert await told(monkeypatch, coordinator) == []
    assert coordinator.asked == 0
