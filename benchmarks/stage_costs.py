"""What each stage of a decision costs in this process, by `Pipeline` itself: bytecodes, or CPU beside a reference.

The pipeline tells a stopwatch where a stage ends; here the stopwatch reads another counter than the clock. A pass
decides the same payments from the same empty store, so that all passes do exactly the same work.
"""

import asyncio
import gc
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from benchmarks.assenting_redis import AssentingConnection
from benchmarks.contenders.model import make_model
from benchmarks.contenders.scorers import Payment, load_model
from features.history.store import Ints
from features.redis import store as store_module
from features.redis.keys import SINGLE_SERVER_SHARDS, KeyLayout
from features.redis.store import RedisStore
from features.vector.sets import FeatureSets, load_sets
from fraudstream.bench.payments import payments
from models.loading import Model
from models.repository import Repository
from stream import pipeline as pipeline_module
from stream.clock import Stage
from stream.control.model_cache import ServingModels
from stream.engine.batches import Record
from stream.engine.unpacking import FetchedRecord
from stream.errors import MeasurementError
from stream.pipeline import DecisionTerms, Pipeline
from stream.scoring.tracing import NoTracing
from stream.settings import Settings

STAGES = ("decode", "observe", "vectorise", "score", "encode")
REFERENCE = "reference"
LARGE = 256
BATCHES = {1: 100, LARGE: 4}
"""How many batches of each size there are."""
WARM_UP = 10 * LARGE
"""Payments that only fill the histories, to some 45 records a card."""

_TRAINED_ON = 2_000
NOW_MS = 1_800_000_000_000
_SEED = 1

Key = tuple[int, str]
"""A batch size, and a stage or REFERENCE."""
Counter = Callable[[], int]
Costs = Mapping[Key, Sequence[int]]
"""What each batch of a pass costs, in the unit of the counter."""
Plant = Callable[[int, str], None]
"""Extra work in a stage of a batch of a size, to see that it is found."""


def no_plant(_size: int, _stage: str) -> None:
    """Add no work."""


class Replay(NamedTuple):
    """What every pass decides, and by which model; of the records, the first WARM_UP only fill the histories."""

    sets: FeatureSets
    model: Model
    records: Sequence[Record]

    @classmethod
    def prepared(cls) -> "Replay":
        """Simulate payments and train a model on some: always the same ones."""
        sets, count = load_sets(""), WARM_UP + sum(size * batches for size, batches in BATCHES.items())
        sent = payments(count, _SEED)
        with TemporaryDirectory() as folder:
            trained = [Payment(one.key, one.value) for one in sent[:_TRAINED_ON]]
            model = load_model(folder, make_model(Repository(folder), sets.newest, trained))
        records = [FetchedRecord("payments", 0, at, NOW_MS, 0, one.key, one.value, ()) for at, one in enumerate(sent)]
        return cls(sets, model, records)

    def costs(self, read: Counter, sizes: Collection[int], plant: Plant = no_plant) -> Costs:
        """Decide the batches of some sizes by a new store, each after a round of the reference."""
        with asyncio.Runner() as runner:
            runner.get_loop().set_default_executor(_SameThread())
            return runner.run(self._costs(read, sizes, plant))

    async def _costs(self, read: Counter, sizes: Collection[int], plant: Plant) -> Costs:
        pipeline = Pipeline(Settings(), self.sets, await connected(self.sets))
        for at in range(0, WARM_UP, LARGE):
            await pipeline.apply(self.records[at : at + LARGE], 0)
        reference, spent, at = Reference(), defaultdict[Key, list[int]](list), WARM_UP
        for size in sizes:
            watch = _CostWatch(size, read, plant, spent)
            with patch.object(pipeline_module, "Stopwatch", watch.started):
                for _ in range(BATCHES[size]):
                    watch.started()
                    reference.work()
                    watch.lap(REFERENCE)
                    await self.decide(pipeline, self.records[at : at + size])
                    at += size
        return spent

    async def decide(self, pipeline: Pipeline, records: Sequence[Record]) -> None:
        """Decide one batch.

        Raises:
            MeasurementError: not all are decided.
        """
        terms = DecisionTerms(ServingModels(1, self.model, None), {0: 1}, NoTracing().headers)
        outputs = await pipeline.decide(records, terms, lambda: NOW_MS)
        if len(outputs.scored) != len(records):
            why = sorted({letter.detail for letter in outputs.dead})[:1]
            raise MeasurementError(f"of {len(records)} payments {len(outputs.scored)} were decided: {why}")


