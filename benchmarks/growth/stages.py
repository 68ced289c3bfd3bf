"""How the stages of a decision grow, in one process: CPU of a payment by trees, features and records of a history."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median

import numpy as np

from benchmarks.growth.series import GrowthPoint, GrowthSeries
from benchmarks.trees import NAMES, rows_to_score, trained
from benchmarks.workload import Workload
from features.declaration import DAY_MS, Feature, FeatureSet
from features.history.append import NO_LIMIT
from features.history.store import Transactions
from features.memory_store import MemoryStore
from features.vector.sets import load_sets
from features.vector.vectorise import vectorise
from models.booster import Booster

TREES = (100, 200, 400, 800, 1_600)
FEATURES = (45, 60, 80, 100)
RECORDS = (0, 10, 100, 1_000, 10_000, 100_000)
BATCHES = (1, 256)
TOGETHER = 32
"""Payments of one card in a batch."""
_AT_ONCE = 1_000
_ROUNDS, _SECONDS = 7, 0.05
_SEED = 3
_SPAN_MS = 25 * DAY_MS
"""Records of a history lie within the windows of 28 days."""


def cpu_us(calls: Sequence[Callable[[], object]], rows: int) -> list[float]:
    """Return µs of CPU of a row for each of some calls on `rows` rows: medians of rounds in turns."""
    repeats = [max(1, int(_SECONDS / max(1e-6, _cpu_seconds(call, 1)))) for call in calls]
    spent: list[list[float]] = [[] for _ in calls]
    for _ in range(_ROUNDS):
        for at, call in enumerate(calls):
            spent[at].append(_cpu_seconds(call, repeats[at]) / repeats[at] / rows * 1e6)
    return [median(each) for each in spent]


def _cpu_seconds(call: Callable[[], object], repeats: int) -> float:
    began = time.thread_time()
    for _ in range(repeats):
        call()
    return time.thread_time() - began


def by_trees() -> GrowthSeries:
    """Measure predictions of models of 31 leaves, on the rows of `benchmarks.trees`."""
    matrix, points = rows_to_score(), []
    for trees in TREES:
        model = Booster(trained(trees, matrix), NAMES)
        points.append(GrowthPoint(trees, tuple(_prediction_us(model, matrix))))
    return GrowthSeries("A model's prediction", "trees of 31 leaves", "µs a payment", _batch_names(), tuple(points))


def _prediction_us(model: Booster, matrix: np.ndarray) -> list[float]:
    some = [np.ascontiguousarray(matrix[:batch]) for batch in BATCHES]
    return [cpu_us([lambda rows=rows: model.margins(rows)], len(rows))[0] for rows in some]  # type: ignore[misc] # bound at once


def by_features() -> GrowthSeries:
    """Measure feature sets: the newest one, cut off or with the same aggregates over other windows."""
    rows = load_sets("").newest.rows
    points = []
    for count in FEATURES:
        feature_set = FeatureSet(_rows(rows, count))
        workload, store = Workload(50, _SEED), MemoryStore(feature_set)
        store.observe_now(workload.next(workload.before).batch)
        points.append(GrowthPoint(count, tuple(_vector_us(feature_set, store, workload, batch) for batch in BATCHES)))
    return GrowthSeries(
        "Features by windows of histories", "features of the set", "µs a payment", _batch_names(), tuple(points)
    )


def _rows(rows: Sequence[Feature], count: int) -> tuple[Feature, ...]:
    """Return so many rows: those of a set, and its windowed ones of exact records over windows a few minutes longer."""
    windowed = [one for one in rows if one.window_ms is not None and not one.is_paned and one.delay_ms == 0]
    found = list(rows[:count])
    for at in range(count - len(found)):
        one = windowed[at % len(windowed)]
        found.append(replace(one, window_ms=(one.window_ms or 0) + 60_000 * (1 + at // len(windowed))))
    return tuple(found)


def _vector_us(feature_set: FeatureSet, store: MemoryStore, workload: Workload, batch: int) -> float:
    transactions = workload.next(batch).batch
    observed = store.observe_now(transactions)
    return cpu_us([lambda: vectorise(feature_set, transactions, observed)], batch)[0]


def by_records() -> GrowthSeries:
    """Measure payments whose card and merchant have so many visible records each: one, and several that share them."""
    feature_set, points = load_sets("").newest, []
    for count in RECORDS:
        store, some = MemoryStore(feature_set, most_bytes=NO_LIMIT - 1), _of_one_card(count + 1 + TOGETHER)
        for first in range(0, count, _AT_ONCE):
            store.observe_now(some.after(first).first(min(_AT_ONCE, count - first)))
        spent = []
        for first, batch in ((count, 1), (count + 1, TOGETHER)):
            last = some.after(first).first(batch)
            observed = store.observe_now(last)
            spent += cpu_us([lambda: vectorise(feature_set, last, observed)], batch)  # noqa: B023 - called at once
        points.append(GrowthPoint(count, tuple(spent)))
    return GrowthSeries(
        "Features by the length of histories", "records of the card and of the merchant", "µs a payment",
        ("one payment", f"each of {TOGETHER} in a batch"), tuple(points),
    )  # fmt: skip


def _of_one_card(count: int) -> Transactions:
    """Return payments of one card at one merchant, evenly spread."""
    batch = Workload(2, _SEED).next(count).batch  # two cards pay at one merchant
    times = int(batch.occurred_ms[0]) + np.arange(count) * (_SPAN_MS // count)
    return replace(batch, card_ids=[batch.card_ids[0]] * count, occurred_ms=times)


def _batch_names() -> tuple[str, ...]:
    return tuple("alone" if batch == 1 else f"in batches of {batch}" for batch in BATCHES)
