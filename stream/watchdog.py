"""A thread that ends the process when the process no longer works: a worker must die loudly, never linger.

It counts its own wake-ups, so a process that was stopped and continued as a whole is not taken for hung.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping

log = logging.getLogger("fraudstream.watchdog")

EXIT_FATAL = 70
"""The exit code of a worker that could not go on (EX_SOFTWARE)."""

_TICK_SECONDS = 1.0


def end_process(reason: str) -> None:
    """End the process now, committing nothing: what was in work is decided by whoever starts next."""
    log.critical("ending: %s", reason)
    logging.shutdown()
    os._exit(EXIT_FATAL)


def end_on_error(task: "asyncio.Task[None]") -> None:
    """End the process over background work that failed: what waits for it would wait for ever."""
    if not task.cancelled() and (error := task.exception()) is not None:
        end_process(f"background work failed: {error!r}")


class Watchdog(threading.Thread):
    """Ends the process when one of `pulses` has not moved for `patience_seconds`, or a countdown runs out.

    Each returns a number that rises while all is well, by what it is the pulse of.
    """

    def __init__(self, pulses: Mapping[str, Callable[[], int]], patience_seconds: float) -> None:
        super().__init__(name="fraudstream-watchdog", daemon=True)
        self._pulses = pulses
        self._patience = patience_seconds
        self._last = dict.fromkeys(pulses, -1)
        self._still = dict.fromkeys(pulses, 0.0)
        self._allowed: float | None = None
        self._drained = 0.0

    def count_down(self, seconds: float) -> None:
        """End the process in so many seconds unless it has ended by itself, or the watchdog was told to stand down."""
        self._allowed = seconds

    def stand_down(self) -> None:
        """Stop the countdown: the drain is through, and what is left to do decides nothing.

        The pulses are watched on, and end with the event loop; so what hangs now is ended after their patience.
        """
        self._allowed = None

    def run(self) -> None:
        """Watch until the process ends."""
        while True:
            time.sleep(_TICK_SECONDS)
            self.tick()

    def tick(self) -> None:
        """Look once: what has not moved since the last look has been still for one tick more."""
        for name, pulse in self._pulses.items():
            beat = pulse()
            self._still[name] = 0.0 if beat != self._last[name] else self._still[name] + _TICK_SECONDS
            self._last[name] = beat
            if self._still[name] >= self._patience:
                end_process(f"{name} has not moved for {self._still[name]:.0f} s")
        allowed = self._allowed  # read once: the main thread may stand the watchdog down meanwhile
        if allowed is not None:
            self._drained += _TICK_SECONDS
            if self._drained >= allowed:
                end_process("the drain's deadline passed")
