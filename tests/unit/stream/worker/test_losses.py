"""Checks of labels for losses: what an assignment that changes in the middle of a check leaves behind."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import NodeNotReadyError

from models.judge import InputTopic
from models.logs import Logs
from stream.engine.batches import Commit
from stream.positions.losses import Start
from stream.settings import Settings
from stream.tasks import end_tasks
from stream.worker import losses
from stream.worker.losses import InputLosses
from support.input_losses import losses_of

LABELS = TopicPartition("labels", 0)
ID = "00000000-0000-0000-0000-000000000001"


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list["asyncio.Future[Start]"]:
    """The answers of the brokers, one for each check, in order; they arrive when the test resolves them."""
    pending: list[asyncio.Future[Start]] = []

    async def look(_: InputLosses, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, None]:
        return dict.fromkeys(partitions)

    async def wait(self: InputLosses, tp: TopicPartition, seen: object) -> Start:  # noqa: ARG001 - a method's signature
        pending.append(asyncio.get_running_loop().create_future())
        return await pending[-1]

    monkeypatch.setattr(losses.InputLosses, "_look", look)
    monkeypatch.setattr(losses.InputLosses, "_find_start", wait)
    return pending


def inputs() -> InputLosses:
    deps: Any = SimpleNamespace(settings=Settings(), follower=None, admin=None)
    return losses_of(deps.follower, deps, settings=deps.settings, admin=deps.admin, positions=deps, copies=deps)


async def test_a_consumer_whose_offset_is_not_there_is_moved_once_and_each_commit_then_names_the_topic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rewound = []

    async def states(*_: object) -> dict[TopicPartition, InputTopic]:
        return {LABELS: InputTopic(ID, 0, 20)}

    async def committed(*_: object) -> dict[TopicPartition, Commit]:
        return {LABELS: Commit(0, ID)}

    async def rewind(tp: TopicPartition, offset: int) -> None:
        rewound.append((tp, offset))

    monkeypatch.setattr(losses, "input_states", states)
    monkeypatch.setattr(losses, "committed_offsets", committed)
    deps: Any = SimpleNamespace(settings=Settings(), logs=Logs(), rewind=rewind)
    checked = losses_of(deps, deps, settings=deps.settings, admin=deps, positions=deps, copies=deps)
    checked.assigned([LABELS])
    await settle()
    assert (rewound, LABELS in checked.held, checked.label_note(0)) == ([], False, ID)
    assert await checked.examine(LABELS, 60) == "it holds no offset 60"
    await settle()
    assert (rewound, LABELS in checked.held) == ([(LABELS, 0)], False)
    checked.assigned([LABELS])
    await settle()
    assert rewound == [(LABELS, 0)]


@pytest.mark.parametrize("away", [set[int](), {1}], ids=["all brokers answer", "one is away"])
async def test_partitions_are_checked_by_the_same_requests_and_alone_where_a_broker_is_away(
    monkeypatch: pytest.MonkeyPatch, away: set[int]
) -> None:
    asked: list[list[int]] = []

    async def states(_settings: Settings, _admin: object, tps: Sequence[TopicPartition]) -> dict[Any, InputTopic]:
        asked.append([tp.partition for tp in tps])
        if away & {tp.partition for tp in tps}:
            raise NodeNotReadyError
        return {tp: InputTopic(ID, 0, 20) for tp in tps}

    async def committed(_settings: Settings, _admin: object, tps: list[TopicPartition]) -> dict[Any, Commit]:
        return {tp: Commit(0, ID) for tp in tps}

    async def wait_for_change(_seconds: float) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(losses, "input_states", states)
    monkeypatch.setattr(losses, "committed_offsets", committed)
    deps: Any = SimpleNamespace(settings=Settings(), logs=Logs(), wait_for_change=wait_for_change)
    checked = losses_of(deps, deps, settings=deps.settings, admin=deps, positions=deps, copies=deps)
    own = [TopicPartition("labels", number) for number in range(3)]
    checked.assigned(own)
    await settle()
    assert {tp.partition for tp in checked.held} == away
    assert asked == ([[0, 1, 2], [0], [1], [2]] if away else [[0, 1, 2]])
    await end_tasks(*checked._tasks)


async def settle() -> None:
    for _ in range(10):
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