class _CostWatch:
    """Stands in for the pipeline's stopwatch: `lap` notes how far a counter went in a stage of a batch."""

    def __init__(self, size: int, read: Counter, plant: Plant, spent: dict[Key, list[int]]) -> None:
        self.stages: list[Stage] = []
        self._size, self._read, self._plant, self._spent = size, read, plant, spent
        self._last = 0

    def started(self) -> "_CostWatch":
        """Begin a batch."""
        self._last = self._read()
        return self

    def lap(self, name: str) -> None:
        """End the stage of this name."""
        if name != REFERENCE:
            self._plant(self._size, name)
        self._spent[self._size, name].append(self._read() - self._last)
        self._last = self._read()


class _SameThread(ThreadPoolExecutor):
    """Runs at once what the pipeline gives to another thread, so that a counter of this thread sees it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as its base
        """Call a function, and return its result as done."""
        done = Future[Any]()
        done.set_result(fn(*args, **kwargs))
        return done


async def connected(sets: FeatureSets, cache_bytes: int = store_module.DEFAULT.cache_bytes) -> RedisStore:
    """Return a store whose calls are answered at once; what its cache has evicted comes back empty."""
    opened = AssentingConnection(), KeyLayout("costs:", "costs", SINGLE_SERVER_SHARDS)
    with patch.object(store_module, "open_connection", lambda *_: opened):
        options = store_module.StoreOptions(cache_bytes=cache_bytes)
        store = RedisStore("redis://nowhere", "costs", sets, lambda: NOW_MS, options)
    await store.connect()
    return store


class Reference:
    """Fixed work of the make-up and the length of a stage: Python objects, small arrays, memory."""

    _ROUNDS = 16
    """As long as a stage, some 4 ms: of a shorter one the least would be found in shorter pauses of other work."""

    def __init__(self) -> None:
        random = np.random.default_rng(_SEED)
        self._small = random.normal(size=(16, 45))
        self._large = random.normal(size=(256, 400))
        self._words = [f"payment-{number:06d}" for number in range(200)]

    def work(self) -> None:
        """Do it once."""
        for _ in range(self._ROUNDS):
            self._objects()
            self._arrays()

    def _objects(self) -> None:
        found: dict[str, tuple[str, int]] = {}
        for number, word in enumerate(self._words):
            found[word] = (word[8:], number & 7)
        sorted(found.values())

    def _arrays(self) -> None:
        for _ in range(30):
            scaled = self._small * 2.0
            np.flatnonzero(scaled[:, 0] > 0)
        for _ in range(3):
            self._large[::-1].sum(axis=1)
            np.searchsorted(self._large[0], self._large[1])


class BytecodeCounter:
    """Counts the bytecodes that this thread executes while `counting`, except those of this module."""

    def __init__(self) -> None:
        self._count = 0

    def read(self) -> int:
        """Return how many there were so far."""
        return self._count

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count until the block ends."""
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, _event: str, _argument: object) -> Callable[..., Any] | None:
        if frame.f_code.co_filename == __file__:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._trace

    def _trace(self, _frame: FrameType, event: str, _argument: object) -> Callable[..., Any]:
        if event == "opcode":
            self._count += 1
        return self._trace


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector from running in whichever stage fills its generation."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Bytecodes:
    """The bytecodes of a batch; exact, whatever else the machine does."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    def count(self, plant: Plant = no_plant) -> dict[Key, float]:
        """Decide all batches twice; return the mean of a batch by size and stage, of the second time.

        The first time fills what the code caches. And Python 3.12 counts from the second counting on, Python 3.13 all
        calls of a function only if it was not called between two countings, as pytest calls those of `enum`.
        """
        counter = BytecodeCounter()
        with _no_collection():
            for _ in range(2):
                with counter.counting():
                    costs = self._replay.costs(counter.read, BATCHES, plant)
        return {(size, stage): sum(costs[size, stage]) / BATCHES[size] for size in BATCHES for stage in STAGES}


class CpuTimes:
    """The least CPU of each large batch, and of the reference before it, over the passes so far."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._least: dict[str, Ints] = {}

    def add_passes(self, count: int, plant: Plant = no_plant) -> None:
        """Decide the large batches so many times more."""
        for _ in range(count):
            with _no_collection():
                costs = self._replay.costs(time.thread_time_ns, (LARGE,), plant)
            for (_, stage), each in costs.items():
                found = np.array(each, np.int64)
                self._least[stage] = np.minimum(self._least.get(stage, found), found)

    def ns(self, stage: str) -> float:
        """Return the CPU of a batch in a stage, in ns: the mean of the least of each."""
        return float(self._least[stage].mean())

    def ratios(self) -> dict[Key, float]:
        """Return how many times the CPU of the reference a large batch takes, by size and stage."""
        return {(LARGE, stage): self.ns(stage) / self.ns(REFERENCE) for stage in STAGES}
