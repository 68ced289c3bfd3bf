"""The compute floor: decode, features, prediction and encoding on arrays in memory, without Kafka and without Redis."""

import time
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.contenders.scorers import Payment, decoded, encoded, load_model
from features.memory_store import MemoryStore
from features.vector.sets import load_sets
from features.vector.vectorise import vectorise

SIZES = (1, 32, 256)
_SINGLE_SHARE = 16
"""Batches of one take longest: a sixteenth of the payments is measured in them."""


class FloorLine(NamedTuple):
    """µs of CPU for a payment in batches of a size, the median of batches; histories are given, and not counted."""

    batch: int
    us: float


def measure_floor(models: str, digest: str, payments: Sequence[Payment]) -> list[FloorLine]:
    """Measure each batch size on the same payments.

    Raises:
        MeasurementError: the model cannot be loaded.
    """
    sets, model = load_sets("").newest, load_model(models, digest)
    lines = []
    for size in SIZES:
        store, spent = MemoryStore(sets), list[float]()
        some = payments[: len(payments) // _SINGLE_SHARE] if size == 1 else payments
        for first in range(0, len(some), size):
            batch = some[first : first + size]
            observed = store.observe_now(decoded(batch))
            began = time.thread_time()
            columns = decoded(batch)
            names = list(zip(columns.transaction_ids, columns.card_ids, strict=True))
            encoded(model, names, vectorise(sets, columns, observed))
            spent.append((time.thread_time() - began) / len(batch) * 1e6)
        lines.append(FloorLine(size, median(spent)))
    return lines
