"""Mutation tests of the property that compares the stores with the recount: it finds each bug planted here.

A bug replaces one function by name. The streams are drawn in the same order in every run.
"""

import asyncio
import copy

import numpy as np
import pytest
from hypothesis import Phase, find, settings
from hypothesis.errors import NoSuchExample

from features.history import append, frames, history, rules, views
from features.history.frames import Flags, Floats, Frame, Window
from features.history.history import History
from features.history.retention import Retention, exact
from features.history.rules import TransactionVerdict
from features.history.store import Ints
from features.memory_store import MemoryStore
from features.redis.store import RedisStore
from features.vector import vectorise
from support.examples import examples
from support.features.stores import DEFAULT, DEPLOYMENTS, Servers
from support.features.streams import START_MS, Step, Stream, outcomes, recounted, streams

pytestmark = pytest.mark.integration

MOST_STREAMS = 400
DRAWN = settings(max_examples=MOST_STREAMS, derandomize=True, database=None, deadline=None, phases=[Phase.generate])

window_init = Window.__init__


def agrees(servers: Servers, steps: list[Step]) -> bool:
    """Tell whether the Redis store, the memory store and the recount give the same fates and vectors."""

    async def run_both() -> tuple[list, list]:
        offline, store = (
            MemoryStore(DEFAULT),
            RedisStore(servers.url("redis"), f"p{next(DEPLOYMENTS)}", DEFAULT, lambda: START_MS),
        )
        await store.connect()
        try:
            return (
                await outcomes(Stream(steps), DEFAULT, lambda: store),
                await outcomes(Stream(steps), DEFAULT, lambda: offline),
            )
        finally:
            await store.close()

    in_stream, offline = asyncio.run(run_both())
    return in_stream == offline == recounted(Stream(steps), DEFAULT)


def begin_window_a_millisecond_early(window: Window, frame: Frame, length_ms: int, delay_ms: int) -> None:
    window_init(window, frame, length_ms + 1, delay_ms)


def end_window_a_millisecond_early(window: Window, frame: Frame, length_ms: int, delay_ms: int) -> None:
    window_init(window, frame, length_ms - 1, delay_ms + 1)


def find_no_known_record(_histories: list[History], _ids: Ints) -> list[int]:
    """Append without a look-up."""
    return []


def labels_known_too_early(frame: Frame) -> Flags:
    early = copy.copy(frame)
    early.age = np.where(frame.labels, np.abs(frame.age), frame.age)
    return known_frauds(early)


def float_sum(window: Window) -> Floats:
    majors = window.amounts * window.frame.scale / frames.PER_MAJOR
    sums: Floats = np.add.reduceat(majors, window.frame.starts, axis=-1) * frames.PER_MAJOR
    return sums


def visible_a_millisecond_longer(rows: Ints, lengths: Ints, keep: Retention) -> tuple[Ints, Ints]:
    return visible(rows, lengths, exact(keep.horizon_ms + 1))


def accepted_a_millisecond_longer(card: History, row: Ints, horizon_ms: int) -> TransactionVerdict:
    return judge_transaction(card, row, horizon_ms + 1)


known_frauds, visible, judge_transaction = vectorise.known_frauds, history.visible, rules.judge_transaction

BUGS: dict[str, tuple[object, str, object]] = {
    "a window's beginning, off by one": (Window, "__init__", begin_window_a_millisecond_early),
    "a window's end, off by one": (Window, "__init__", end_window_a_millisecond_early),
    "a double count": (append, "known_before", find_no_known_record),
    "a label before it is known": (vectorise, "known_frauds", labels_known_too_early),
    "a float sum": (Window, "total", property(float_sum)),
    "a horizon that shows too much": (views, "visible", visible_a_millisecond_longer),
    "a horizon that takes too much": (append, "judge_transaction", accepted_a_millisecond_longer),
}


def find_a_difference(servers: Servers, most: int = MOST_STREAMS) -> list[Step]:
    return find(streams, lambda steps: not agrees(servers, steps), settings=settings(DRAWN, max_examples=most))


FIRST, *OTHERS = BUGS


@pytest.mark.parametrize("bug", [FIRST, *(pytest.param(one, marks=pytest.mark.acceptance) for one in OTHERS)])
def test_a_planted_bug_is_found(servers: Servers, bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, name, wrong = BUGS[bug]
    monkeypatch.setattr(vectorise, "KERNEL", None)  # numpy's code has the bug
    monkeypatch.setattr(where, name, wrong)
    found = find_a_difference(servers)
    monkeypatch.undo()
    assert agrees(servers, found), "they differ without the bug too"


@pytest.mark.full_size
def test_without_a_bug_no_difference_is_found(servers: Servers) -> None:
    with pytest.raises(NoSuchExample):
        find_a_difference(servers, examples(MOST_STREAMS))
