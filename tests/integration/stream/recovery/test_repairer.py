"""The warm-up check rejects models whose features look further back than histories reach; decisions do not wait."""

import itertools
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import pytest

from features.declaration import DAY_MS, FeatureSet
from features.history.store import Entity
from features.redis.progress import LogPart, PartProgress, PartReport
from features.redis.store import RedisStore, StoreOptions
from features.rows import card, merchant
from features.vector.sets import FeatureSets
from models.arms import Canary
from models.loading import Model
from models.problems import ProblemCode
from stream.control.model_cache import ArmModels, ServingModels
from stream.recovery.repairer import NeededHorizons, WarmupCheck, needed_horizons
from support.redis.server import redis_server

pytestmark = pytest.mark.integration

OLD = FeatureSet((card("count", "30d"), merchant("count", "1d")))
NEW = FeatureSet((card("count", "10d"), merchant("count", "60d")))
BOTH = FeatureSets((OLD, NEW))
DEPLOYMENTS = itertools.count()
DONE = {LogPart(of_labels, 0): PartReport(PartProgress(0, 3, 3), 3) for of_labels in (True, False)}


@dataclass
class Named:
    """Stands in for a model, of which only the fingerprint is read."""

    fingerprint: str


def serving(live: FeatureSet, fallback: FeatureSet | None = None) -> ServingModels:
    models = [None if one is None else cast("Model", Named(one.fingerprint)) for one in (live, fallback)]
    assert models[0] is not None
    return ServingModels(1, models[0], models[1])


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with redis_server() as url:
        yield url


@asynccontextmanager
async def worker(
    url: str, deployment: str, sets: FeatureSets, needs: Mapping[Entity, int] | None = None
) -> AsyncIterator[RedisStore]:
    options = StoreOptions(needed=None if needs is None else lambda: needs)
    store = RedisStore(url, deployment, sets, lambda: 1_700_000_000_000, options)
    try:
        await store.connect()
        yield store
    finally:
        await store.close()


@pytest.fixture
async def deployment(server: str) -> str:
    """Return a deployment that was started with the old set alone."""
    name = f"v{next(DEPLOYMENTS)}"
    async with worker(server, name, FeatureSets((OLD,))):
        return name


def test_needed_horizons_are_those_of_the_live_model_and_its_fallback() -> None:
    assert needed_horizons(BOTH, None) == {}
    assert needed_horizons(BOTH, serving(OLD)) == OLD.horizons_ms
    both = {Entity.CARD: 37 * DAY_MS, Entity.MERCHANT: 67 * DAY_MS}
    assert needed_horizons(BOTH, serving(OLD, NEW)) == both
    beside = serving(OLD)._replace(arms=ArmModels({"canary": serving(NEW).live}, Canary("c" * 64, 100, "s").split))
    assert needed_horizons(BOTH, beside) == both
    now: list[ServingModels | None] = [None]
    kept = NeededHorizons(BOTH, lambda: now[0])
    for models in (None, serving(OLD), serving(OLD, NEW), beside, serving(OLD), None):
        now[0] = models
        assert kept() == needed_horizons(BOTH, models)


async def test_the_warm_up_check_reports_needed_and_rebuilt_horizons_until_the_repair_is_done(
    server: str, deployment: str
) -> None:
    async with worker(server, deployment, BOTH, needed_horizons(BOTH, serving(OLD))) as store:
        warming = WarmupCheck(BOTH, store, lambda: "7 of 9 records so far")
        assert not store.incomplete
        assert warming.problems(OLD.fingerprint) == ()
        (problem,) = warming.problems(NEW.fingerprint)
        assert problem.code is ProblemCode.FEATURES_WARMING
        assert "(card 17 days, merchant 67 days)" in problem.detail
        rebuilt = "been rebuilt from Kafka (card 37 days, merchant 8 days): 7 of 9 records so far. Decisions continue"
        assert rebuilt in problem.detail
        assert await store.repair_progress.report(store.state.target, DONE, 2)
        await store.refresh()
        assert warming.problems(NEW.fingerprint) == ()


async def test_incomplete_histories_do_not_exclude_models_that_need_no_more_than_the_live_ones(
    server: str, deployment: str
) -> None:
    async with worker(server, deployment, BOTH, needed_horizons(BOTH, serving(OLD, NEW))) as store:
        assert store.incomplete
        assert WarmupCheck(BOTH, store, str).problems(NEW.fingerprint) == ()
    async with worker(server, deployment, BOTH, needed_horizons(BOTH, serving(OLD))) as store:
        await store.declare_loss("a test")
        assert store.incomplete
        assert WarmupCheck(BOTH, store, str).problems(OLD.fingerprint) == ()
        assert WarmupCheck(BOTH, store, str).problems(NEW.fingerprint) != ()


async def test_without_a_live_model_histories_are_incomplete_only_after_a_loss(server: str, deployment: str) -> None:
    async with worker(server, deployment, BOTH, needed_horizons(BOTH, None)) as store:
        assert not store.incomplete
        await store.declare_loss("a test")
        assert store.incomplete
