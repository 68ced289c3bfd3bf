"""The comparer of a worker, with a fake challenger process and a fake publisher."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from fraudstream_client.outputs import Decision
from models.commands import CommandKind, Event, EventKind
from models.lineup import Lineup, follow_candidates
from models.problems import ProblemCode
from shadow.errors import ChallengerProcessError
from shadow.process import ChallengerProcess, HeldModel
from shadow.protocol import Compare, CompareResult, Loaded, Setup
from stream.challenger import comparer
from stream.challenger.comparer import Comparer
from stream.challenger.misses import MissLog
from stream.control import model_cache
from stream.control.announcements import CandidateAnswers
from stream.control.follower import Follower
from stream.engine.publisher import Destination, Outgoing
from stream.errors import PublishError
from stream.scoring.facts import Compared, Fact, Missed
from stream.scoring.tracing import NoTracing
from stream.settings import Settings
from support.given_up import give_up
from support.shadow_cases import DIGEST, LIVE, Log, scored, serving

CANDIDATE = "c" * 64
CANDIDATE_EVENT = Event(
    event_id="e",
    deployment="default",
    kind=EventKind.CANDIDATE,
    revision=2,
    worker="judge",
    at="2026-01-01T00:00:00.000Z",
    command_id="c-1",
    command=CommandKind.CHALLENGE,
    model=CANDIDATE,
)


class FakeProcess(ChallengerProcess):
    """A challenger process without a child: it loads and compares everything until `fails` returns true."""

    def __init__(self) -> None:
        super().__init__((), Setup("", "", 0), {})
        self.fails: Callable[[str], bool] = lambda _: False
        self.kept: set[str] = set()
        self.portions: list[int] = []

    async def check(self) -> None:
        await asyncio.sleep(0)

    async def load(self, digest: str) -> Loaded:
        self._fail("load")
        self.loaded[digest] = HeldModel(f"hash of {digest[:4]}", "f")
        return Loaded(*self.loaded[digest])

    async def compare(self, request: Compare, seconds: float) -> CompareResult:
        assert seconds > 0
        self._fail("compare")
        assert request.digest in self.loaded
        count = len(request.scores)
        self.portions.append(count)
        return CompareResult((b"x",) * count, (0.5,) * count, (Decision.REVIEW,) * count, 1, 2)

    async def keep_only(self, digests: Any) -> None:
        self.kept = set(digests)
        self.loaded = {digest: held for digest, held in self.loaded.items() if digest in self.kept}

    async def close(self) -> None:
        self.loaded = {}

    def _fail(self, what: str) -> None:
        if self.fails(what):
            self.loaded = {}
            raise ChallengerProcessError("the challenger's process: it did as it was told")


class Broker(Log):
    """A publisher that keeps comparisons, or raises while it is `away`."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[Outgoing] = []

    async def publish(self, lots: Mapping[Destination, Sequence[Outgoing]]) -> dict[Destination, int]:
        if self.away:
            raise PublishError("away")
        self.published += [one for lot in lots.values() for one in lot]
        return {}


class Scene:
    """A comparer, its fakes, and the facts that it emitted."""

    def __init__(self, queue: int = 4_096) -> None:
        self.facts: list[Fact] = []
        self.process, self.broker = FakeProcess(), Broker()
        settings = Settings(worker_id="w", shadow_queue=queue)
        self.follower = Follower(settings)
        self.comparer = Comparer(settings, self.follower, self.facts.append)
        self.comparer._process = self.process
        self.comparer._publisher = self.broker
        self.comparer._answers = CandidateAnswers(self.follower, self.broker, "w")
        self.comparer._misses = MissLog(self.follower, self.broker, "w", self.facts.append)
        self.follower.lineup = Lineup("default", revision=2, live=LIVE, challenger=DIGEST)

    def offer(self, count: int) -> None:
        self.comparer.offer(scored(count), serving(DIGEST), NoTracing())

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():  # noqa: ASYNC110 - no event signals these conditions
                await asyncio.sleep(0.01)

    def missed(self) -> list[Missed]:
        return [fact for fact in self.facts if isinstance(fact, Missed)]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    made.comparer.start()
    await made.until(lambda: DIGEST in made.process.loaded)
    yield made
    await made.comparer.stop()


