"""The features of long histories are computed in another thread, whatever is appended to the histories meanwhile."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from features.history import append
from features.memory_store import MemoryStore
from features.vector import sets
from models.loading import Model, RowTimes
from stream.control.model_cache import ServingModels
from stream.engine import batches
from stream.pipeline import DecisionTerms, Outputs, Pipeline
from stream.scoring.tracing import NoTracing
from stream.settings import Settings
from support.bare_model import BareModel
from support.stream_records import LATEST_MS, Told, text

FEATURES = sets.load_sets("")
LONG = 5
WAIT_S = 20.0
Features = list[dict[str, Any]]


class Flat(BareModel):
    """A live model that gives every payment the same score."""

    fingerprint, name, version, digest = FEATURES.newest.fingerprint, "card", "1", "d" * 64
    row_times = RowTimes()

    def score(self, matrix: Any) -> Any:
        return matrix[:, 0] * 0 + 0.1


SERVING = ServingModels(1, cast("Model", Flat()), None)


class Watched:
    """Stands in for `vectorise`: notes the thread that computes, and computes once `may_compute` is set."""

    def __init__(self) -> None:
        self.threads = list[int]()
        self.began, self.may_compute = threading.Semaphore(0), threading.Event()
        self._vectorise = sets.vectorise

    def __call__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        self.threads.append(threading.get_ident())
        if self.threads[-1] != threading.main_thread().ident:
            self.began.release()
            assert self.may_compute.wait(WAIT_S)
        return self._vectorise(*args, **kwargs)

    @property
    def is_aside(self) -> list[bool]:
        """Whether each call was in another thread than the loop's."""
        return [thread != threading.main_thread().ident for thread in self.threads]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    found = Watched()
    monkeypatch.setattr(append, "LONG", LONG)
    monkeypatch.setattr(batches, "_LARGE_BYTES", 1)
    monkeypatch.setattr(sets, "vectorise", found)
    yield found
    found.may_compute.set()


def pipeline() -> Pipeline:
    return Pipeline(Settings(), FEATURES, MemoryStore(FEATURES, most_bytes=append.NO_LIMIT - 1))


def payments(first: int, count: int) -> list[Told]:
    numbers = range(first, first + count)
    each = [
        {"transaction_id": f"t-{at}", "occurred_at": f"2027-01-15T07:00:{at:02}Z", "amount": f"{at + 1}.00"}
        for at in numbers
    ]
    return [Told(text(**changes), offset=at) for at, changes in zip(numbers, each, strict=True)]


async def decide(used: Pipeline, records: list[Told], *, by_rules: bool = False) -> Outputs:
    terms = DecisionTerms(SERVING, {0: 1}, NoTracing().headers)
    if by_rules:
        return await used.decide_by_rules(cast("Any", records), terms, lambda: LATEST_MS, features=True)
    return await used.decide(cast("Any", records), terms, lambda: LATEST_MS)


def features(outputs: Outputs) -> Features:
    return [msgspec.json.decode(one.value or b"")["features"] for one in outputs.scored.outgoing]


@pytest.mark.parametrize("by_rules", [False, True])
async def test_a_part_is_computed_aside_only_if_some_of_its_histories_are_long(
    watched: Watched, *, by_rules: bool
) -> None:
    used = pipeline()
    watched.may_compute.set()
    await decide(used, payments(0, LONG - 1), by_rules=by_rules)
    assert watched.is_aside == [False]
    await decide(used, payments(LONG - 1, 3), by_rules=by_rules)
    assert watched.is_aside == [False, True]


async def test_others_append_to_a_history_while_its_features_are_computed(watched: Watched) -> None:
    used = pipeline()
    computing = asyncio.create_task(decide(used, payments(0, 8)))
    assert await asyncio.to_thread(watched.began.acquire, timeout=WAIT_S)
    later = asyncio.create_task(decide(used, payments(8, 30)))
    # By then the second batch is appended, which has made the history's buffer grow.
    assert await asyncio.to_thread(watched.began.acquire, timeout=WAIT_S)
    watched.may_compute.set()
    together = features(await computing) + features(await later)
    alone = pipeline()
    assert together == features(await decide(alone, payments(0, 8))) + features(await decide(alone, payments(8, 30)))
    assert together[-1]["card_count_30d"] == 38
