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
        self._countdown: float | None = None

    def count_down(self, seconds: float) -> None:
        """End the process in so many seconds unless it has ended by itself."""
        self._countdown = seconds

    def run(self) -> None:
        """Watch until the process ends."""
        last = dict.fromkeys(self._pulses, -1)
        still = dict.fromkeys(self._pulses, 0.0)
        while True:
            time.sleep(_TICK_SECONDS)
            for name, pulse in self._pulses.items():
                beat = pulse()
                still[name] = 0.0 if beat != last[name] else still[name] + _TICK_SECONDS
                last[name] = beat
                if still[name] >= self._patience:
                    end_process(f"{name} has not moved for {still[name]:.0f} s")
            if self._countdown is not None:
                self._countdown -= _TICK_SECONDS
                if self._countdown <= 0:
                    end_process("the drain's deadline passed")
