"""A worker answers whether it could publish: not while it is not ready, repairs histories, or is too far behind."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from fraudstream_client.validity import place_of
from models.commands import CommandKind, EventKind
from models.problems import ProblemCode
from stream.control.follower import Follower
from stream.settings import Settings
from stream.worker.cut_over import FAR_BEHIND, CutOverAnswers, PublishingGates
from support.control_events import MODELS, event
from support.shadow_cases import Log


class Worker:
    """A worker with two partitions of a silent deployment, each read up to offset 5,000 of log 0."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.incomplete = False
        self.places: dict[int, int | None] = {0: place_of(0, 4_999), 1: place_of(0, 4_999)}
        self.publishes = False
        self.log = 0

    def gates(self) -> PublishingGates:
        positions: Any = SimpleNamespace(
            topic="transactions", partitions={0, 1}, log=self.log, role=SimpleNamespace(publishes=self.publishes)
        )
        published: Any = SimpleNamespace(last_place=self.places.get)
        consumer: Any = SimpleNamespace(finished_offsets=lambda _topic: {0: 5_000, 1: 5_000})
        return PublishingGates(lambda: self.reasons, lambda: self.incomplete, positions, published, lambda: consumer)


def test_a_worker_that_is_ready_whole_and_caught_up_could_publish() -> None:
    assert Worker().gates().problems() == ()


def test_each_reason_for_not_being_ready_is_a_problem_and_so_is_a_repair() -> None:
    worker = Worker()
    worker.reasons, worker.incomplete = ["Redis: gone", "no model is live"], True
    problems = worker.gates().problems()
    assert [problem.code for problem in problems] == [ProblemCode.NOT_READY] * 3
    assert [problem.detail for problem in problems][:2] == worker.reasons
    assert "repair" in problems[2].detail


@pytest.mark.parametrize(("behind", "count"), [(FAR_BEHIND, 0), (FAR_BEHIND + 1, 1)])
def test_a_partition_far_behind_what_is_published_is_a_problem(behind: int, count: int) -> None:
    worker = Worker()
    worker.places[1] = place_of(0, 4_999 + behind)
    problems = worker.gates().problems()
    assert [problem.code for problem in problems] == [ProblemCode.FAR_BEHIND] * count
    assert all(f"partition 1: {behind} payments behind" in problem.detail for problem in problems)


def test_a_partition_whose_published_scores_are_not_read_or_are_of_a_later_log_is_a_problem() -> None:
    worker = Worker()
    worker.places = {0: None, 1: place_of(1, 2_000)}
    problems = worker.gates().problems()
    assert [problem.code for problem in problems] == [ProblemCode.FAR_BEHIND] * 2
    worker.publishes = True
    assert worker.gates().problems() == (), "what is published is its own"


async def test_it_answers_a_hand_over_once_with_the_probe_hash_or_with_its_problems() -> None:
    worker, log, follower = Worker(), Log(), Follower(Settings(deployment="green"))
    models: Any = {MODELS[0]: SimpleNamespace(probe_hash="b" * 64)}

    def ask(name: str, model: str) -> None:
        about = {"deployment": "green", "command_id": name, "command": CommandKind.CUT_OVER, "model": model}
        follower.log.fold.add(b"", event("candidate", 1, name, **about))
        follower.candidates = follower.log.fold.candidates

    answers = CutOverAnswers(follower, models, log, "w-1", worker.gates())  # type: ignore[arg-type]
    ask("c-1", MODELS[0])
    ask("c-2", MODELS[1])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(answers.run(), 0.2)
    first, second = log.events
    assert (first.kind, first.command_id, first.probe_hash) == (EventKind.READY, "c-1", "b" * 64)
    assert (second.kind, [one.code for one in second.problems]) == (EventKind.NOT_READY, [ProblemCode.NOT_READY])
    assert "is not loaded" in second.problems[0].detail
