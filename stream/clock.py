"""The one place that reads the wall clock; everywhere else time is an argument."""

import time
from dataclasses import dataclass, field
from typing import NamedTuple


def now_ms() -> int:
    """Return the wall clock in whole milliseconds of the Unix epoch."""
    return time.time_ns() // 1_000_000  # noqa: TID251 - this is that place


def now_ns() -> int:
    """Return the wall clock in nanoseconds of the Unix epoch."""
    return time.time_ns()  # noqa: TID251 - this is that place


class Stage(NamedTuple):
    """One stage of a batch's way, from and to in nanoseconds of the Unix epoch."""

    name: str
    start_ns: int
    end_ns: int


@dataclass(slots=True)
class Stopwatch:
    """Splits the time since it was made into stages, one behind the other; a stepped clock does not disturb it."""

    stages: list[Stage] = field(default_factory=list)
    _began_ns: int = field(default_factory=time.time_ns)  # noqa: TID251 - this is that place
    _began: int = field(default_factory=time.perf_counter_ns)

    def lap(self, name: str) -> None:
        """End the stage that began with the last lap."""
        start_ns = self.stages[-1].end_ns if self.stages else self._began_ns
        self.stages.append(Stage(name, start_ns, self._began_ns + time.perf_counter_ns() - self._began))
