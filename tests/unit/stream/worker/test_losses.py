"""Checks of labels for losses: what an assignment that changes in the middle of a check leaves behind."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from models.judge import InputTopic
from models.logs import Logs
from stream.kafka.batches import Commit
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


async def test_a_consumer_whose_offset_is_not_there_is_moved_once_and_each_commit_then_names_the_topic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rewound = []

    async def states(*_: object) -> dict[TopicPartition, InputTopic]:
        return {LABELS: InputTopic("id", 0, 20)}

    async def committed(*_: object) -> dict[TopicPartition, Commit]:
        return {LABELS: Commit(0, "id")}

    async def rewind(tp: TopicPartition, offset: int) -> None:
        rewound.append((tp, offset))

    monkeypatch.setattr(losses, "input_states", states)
    monkeypatch.setattr(losses, "committed_offsets", committed)
    deps: Any = SimpleNamespace(settings=Settings(), logs=Logs(), rewind=rewind)
    checked = InputLosses(LossesDeps(deps.settings, deps, deps, deps, lambda: deps, deps, lambda _: None))
    checked.assigned([LABELS])
    await settle()
    assert (rewound, LABELS in checked.held, checked.label_note(0)) == ([], False, "id")
    assert await checked.examine(LABELS, 60) == "it holds no offset 60"
    await settle()
    assert (rewound, LABELS in checked.held) == ([(LABELS, 0)], False)
    checked.assigned([LABELS])
    await settle()
    assert rewound == [(LABELS, 0)]


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
    assert LABELS not in checked.held
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
    assert LABELS in checked.held
    answers[1].set_result(Start(2, 7))
    await settle()
    assert LABELS not in checked.held
    assert checked.log == 2
