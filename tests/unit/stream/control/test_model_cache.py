"""The cache serves the live model that it has loaded, also after it has unloaded other models."""

import asyncio
import hashlib
import threading
from collections.abc import Mapping
from contextlib import suppress
from copy import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from models.arms import Arm, Canary, Split
from models.lineup import Candidate, Candidates, Lineup
from models.loading import Model
from models.problems import Problem, ProblemCode
from stream.control import model_cache
from stream.control.follower import Follower
from stream.control.model_cache import ArmModels, LoadedModels, ModelCache, ModelLoader
from stream.settings import Settings
from support.hashed_cards import OTHER_KEY, exclusion_key, hashed

LIVE, NEXT = "a" * 64, "b" * 64


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Follow a lineup without Kafka, and load models without a repository."""
    made = {digest: object.__new__(Model) for digest in (LIVE, NEXT)}
    for digest, model in made.items():
        model.manifest, model.digest, model.probe_hash = (
            SimpleNamespace(name="card", version="1", fingerprint="f"),
            digest,
            "h",
        )  # type: ignore[assignment]
    missing = (Problem(ProblemCode.MISSING_ARTIFACT, "none"),)
    monkeypatch.setattr(model_cache, "load", lambda _repository, digest, _computed: made.get(digest, missing))
    follower = Follower(Settings())
    follower.caught_up = True
    models = LoadedModels(follower)
    loader = ModelLoader(None, {}, "w-1")  # type: ignore[arg-type] - nothing is read
    cache = ModelCache(follower, models, loader, None)  # type: ignore[arg-type] - nothing is published
    return SimpleNamespace(follower=follower, models=models, cache=cache, made=made)


async def run_once(scene: SimpleNamespace) -> None:
    """Run one iteration of the cache's loop, and a second one when its loads are done."""
    for _ in range(2):
        await look_once(scene)


async def look_once(scene: SimpleNamespace) -> None:
    looked = asyncio.Event()

    async def wait_for_ever(_seconds: float) -> None:
        looked.set()
        await asyncio.Event().wait()

    scene.follower.wait_for_change = wait_for_ever
    work = asyncio.create_task(scene.cache.run())
    await looked.wait()
    if scene.cache._running:
        await asyncio.wait(scene.cache._running.values())
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work


def live(scene: SimpleNamespace, digest: str | None, before: str | None = None) -> None:
    scene.follower.lineup = Lineup("default", 7, digest, previous=(before,) if before else ())


async def test_the_cache_serves_the_live_model_and_its_fallback_and_unloads_all_others(
    scene: SimpleNamespace,
) -> None:
    assert scene.models.serving() is None
    for digest, before in ((None, None), (LIVE, None), (NEXT, LIVE), (NEXT, None), (LIVE, None)):
        live(scene, digest, before)
        await run_once(scene)
        serving = scene.models.serving()
        expected = (digest and scene.made[digest], before and scene.made[before])
        assert ((serving and serving.live), (serving and serving.fallback)) == expected
        assert [one for one in (LIVE, NEXT) if one in scene.models] == sorted(filter(None, (digest, before)))


async def test_a_live_model_that_cannot_be_loaded_is_not_served_and_is_reported_as_the_reason(
    scene: SimpleNamespace,
) -> None:
    live(scene, "c" * 64)
    await run_once(scene)
    assert scene.models.serving() is None
    assert "none" in scene.cache.reasons()[0]


async def test_a_canary_is_served_beside_live_only_once_its_model_is_loaded(scene: SimpleNamespace) -> None:
    canary = Canary(NEXT, 100, "s")
    scene.follower.lineup = Lineup("default", 7, LIVE, canary=canary)
    scene.models.add(LIVE, scene.made[LIVE])
    assert scene.models.serving() is None
    assert scene.cache.reasons() == [f"revision 7 needs model {NEXT[:12]}: loading"]
    await run_once(scene)
    serving = scene.models.serving()
    assert (serving.live, serving.canary) == (scene.made[LIVE], scene.made[NEXT])
    assert serving.arms == ArmModels({"canary": scene.made[NEXT]}, canary.split)
    assert (serving.challenger, serving.compares, scene.cache.reasons()) == (None, True, [])


async def test_a_split_is_served_only_once_the_models_of_all_its_arms_are_loaded(scene: SimpleNamespace) -> None:
    third = scene.made["c" * 64] = copy(scene.made[NEXT])
    split = Split((Arm("a", NEXT, 100), Arm("b", "c" * 64, 100), Arm("control", LIVE, 100)), "s")
    scene.follower.lineup = Lineup("default", 7, LIVE, split=split)
    for digest in (LIVE, NEXT):
        scene.models.add(digest, scene.made[digest])
        assert scene.models.serving() is None
    assert scene.cache.reasons() == [f"revision 7 needs model {'c' * 12}: loading"]
    await run_once(scene)
    serving = scene.models.serving()
    models = {"a": scene.made[NEXT], "b": third, "control": scene.made[LIVE]}
    assert serving.arms == ArmModels(models, split)
    assert (serving.canary, serving.compares, scene.cache.reasons()) == (None, False, [])
    assert (serving.of_arm("b"), serving.of_arm("live")) == (third, None)