async def test_offered_decisions_are_compared_published_and_emitted_as_facts(scene: Scene) -> None:
    scene.offer(600)
    scene.offer(5)
    assert scene.comparer.queued == 605
    await scene.until(lambda: scene.comparer.queued == 0)
    assert len(scene.broker.published) == 605
    assert {(one.value, one.key) for one in scene.broker.published} == {(b"x", b"card-1")}
    assert sum(len(fact.live) for fact in scene.facts if isinstance(fact, Compared)) == 605
    assert scene.broker.events == []


async def test_single_decisions_are_gathered_for_a_moment_into_one_request(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparer, "_GATHER_SECONDS", 0.3)
    for _ in range(5):
        scene.offer(1)
        await asyncio.sleep(0.01)
    await scene.until(lambda: scene.comparer.queued == 0)
    assert scene.process.portions == [5]


async def test_a_full_portion_and_a_stop_wait_for_no_other_decision(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparer, "_GATHER_SECONDS", 600.0)
    scene.offer(1)
    await asyncio.sleep(0.01)
    scene.offer(255)
    await scene.until(lambda: scene.process.portions == [256])
    scene.offer(7)
    await asyncio.sleep(0.01)
    await scene.comparer.stop()
    assert scene.process.portions == [256, 7]


async def test_a_process_failure_fails_all_queued_decisions_and_later_ones_are_skipped(scene: Scene) -> None:
    scene.process.fails = lambda what: what == "compare"
    scene.offer(300)
    await scene.until(lambda: scene.comparer.queued == 0)
    scene.offer(4)
    assert [(one.reason, one.count) for one in scene.missed()] == [("failed", 256), ("failed", 44), ("skipped", 4)]
    await scene.until(lambda: scene.broker.events != [])
    event = scene.broker.events[0]
    assert (event.kind, event.failed) == (EventKind.SHADOW, 256)
    assert "did as it was told" in event.problems[0].detail or "not loaded" in event.problems[0].detail


async def test_comparisons_not_acknowledged_in_time_count_as_failed_and_later_ones_are_published(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparer, "_PUBLISH_SECONDS", 0.05)
    scene.broker.away = True
    scene.offer(3)
    await scene.until(lambda: scene.comparer.queued == 0)
    assert scene.missed() == [Missed(DIGEST, "failed", 3)]
    scene.broker.away = False
    scene.offer(3)
    await scene.until(lambda: len(scene.broker.published) == 3)


