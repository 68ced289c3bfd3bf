"""The property that holds the stores to the recount, seen to bite: each bug that is planted here is found by it.

Each is planted in one function by its name. The streams are drawn in the same order every time.
"""

import asyncio
import copy

import numpy as np
import pytest
from hypothesis import Phase, find, settings
from hypothesis.errors import NoSuchExample

from features.history import append, frames, history, rules
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

window_begins = Window.__init__


def agrees(servers: Servers, steps: list[Step]) -> bool:
    """Tell whether a naive recount, the store of the stream and the store of offline work say the same."""

    async def told() -> tuple[list, list]:
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

    in_stream, offline = asyncio.run(told())
    return in_stream == offline == recounted(Stream(steps), DEFAULT)


def a_window_that_begins_a_millisecond_early(window: Window, frame: Frame, length_ms: int, delay_ms: int) -> None:
    window_begins(window, frame, length_ms + 1, delay_ms)


def a_window_that_ends_a_millisecond_early(window: Window, frame: Frame, length_ms: int, delay_ms: int) -> None:
    window_begins(window, frame, length_ms - 1, delay_ms + 1)


def nothing_is_there(_histories: list[History], _ids: Ints) -> list[int]:
    """Append without looking."""
    return []


def labels_known_too_early(frame: Frame) -> Flags:
    early = copy.copy(frame)
    early.age = np.where(frame.labels, np.abs(frame.age), frame.age)
    return known_frauds(early)


def a_sum_of_floats(window: Window) -> Floats:
    majors = window.amounts * window.frame.scale / frames.PER_MAJOR
    sums: Floats = np.add.reduceat(majors, window.frame.starts, axis=-1) * frames.PER_MAJOR
    return sums


def seen_a_millisecond_longer(rows: Ints, lengths: Ints, keep: Retention) -> tuple[Ints, Ints]:
    return visible(rows, lengths, exact(keep.horizon_ms + 1))


def taken_a_millisecond_longer(card: History, row: Ints, horizon_ms: int) -> TransactionVerdict:
    return judge_transaction(card, row, horizon_ms + 1)


known_frauds, visible, judge_transaction = vectorise.known_frauds, history.visible, rules.judge_transaction

BUGS: dict[str, tuple[object, str, object]] = {
    "a window's beginning, off by one": (Window, "__init__", a_window_that_begins_a_millisecond_early),
    "a window's end, off by one": (Window, "__init__", a_window_that_ends_a_millisecond_early),
    "a double count": (append, "known_before", nothing_is_there),
    "a label before it is known": (vectorise, "known_frauds", labels_known_too_early),
    "a float sum": (Window, "total", property(a_sum_of_floats)),
    "a horizon that shows too much": (append, "visible", seen_a_millisecond_longer),
    "a horizon that takes too much": (append, "judge_transaction", taken_a_millisecond_longer),
}


def find_a_difference(servers: Servers, most: int = MOST_STREAMS) -> list[Step]:
    return find(streams, lambda steps: not agrees(servers, steps), settings=settings(DRAWN, max_examples=most))


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(servers: Servers, bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, name, wrong = BUGS[bug]
    monkeypatch.setattr(where, name, wrong)
    found = find_a_difference(servers)
    monkeypatch.undo()
    assert agrees(servers, found), "it is the bug that makes the difference"


def test_without_a_bug_nothing_is_found(servers: Servers) -> None:
    with pytest.raises(NoSuchExample):
        find_a_difference(servers, examples(MOST_STREAMS))