@pytest.mark.parametrize("key", [b"", OTHER_KEY], ids=["no key", "another key"])
async def test_nobody_decides_while_excluded_cards_are_not_known_and_the_reason_says_so(
    scene: SimpleNamespace, key: bytes
) -> None:
    split = Split((Arm("a", NEXT, 100),), "s", hashed("card-1"))
    for digest in (LIVE, NEXT):
        scene.models.add(digest, scene.made[digest])
    with exclusion_key(key):
        scene.follower.lineup = Lineup("default", 7, LIVE, split=split)
        assert scene.models.serving() is None
        (reason,) = scene.cache.reasons()
    assert reason.startswith("revision 7: 1 excluded cards are hashed with ")
    assert "set FRAUDSTREAM_HASH_KEY_FILE" in reason
    with exclusion_key():
        scene.follower.lineup = Lineup("default", 8, LIVE, split=split)
        assert scene.models.serving().arms.split == split
        assert scene.cache.reasons() == []


class Answers:
    """What the cache answers, by command."""

    def __init__(self) -> None:
        self.outcomes: dict[str, tuple[str | None, object]] = {}

    def unanswered(self, candidates: Mapping[str, Any]) -> dict[str, Any]:
        return {name: one for name, one in candidates.items() if name not in self.outcomes}

    async def answer(self, command_id: str, model: str | None, outcome: object) -> None:
        self.outcomes[command_id] = model, outcome


async def test_the_candidates_of_a_split_are_answered_at_once_with_a_hash_over_all_of_them(
    scene: SimpleNamespace,
) -> None:
    live(scene, LIVE)
    answers = scene.cache._answers = Answers()
    both, one = frozenset({LIVE, NEXT}), frozenset({LIVE, "c" * 64, "d" * 64})
    pending = {"c-1": Candidate(None, arms=both), "c-2": Candidate(None, arms=one), "c-3": Candidate(NEXT)}
    scene.follower.candidates = Candidates("default", pending)
    await run_once(scene)
    expected = hashlib.sha256(f"{LIVE} h\n{NEXT} h\n".encode()).hexdigest()
    assert (answers.outcomes["c-1"], answers.outcomes["c-3"]) == ((None, expected), (NEXT, "h"))
    model, problems = answers.outcomes["c-2"]
    assert model is None
    assert [problem.detail for problem in problems] == [  # type: ignore[attr-defined]
        f"model {'c' * 12}: none",
        f"model {'d' * 12}: none",
    ]


async def test_a_model_that_the_repository_does_not_return_delays_no_other(
    scene: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hanging fetch held up all later loads, and so the answers for candidates of other commands."""
    hanging, released, load = "d" * 64, threading.Event(), model_cache.load
    answered: asyncio.Queue[str] = asyncio.Queue()

    def load_or_hang(repository: Any, digest: str, computed: Any) -> Any:
        assert digest != hanging or released.wait(10), "it is released at the end"
        return load(repository, digest, computed)

    async def answer(command_id: str, _digest: str, _outcome: object) -> None:
        scene.follower.candidates.pending.pop(command_id)
        answered.put_nowait(command_id)

    monkeypatch.setattr(model_cache, "load", load_or_hang)
    monkeypatch.setattr(scene.cache._answers, "answer", answer)
    live(scene, LIVE)
    scene.follower.candidates = Candidates("default", {"c-1": Candidate(hanging), "c-2": Candidate(NEXT)})
    work = asyncio.create_task(scene.cache.run())
    async with asyncio.timeout(5):
        assert await answered.get() == "c-2"
        assert scene.models.get(NEXT) is not None
        released.set()
        assert await answered.get() == "c-1"
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work


@pytest.mark.parametrize("loads", [True, False], ids=["it can be loaded", "it cannot"])
async def test_a_worker_waits_for_the_live_model_until_it_is_loaded_or_cannot_be(
    scene: SimpleNamespace, *, loads: bool
) -> None:
    live(scene, LIVE if loads else "e" * 64)
    work = asyncio.create_task(scene.cache.run())
    async with asyncio.timeout(5):
        await scene.cache.await_loaded(60)
    assert (scene.models.serving() is not None) is loads
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work


async def test_what_serves_follows_each_change_of_the_lineup_and_of_the_models_and_the_end_of_a_watch(
    scene: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100]
    monkeypatch.setattr(model_cache, "now_ms", lambda: now[0])
    scene.follower.lineup = Lineup("default", 7, NEXT, previous=(LIVE,), challenger=LIVE, watched_until_ms=200)
    scene.models.add(NEXT, scene.made[NEXT])
    first = scene.models.serving()
    assert (first.live, first.fallback, first.challenger) == (scene.made[NEXT], None, LIVE)
    assert scene.models.serving() is first
    scene.models.add(LIVE, scene.made[LIVE])
    assert scene.models.serving().fallback is scene.made[LIVE]
    now[0] = 200
    assert scene.models.serving().challenger is None
    now[0] = 199
    assert scene.models.serving().challenger == LIVE
    scene.follower.lineup = replace(scene.follower.lineup, revision=8)
    assert scene.models.serving().revision == 8
    scene.models.keep_only({LIVE})
    assert scene.models.serving() is None
    scene.models.add(NEXT, scene.made[NEXT])
    scene.follower.caught_up = False
    assert scene.models.serving() is None
