"""The cache serves the live model that it has loaded, also after it has unloaded other models."""

import asyncio
import threading
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from models.arms import Canary
from models.lineup import Candidate, Candidates, Lineup
from models.loading import Model
from models.problems import Problem, ProblemCode
from stream.control import model_cache
from stream.control.follower import Follower
from stream.control.model_cache import CanaryModel, LoadedModels, ModelCache, ModelLoader
from stream.settings import Settings

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
    assert (serving.live, serving.canary) == (scene.made[LIVE], CanaryModel(scene.made[NEXT], canary))
    assert (serving.challenger, serving.compares, scene.cache.reasons()) == (None, True, [])


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


async def test_an_unexpected_error_of_a_load_ends_the_caches_work(
    scene: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(model_cache, "load", fail)
    live(scene, LIVE)
    with pytest.raises(ExceptionGroup) as raised:
        await scene.cache.run()
    assert raised.group_contains(ZeroDivisionError)
