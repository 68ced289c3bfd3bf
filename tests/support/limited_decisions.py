"""A program that decides batches as a worker does, under a limit of its memory: `URL CACHE_MB BATCH_MB WHAT`.

It takes the histories that `write_merchants` has written. The limit is what the process has once it has decided one
payment, and what docs/how-to/deploy.md says that histories take. It prints the most that it had beyond its beginning.
"""

import asyncio
import resource
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import redis

from features.declaration import DAY_MS
from features.history import records
from features.history.store import Entity, Label
from features.redis.cache import CachedHistory
from features.redis.keys import SINGLE_SERVER_SHARDS, KeyLayout
from features.redis.store import RedisStore, StoreOptions
from features.vector.sets import load_sets
from models.errors import ScoringError
from models.loading import Model
from stream.control.model_cache import ServingModels
from stream.pipeline import DecisionTerms, Pipeline
from stream.scoring.tracing import NoTracing
from stream.settings import Settings
from support.bare_model import BareModel
from support.stream_records import Told, text

NOW = 1_700_000_000_000
DEPLOYMENT = "limited"
FEATURES = load_sets("")
MIB = 1 << 20
PARTS_OF_A_BATCH = 6
"""docs/how-to/deploy.md: what a batch takes, in units of FRAUDSTREAM_BATCH_MB."""
BATCH = 512


def write_merchants(client: redis.Redis, sizes: dict[str, int]) -> None:
    """Write merchants' histories of so many payments, evenly over 44 days, each of another card."""
    layout = KeyLayout("fraudstream:", DEPLOYMENT, SINGLE_SERVER_SHARDS)
    for name, size in sizes.items():
        entity = records.merchant_hash(name)
        rows = np.zeros((size, records.SHARED_COLUMNS), np.int64)
        rows[:, records.TIME] = NOW - np.arange(size, 0, -1) * (44 * DAY_MS // size)
        rows[:, records.AMOUNT] = np.arange(size) % 10_000
        rows[:, records.ID] = rows[:, records.OTHER] = np.arange(size) + (entity >> 8)
        rows[:, records.OFFSET] = np.arange(size)
        key = layout.key(Entity.MERCHANT, entity)
        client.set(key, CachedHistory(Entity.MERCHANT, entity, name, key).header() + rows.tobytes())


class NoModel(BareModel):
    """A live model that cannot score, so that the rules decide."""

    fingerprint = FEATURES.newest.fingerprint

    def score(self, _matrix: Any) -> Any:
        raise ScoringError("none here")


def memory_mib() -> int:
    """Return the private memory that the kernel counts against the limit."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmData:")) * 1024 // MIB


def payments(merchants: list[str], first: int = 0) -> list[Told]:
    """Return a batch's payments, one card each, at these merchants in turn."""
    return [
        Told(
            text(
                transaction_id=f"t-{at}",
                card_id=f"card-{at}",
                merchant_id=merchants[at % len(merchants)],
                occurred_at=NOW + at,
            ),
            f"card-{at}".encode(),
            offset=at,
        )
        for at in range(first, first + BATCH)
    ]


async def decide(pipeline: Pipeline, told: list[Told]) -> int:
    serving = ServingModels(1, cast("Model", NoModel()), None)
    outputs = await pipeline.decide(told, DecisionTerms(serving, {0: 1}, NoTracing().headers), lambda: NOW)
    return len(outputs.scored)


async def main(url: str, cache_mb: int, batch_mb: int, limit_mb: int, merchants: list[str]) -> None:
    options = StoreOptions(cache_bytes=cache_mb * MIB, batch_bytes=batch_mb * MIB)
    store = RedisStore(url, DEPLOYMENT, FEATURES, lambda: NOW, options)
    await store.connect()
    try:
        pipeline = Pipeline(Settings(), FEATURES, store)
        assert await decide(pipeline, payments(["small"])[:1]) == 1
        began = memory_mib()
        resource.setrlimit(resource.RLIMIT_DATA, ((began + limit_mb) * MIB,) * 2)
        for first in (BATCH, 2 * BATCH):  # the second one finds histories in the cache
            assert await decide(pipeline, payments(merchants, first)) == BATCH
        labels = [
            Label(f"t-{at}", f"card-{at}", True, NOW, "analyst", None, None, 0, at)  # noqa: FBT003
            for at in range(BATCH, 2 * BATCH)
        ]
        assert {one.status.value for one in await store.label(labels)} == {"applied"}
    finally:
        await store.close()
    sys.stdout.write("decided and labelled\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5:]))