async def test_a_request_that_is_given_up_ends_no_comparing(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    compare = scene.process.compare
    scene.process.compare = give_up  # type: ignore[method-assign]
    scene.offer(3)
    await scene.until(lambda: "the client has given up a request" in caplog.text)
    scene.process.compare = compare  # type: ignore[method-assign]
    await scene.until(lambda: DIGEST in scene.process.loaded)
    scene.offer(1)
    await scene.until(lambda: len(scene.broker.published) == 1)


async def test_stopping_compares_all_queued_decisions_and_skips_later_ones() -> None:
    scene = Scene()
    scene.comparer.start()
    await scene.until(lambda: DIGEST in scene.process.loaded)
    scene.offer(1_000)
    await scene.comparer.stop()
    assert len(scene.broker.published) == 1_000
    scene.offer(1)
    assert scene.missed() == [Missed(DIGEST, "skipped", 1)]


async def test_a_candidate_that_ends_the_process_is_answered_not_ready_and_the_challenger_is_loaded_again(
    scene: Scene,
) -> None:
    scene.process.fails = lambda what: what == "load"
    scene.follower.candidates = follow_candidates(scene.follower.candidates, CANDIDATE_EVENT)
    await scene.until(lambda: scene.broker.events != [])
    (answer,) = scene.broker.events
    assert (answer.kind, answer.command_id, answer.worker) == (EventKind.NOT_READY, "c-1", "w")
    assert [problem.code for problem in answer.problems] == [ProblemCode.SHADOW_FAILED]
    scene.process.fails = lambda _: False
    await scene.until(lambda: DIGEST in scene.process.loaded)
    assert len(scene.broker.events) == 1


async def test_a_candidate_is_loaded_beside_the_challenger_and_unloaded_once_its_command_is_settled(
    scene: Scene,
) -> None:
    settled = scene.follower.candidates
    scene.follower.candidates = follow_candidates(settled, CANDIDATE_EVENT)
    await scene.until(lambda: scene.broker.events != [])
    assert (scene.broker.events[0].kind, scene.broker.events[0].probe_hash) == (EventKind.READY, "hash of cccc")
    await scene.until(lambda: scene.process.kept == {DIGEST, CANDIDATE})
    scene.follower.candidates = settled
    await scene.until(lambda: scene.process.kept == {DIGEST})
    scene.follower.lineup = Lineup("default", revision=3, live=LIVE)
    await scene.until(lambda: scene.process.loaded == {})


async def test_a_candidate_that_becomes_the_challenger_while_another_is_loaded_stays_loaded(scene: Scene) -> None:
    """Its command is accepted during an await, when decisions are already queued for it."""
    settled = scene.follower.candidates
    scene.follower.candidates = follow_candidates(settled, CANDIDATE_EVENT)
    await scene.until(lambda: CANDIDATE in scene.process.loaded)

    async def accepted_meanwhile(_command_id: str, _digest: str) -> None:
        await asyncio.sleep(0)
        scene.follower.candidates = settled
        scene.follower.lineup = Lineup("default", revision=3, live=LIVE, challenger=CANDIDATE)
        scene.comparer.offer(scored(3), serving(CANDIDATE), NoTracing())
        scene.comparer._answer = answer  # type: ignore[method-assign]

    answer = scene.comparer._answer
    scene.comparer._answer = accepted_meanwhile  # type: ignore[method-assign]
    scene.follower.candidates = follow_candidates(
        scene.follower.candidates,
        msgspec.structs.replace(CANDIDATE_EVENT, event_id="f", command_id="c-2", model="e" * 64),
    )
    await scene.until(lambda: len(scene.broker.published) == 3)
    assert scene.missed() == []


async def test_a_load_that_raises_is_answered_as_an_internal_error_and_retried_after_a_second(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The background task never pauses, and each of its passes takes a tenth of a second of the clock."""
    now_ms, tried_ms = 0, list[int]()

    async def broken(digest: str) -> Loaded:
        if digest == CANDIDATE:
            tried_ms.append(now_ms)
        raise ZeroDivisionError(f"nothing foresaw what is in {digest}")

    def never_answered(_: object) -> dict[str, str]:
        nonlocal now_ms
        now_ms += 100
        return {"c-1": CANDIDATE}

    monkeypatch.setattr(comparer, "_POLL_SECONDS", 0)
    for module in (comparer, model_cache):
        monkeypatch.setattr(module, "now_ms", lambda: now_ms)
    monkeypatch.setattr(scene.process, "load", broken)
    monkeypatch.setattr(scene.comparer._answers, "unanswered", never_answered)
    scene.follower.candidates = follow_candidates(scene.follower.candidates, CANDIDATE_EVENT)
    await scene.until(lambda: scene.broker.events != [])
    (problem,) = scene.broker.events[0].problems
    detail = "internal error of the worker: ZeroDivisionError"
    assert (problem.code, problem.detail) == (ProblemCode.SHADOW_FAILED, detail)
    await scene.until(lambda: len(tried_ms) > 3)
    assert set(np.diff(tried_ms).tolist()) == {1_000}


async def test_stopping_does_not_wait_for_a_task_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, begun, released = Scene(), asyncio.Event(), asyncio.Event()

    async def lingering() -> None:
        begun.set()
        try:
            await asyncio.sleep(600)
        finally:
            await released.wait()

    monkeypatch.setattr(comparer, "_DRAIN_SECONDS", 0.05)
    monkeypatch.setattr(comparer, "_FINAL_REPORT_SECONDS", 0.05)
    monkeypatch.setattr(scene.comparer, "_run", lingering)
    scene.comparer.start()
    await begun.wait()
    async with asyncio.timeout(2):
        await scene.comparer.stop()
    released.set()
    assert scene.comparer._work is not None
    await asyncio.wait((scene.comparer._work,))
