"""Microseconds of each stage of the pipeline, by batch size, on a real Redis and with a real model."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypeVar

import numpy as np

from features.redis.store import RedisStore
from features.vector.sets import FeatureSets, Vectors
from fraudstream.bench.keys import own_keys
from fraudstream.bench.payments import PublishedPayment, payments
from models.loading import Model
from stream.clock import now_ms
from stream.control.model_cache import ServingModels
from stream.pipeline import CODE_VERSION
from stream.scoring.decode import decode
from stream.scoring.encode import ScoreFrame, encode
from stream.scoring.score import score
from stream.scoring.tracing import NoTracing
from stream.settings import Settings

Result = TypeVar("Result")

SIZES = (1, 32, 256)
_WARM_UP = 20_000
_ROUNDS = {1: 2_000, 32: 200, 256: 40}
_SKEW_MS = 10**15


@dataclass
class ConsumedRecord:
    """A record as a consumer returns it."""

    key: bytes
    value: bytes
    offset: int
    topic: str = "transactions"
    partition: int = 0
    timestamp: int = 0
    timestamp_type: int = 0
    left_out: Sequence[str] = ()
    left_out_more: int = 0
    damage: str = ""
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass
class _Stopwatch:
    """Times of each stage, in seconds."""

    spent: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def time(self, stage: str, work: Callable[[], Result]) -> Result:
        started = time.perf_counter()
        try:
            return work()
        finally:
            self.spent[stage].append(time.perf_counter() - started)


async def measure_stages(settings: Settings, sets: FeatureSets, model: Model) -> dict[int, dict[str, float]]:
    """Return the median microseconds per event of each stage, by batch size, with a warm cache."""
    deployment = f"bench-{now_ms()}"
    store = RedisStore(settings.redis_url, deployment, sets, now_ms)
    async with own_keys(settings.redis_url, deployment), AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        await store.connect()
        total = _WARM_UP + sum(size * rounds for size, rounds in _ROUNDS.items())
        records = [consumed(sent, offset) for offset, sent in enumerate(payments(total, seed=1))]
        for at in range(0, _WARM_UP, 500):
            await store.observe(decode(records[at : at + 500], _SKEW_MS).columns)  # type: ignore[arg-type] # as consumed
        found, at = {}, _WARM_UP
        for size in SIZES:
            batches = [records[at + size * number : at + size * (number + 1)] for number in range(_ROUNDS[size])]
            at += size * _ROUNDS[size]
            found[size] = await _measure(_Stopwatch(), batches, (settings, sets, store, model))
        return found


async def _measure(
    stopwatch: _Stopwatch, batches: list[list[ConsumedRecord]], parts: tuple[Settings, FeatureSets, RedisStore, Model]
) -> dict[str, float]:
    settings, sets, store, model = parts
    live = model.fingerprint
    serving = ServingModels(1, model, None)
    shared = (sets.by_fingerprint[live].names, live, CODE_VERSION, 1, {0: 1}, now_ms(), NoTracing().headers)
    frame = ScoreFrame(settings, *shared)
    for batch in batches:
        records: Any = batch
        decoded = stopwatch.time("decode", lambda: decode(records, _SKEW_MS))  # noqa: B023 - called at once
        started = time.perf_counter()
        observed = await store.observe(decoded.columns)
        stopwatch.spent["observe (Redis)"].append(time.perf_counter() - started)
        indices = np.arange(len(batch))
        vectors = Vectors(sets, decoded.columns, observed, np.ones(len(batch), np.bool_))
        matrix = stopwatch.time("vectorise", lambda: vectors.of(live))  # noqa: B023
        judgements = stopwatch.time("score", lambda: score(serving, vectors))  # noqa: B023
        stopwatch.time("encode", lambda: encode(frame, decoded, observed, (indices, {live: matrix}, judgements)))  # noqa: B023
    size = len(batches[0])
    each = {stage: median(times) / size * 1e6 for stage, times in stopwatch.spent.items()}
    return each | {"all": sum(each.values())}


def consumed(sent: PublishedPayment, offset: int) -> ConsumedRecord:
    """Return a payment as a consumer would return it."""
    return ConsumedRecord(sent.key, sent.value, offset)
