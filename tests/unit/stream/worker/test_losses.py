"""Checks of labels for losses: what an assignment that changes in the middle of a check leaves behind."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from stream.kafka.losses import Start
from stream.settings import Settings
from stream.worker import losses
from stream.worker.losses import InputLosses, LossesDeps

LABELS = TopicPartition("labels", 0)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list["asyncio.Future[Start]"]:
    """The answers of the brokers, one for each check, in order; they arrive when the test resolves them."""
    pending: list[asyncio.Future[Start]] = []

    async def wait(self: InputLosses, tp: TopicPartition) -> Start:  # noqa: ARG001 - a method's signature
        pending.append(asyncio.get_running_loop().create_future())
        return await pending[-1]

    monkeypatch.setattr(losses.InputLosses, "_find_start", wait)
    return pending


def inputs() -> InputLosses:
    deps: Any = SimpleNamespace(settings=Settings(), follower=None, admin=None)
    return InputLosses(LossesDeps(deps.settings, deps.follower, deps.admin, deps, lambda: deps, deps, lambda _: None))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_check_that_ends_after_its_partition_went_away_ends_quietly(
    answers: list["asyncio.Future[Start]"],
) -> None:
    checked = inputs()
    checked.assigned([LABELS])
    await settle()
    checked.assigned([])
    answers[0].set_result(Start(1, 5))
    await settle()
    assert not checked.is_held(LABELS)
    assert checked.log == 0


async def test_a_check_of_the_last_assignment_does_not_release_a_partition_of_this_one(
    answers: list["asyncio.Future[Start]"],
) -> None:
    checked = inputs()
    checked.assigned([LABELS])
    await settle()
    checked.assigned([LABELS])
    await settle()
    answers[0].set_result(Start(1, 5))
    await settle()
    assert checked.is_held(LABELS)
    answers[1].set_result(Start(2, 7))
    await settle()
    assert not checked.is_held(LABELS)
    assert checked.log == 2
