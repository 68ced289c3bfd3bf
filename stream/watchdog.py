"""A thread that ends a worker that hangs, so that the group gives its partitions to another worker.

It counts its own wake-ups instead of reading a clock: a process that was suspended and resumed is not taken for hung.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from stream.tasks import failure_of

log = logging.getLogger("fraudstream.watchdog")

EXIT_FATAL = 70
"""The exit code of a worker that could not go on (EX_SOFTWARE)."""

_TICK_SECONDS = 1.0


def end_process(reason: str) -> None:
    """End the process at once and without a commit: the records in work are decided by their next owner."""
    log.critical("ending: %s", reason)
    logging.shutdown()
    os._exit(EXIT_FATAL)


def end_on_error(task: "asyncio.Task[Any]") -> None:
    """End the process if the background task failed: others would wait for it for ever."""
    if (failure := failure_of(task)) is not None:
        end_process(f"background work failed: {failure!r}")


class Watchdog(threading.Thread):
    """Ends the process when a pulse has not changed for `patience_seconds`, or when the countdown reaches zero.

    `pulses` returns, by the name of what is watched now, a counter which rises while it works.
    """

    def __init__(self, pulses: Callable[[], Mapping[str, int]], patience_seconds: float) -> None:
        super().__init__(name="fraudstream-watchdog", daemon=True)
        self._pulses = pulses
        self._patience = patience_seconds
        self._last: Mapping[str, int] = {}
        self._still: dict[str, float] = {}
        self._allowed: float | None = None
        self._drained = 0.0

    def count_down(self, seconds: float) -> None:
        """End the process after so many seconds, unless it ends by itself or `stand_down` is called before."""
        self._allowed = seconds

    def stand_down(self) -> None:
        """Stop the countdown, because the drain is done and no decision is left.

        The pulses are still watched: a shutdown that hangs is ended after `patience_seconds`.
        """
        self._allowed = None

    def run(self) -> None:
        """Check every second until the process ends."""
        while True:
            time.sleep(_TICK_SECONDS)
            self.tick()

    def tick(self) -> None:
        """Check once; a pulse that has not changed since the last check is one tick older."""
        # In the watchdog's thread, while those watched count on: a count that is one too old is seen a tick later.
        beats = self._pulses()
        self._still = {
            name: self._still.get(name, 0.0) + _TICK_SECONDS if self._last.get(name) == beat else 0.0
            for name, beat in beats.items()
        }
        self._last = beats
        for name, seconds in self._still.items():
            if seconds >= self._patience:
                end_process(f"{name} has not moved for {seconds:.0f} s")
        allowed = self._allowed  # read once: the main thread may call `stand_down` meanwhile
        if allowed is not None:
            self._drained += _TICK_SECONDS
            if self._drained >= allowed:
                end_process("the drain's deadline passed")
