"""The cache serves the live model that it has loaded, also after it has unloaded other models."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace

import pytest

from models.loading import Model
from models.problems import Problem, ProblemCode
from stream.control import model_cache
from stream.control.follower import Follower
from stream.control.model_cache import LoadedModels, ModelCache, ModelLoader
from stream.settings import Settings

LIVE, NEXT = "a" * 64, "b" * 64


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Follow a lineup without Kafka, and load models without a repository."""
    made = {digest: object.__new__(Model) for digest in (LIVE, NEXT)}
    for digest, model in made.items():
        model.manifest, model.digest = SimpleNamespace(name="card", version="1"), digest  # type: ignore[assignment]
    missing = (Problem(ProblemCode.MISSING_ARTIFACT, "none"),)
    monkeypatch.setattr(model_cache, "load", lambda _repository, digest, _computed: made.get(digest, missing))
    follower = Follower(Settings())
    follower.caught_up = True
    models = LoadedModels(follower)
    loader = ModelLoader(None, {}, "w-1")  # type: ignore[arg-type] - nothing is read
    cache = ModelCache(follower, models, loader, None)  # type: ignore[arg-type] - nothing is published
    return SimpleNamespace(follower=follower, models=models, cache=cache, made=made)


async def run_once(scene: SimpleNamespace) -> None:
    """Run one iteration of the cache's loop."""
    looked = asyncio.Event()

    async def wait_for_ever(_seconds: float) -> None:
        looked.set()
        await asyncio.Event().wait()

    scene.follower.wait_for_change = wait_for_ever
    work = asyncio.create_task(scene.cache.run())
    await looked.wait()
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work


def live(scene: SimpleNamespace, digest: str | None, before: str | None = None) -> None:
    history = SimpleNamespace(
        live=digest,
        rollback_target=before,
        revision=7,
        needed=tuple(filter(None, (digest, before))),
        challenger_at=lambda _now: None,
    )
    scene.follower.lineup = history


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
