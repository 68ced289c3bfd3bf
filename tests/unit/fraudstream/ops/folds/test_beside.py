"""Folds beside the guard: one that fails or blocks stands still alone, says so, and delays nobody."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable

import pytest

from fraudstream.ops.folds import beside
from fraudstream.ops.folds.beside import FoldThread, FoldThreads

LOG = logging.getLogger("fraudstream.tests")


class Fold:
    """Runs what it is given; notes in which thread, and that it was closed."""

    def __init__(self, work: Callable[[], None] | None = None, *, at_close: Callable[[], None] | None = None) -> None:
        self.trouble: str | None = None
        self.threads: set[str] = set()
        self.turns = 0
        self.is_closed = False
        self._work, self._at_close = work, at_close

    async def run(self) -> None:
        while True:
            self.threads.add(threading.current_thread().name)
            self.turns += 1
            if self._work is not None:
                self._work()
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        if self._at_close is not None:
            self._at_close()
        self.is_closed = True


def thread_of(fold: Fold, missing: str = "it is not told") -> FoldThread:
    return FoldThread(fold, missing, lambda: {missing: dict}, LOG)


def broken() -> None:
    raise TypeError("a defect")


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.005)


async def test_each_fold_runs_in_a_thread_of_its_own_and_keeps_what_it_knows_at_the_end() -> None:
    folds = [Fold(), Fold()]
    threads = FoldThreads(thread_of(folds[0], "one"), thread_of(folds[1], "other"))
    threads.start()
    await until(lambda: all(fold.turns > 2 for fold in folds))
    folds[1].trouble = "no broker"
    assert threads.warnings() == ["other: no broker"]
    assert threads.gauges().keys() == {"one", "other"}
    await threads.stop()
    assert [fold.threads for fold in folds] == [{"one"}, {"other"}]
    assert all(fold.is_closed for fold in folds)


async def test_one_that_fails_says_so_and_the_other_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    failing, other = Fold(broken), Fold()
    threads = FoldThreads(thread_of(failing), thread_of(other, "other"))
    threads.start()
    await until(threads.warnings)
    assert threads.warnings() == [
        "it is not told any more, until the guard is restarted: a defect ended this part of it"
    ]
    turns = other.turns
    await until(lambda: other.turns > turns + 2)
    await threads.stop()
    assert failing.is_closed
    assert [line.levelno for line in caplog.records] == [logging.ERROR]
    assert "a defect" in caplog.text


async def test_one_that_blocks_delays_nobody_says_so_and_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(beside, "BLOCKED_SECONDS", 0.2)
    monkeypatch.setattr(beside, "_BEAT_SECONDS", 0.05)
    monkeypatch.setattr(beside, "_ENDING_SECONDS", 0.2)
    released = threading.Event()
    blocked, other = Fold(lambda: bool(released.wait(30)) and None), Fold()
    threads = FoldThreads(thread_of(blocked), thread_of(other, "other"))
    threads.start()
    longest = 0.0
    while not threads.warnings():
        asked = time.monotonic()
        await asyncio.sleep(0.005)
        longest = max(longest, time.monotonic() - asked)
    (said,) = threads.warnings()
    assert said.startswith("it is not told: a step of it has lasted for ")
    assert longest < 1.0, "this loop, the guard's, was held up"
    assert (blocked.turns, other.turns > 3) == (1, True)
    await threads.stop()
    assert other.is_closed
    assert not blocked.is_closed
    assert "did not end" in caplog.text
    released.set()


async def test_what_cannot_be_kept_is_logged_and_ends_as_usual(caplog: pytest.LogCaptureFixture) -> None:
    fold = Fold(at_close=broken)
    threads = FoldThreads(thread_of(fold))
    threads.start()
    await until(lambda: fold.turns)
    await threads.stop()
    assert [line.levelno for line in caplog.records] == [logging.ERROR]
    assert "could not be kept" in caplog.text
