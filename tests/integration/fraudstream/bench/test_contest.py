"""`bench features`: every design is measured, their features are compared, and no key is left."""

import asyncio
import json

import numpy as np
import pytest
from click.testing import CliRunner
from redis import asyncio as redis_asyncio

from benchmarks.comparison import COLD, COUNTERS, OURS, SETS, compared_stores
from benchmarks.workload import Workload
from features.aggregates import Aggregate
from features.declaration import load
from fraudstream.cli.main import main
from stream.settings import Settings

pytestmark = pytest.mark.integration

DEFAULT = load(None)


async def keys_left(redis_url: str) -> list[bytes]:
    async with redis_asyncio.Redis.from_url(redis_url) as client:
        return [key async for key in client.scan_iter(match="fraudstream:bench-*")]


def test_every_design_and_batch_size_is_measured_and_no_key_is_left(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAUDSTREAM_REDIS_URL", redis_url)
    done = CliRunner().invoke(
        main, ["bench", "features", "--cards", "10", "--events", "256", "--rounds", "1", "--json"]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["rounds"] == 1
    measured = {(line["contestant"], line["batch"]) for line in found["lines"]}
    assert measured == {(name, size) for name in (OURS, COLD, SETS, COUNTERS) for size in (1, 32, 256)}
    assert all(line["redis_us"] > 0 and line["python_us"] > 0 for line in found["lines"])
    assert all(line["times_ours"] == 1 for line in found["lines"] if line["contestant"] == OURS)
    assert all(min(sizes.values()) > 0 for sizes in found["bytes_each"].values())
    assert asyncio.run(keys_left(redis_url)) == []


async def test_sorted_sets_give_bit_identical_vectors_and_all_keys_are_deleted_at_the_end(redis_url: str) -> None:
    workload, settings = Workload(cards=20, seed=1), Settings(redis_url=redis_url)
    async with compared_stores(settings, DEFAULT, "bench-bits") as (_, stores):
        for _ in range(workload.before // 250):
            labelled = workload.next(250)
            vectors = {name: await one.vectors(labelled.batch) for name, one in stores.items()}
            assert vectors[OURS].tobytes() == vectors[COLD].tobytes() == vectors[SETS].tobytes()
            for store in stores.values():
                await store.label(labelled.labels)
                await store.compact()
        shares = vectors[OURS][:, DEFAULT.names.index("merchant_fraud_share_delayed_30d")]
        assert (shares > 0).any(), "no label counted, so fraud shares were not compared"
        assert await keys_left(redis_url)
    assert await keys_left(redis_url) == []


async def test_counters_are_approximate_and_count_a_redelivery_twice(redis_url: str) -> None:
    workload, settings = Workload(cards=20, seed=2), Settings(redis_url=redis_url)
    known = [i for i, row in enumerate(DEFAULT.rows) if row.aggregate is Aggregate.COUNT]
    async with compared_stores(settings, DEFAULT, "bench-again") as (_, stores):
        for _ in range(workload.before // 250):
            batch = workload.next(250).batch
            exact, counted = [(await stores[name].vectors(batch))[:, known] for name in (OURS, COUNTERS)]
        assert 0 < np.abs(counted - exact).sum() < 0.2 * exact.sum()
        exact_again, counted_again = [(await stores[name].vectors(batch))[:, known] for name in (OURS, COUNTERS)]
        assert (exact_again == exact).all()
        assert (counted_again > counted).any()


def test_an_unreachable_server_is_reported_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUDSTREAM_REDIS_URL", "redis://user:secret@127.0.0.1:1/0")
    done = CliRunner().invoke(main, ["bench", "features"])
    assert done.exit_code == 1
    assert "127.0.0.1:1" in done.stderr
    assert "secret" not in done.output


def test_a_redis_cluster_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUDSTREAM_REDIS_URL", "redis+cluster://127.0.0.1:7000")
    done = CliRunner().invoke(main, ["bench", "features"])
    assert done.exit_code == 1
    assert "one server" in done.stderr
