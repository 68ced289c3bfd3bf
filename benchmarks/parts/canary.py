"""What a canary costs the live path: CPU of a decision by its share, and the memory of one more model.

The pipeline decides batch after batch, with another share each time, so that all shares see the same machine. Histories
are in memory, and the time that they take is left out: a canary does not change it, and Redis takes another one. Nor is
the shadow part of it, which compares both sides in a process of its own.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median
from time import process_time
from typing import Any, NamedTuple

from benchmarks.parts.stages import consumed
from features.history.store import Observed, Transactions
from features.memory_store import MemoryStore
from features.vector.sets import FeatureSets
from fraudstream.bench.payments import payments
from fraudstream.bench.worker import resident_mib
from fraudstream_client.arms import CANARY
from models.arms import Canary
from models.loading import Model
from stream.clock import now_ms
from stream.control.model_cache import ArmModels, ServingModels
from stream.pipeline import DecisionTerms, Pipeline
from stream.scoring.tracing import NoTracing
from stream.settings import Settings

SHARES_BP = (0, 100, 1_000, 5_000)
SIZES = (1, 32, 256)
_ROUNDS = {1: 400, 32: 60, 256: 12}
_WARM_UP = 10_000
_COPIES = 8
_LATEST_MS = 1 << 50
"""A record's timestamp after which no payment occurs."""


class CanaryLine(NamedTuple):
    """Median microseconds of CPU of a decision at a batch size, by share in basis points; 0: without a canary."""

    batch: int
    us_a_decision: dict[int, float]


class _TimedStore(MemoryStore):
    """Histories in memory that say how much CPU they took."""

    spent = 0.0

    async def observe(self, transactions: Transactions) -> Observed:
        began = process_time()
        try:
            return await super().observe(transactions)
        finally:
            self.spent += process_time() - began


async def measure_canary(
    settings: Settings, sets: FeatureSets, models: tuple[Model, Model], sizes: Sequence[int] = SIZES
) -> list[CanaryLine]:
    """Measure decisions of a live model and a canary's, at each share in turns."""
    live, canary = models
    splits = {share_bp: Canary(canary.digest, share_bp, "bench").split for share_bp in SHARES_BP}
    serving = {
        share_bp: ServingModels(1, live, None, arms=ArmModels({CANARY: canary}, split) if share_bp else None)
        for share_bp, split in splits.items()
    }
    total = _WARM_UP + sum(len(SHARES_BP) * _ROUNDS[size] * size for size in sizes)
    records: list[Any] = [
        replace(consumed(sent, offset), timestamp=_LATEST_MS) for offset, sent in enumerate(payments(total, seed=3))
    ]
    store = _TimedStore(sets)
    pipeline = Pipeline(settings, sets, store)

    async def decide(batch: list[Any], share_bp: int) -> float:
        """Return the microseconds of CPU of a decision, its histories left out."""
        began = process_time() - store.spent
        outputs = await pipeline.decide(batch, DecisionTerms(serving[share_bp], {0: 1}, NoTracing().headers), now_ms)
        spent = process_time() - store.spent - began
        if len(outputs.scored) < len(batch):
            raise RuntimeError(f"{len(outputs.scored)} of {len(batch)} payments were decided: {outputs.dead[:1]}")
        return spent / len(batch) * 1e6

    for at in range(0, _WARM_UP, 500):
        await decide(records[at : at + 500], 0)
    at, lines = _WARM_UP, list[CanaryLine]()
    for size in sizes:
        spent: dict[int, list[float]] = {share_bp: [] for share_bp in SHARES_BP}
        for _ in range(_ROUNDS[size]):
            for share_bp, found in spent.items():
                found.append(await decide(records[at : at + size], share_bp))
                at += size
        lines.append(CanaryLine(size, {share_bp: median(found) for share_bp, found in spent.items()}))
    return lines


def measure_model_mib(load: Callable[[], Model]) -> float:
    """Return the resident memory that a model takes, as the mean of several copies of it."""
    kept, before = [load()], resident_mib(os.getpid())
    kept += [load() for _ in range(_COPIES)]
    return (resident_mib(os.getpid()) - before) / _COPIES
