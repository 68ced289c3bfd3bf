"""Folds beside the guard, each in a thread and an event loop of its own: one that fails or blocks stands still alone.

They share what the guard's process fetches and the processor, nothing else: whatever a fold computes, the guard's own
loop goes on, since Python changes threads every few milliseconds.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from stream.tasks import end_tasks, failure_of, log_on_error
from stream.telemetry.metrics import Gauges

_BEAT_SECONDS = 1.0
BLOCKED_SECONDS = 30.0
"""A fold whose loop has not run for so long is blocked."""
_ENDING_SECONDS = 10.0


class ThreadedFold(Protocol):
    """What reads topics into a state, beside others, and tells what follows."""

    @property
    def trouble(self) -> str | None:
        """Why it does not work now, in words; None if it does."""

    async def run(self) -> None:
        """Work until it is cancelled."""

    async def close(self) -> None:
        """Keep what is known, and disconnect."""


class FoldThread:
    """Runs a fold in a thread of its own.

    Args:
        fold: what runs there; it must not be used elsewhere but for its trouble and its metrics.
        missing: what is missing while it does not work, such as "incidents are not told of".
        gauges: returns the function that reads each of its metrics.
        log: where its defects are told.
        notes: returns what else an operator should know of it.
    """

    def __init__(
        self,
        fold: ThreadedFold,
        missing: str,
        gauges: Callable[[], Gauges],
        log: logging.Logger,
        notes: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self.fold = fold
        self.gauges = gauges
        self._missing = missing
        self._log = log
        self._notes = notes
        self._is_over = False
        self._beat_at = time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name=missing, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    async def stop(self) -> None:
        """Let the fold keep what it knows and end; one that is blocked is left behind."""
        if self._loop is None:
            self._stopping.set()
        else:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._stopping.set)
        await asyncio.to_thread(self._thread.join, _ENDING_SECONDS)
        if self._thread.is_alive():
            self._log.error("%s: it did not end in %.0f s, and keeps nothing", self._missing, _ENDING_SECONDS)

    def warnings(self) -> list[str]:
        """Return what an operator should know; empty if it works."""
        blocked_s = time.monotonic() - self._beat_at
        if self._is_over:
            return [self._over]
        if self._thread.is_alive() and blocked_s > BLOCKED_SECONDS:
            return [f"{self._missing}: a step of it has lasted for {blocked_s:,.0f} s; all else goes on"]
        trouble = self.fold.trouble
        return [*([] if trouble is None else [f"{self._missing}: {trouble}"]), *self._notes()]

    @property
    def _over(self) -> str:
        return f"{self._missing} any more, until the guard is restarted: a defect ended this part of it"

    # --- in the thread

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(work) for work in (self.fold.run(), self._stopping.wait(), self._beat())]
        working, stopping, _ = tasks
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                log_on_error(self._log, self._over, working)
                self._is_over = failure_of(working) is not None
                await stopping
        finally:
            await end_tasks(*tasks)
        closing = asyncio.create_task(self.fold.close())
        await asyncio.wait({closing})
        log_on_error(
            self._log, f"{self._missing}: what is known could not be kept; it is read from the topics", closing
        )

    async def _beat(self) -> None:
        while True:
            self._beat_at = time.monotonic()
            await asyncio.sleep(_BEAT_SECONDS)


class FoldThreads:
    """All folds beside the guard."""

    def __init__(self, *threads: FoldThread) -> None:
        self._threads = threads

    def start(self) -> None:
        """Begin each."""
        for one in self._threads:
            one.start()

    async def stop(self) -> None:
        """End all of them, at the same time."""
        await asyncio.gather(*(one.stop() for one in self._threads))

    def gauges(self) -> Gauges:
        """Return the function that reads each metric of all."""
        return {name: read for one in self._threads for name, read in one.gauges().items()}

    def warnings(self) -> list[str]:
        """Return what an operator should know of each."""
        return [warning for one in self._threads for warning in one.warnings()]
