"""The only module that reads the wall clock; elsewhere, time is an argument."""

import time
from dataclasses import dataclass, field
from typing import NamedTuple


def now_ms() -> int:
    """Return the wall clock in whole milliseconds of the Unix epoch."""
    return time.time_ns() // 1_000_000  # noqa: TID251 - the only module that may


def now_ns() -> int:
    """Return the wall clock in nanoseconds of the Unix epoch."""
    return time.time_ns()  # noqa: TID251 - the only module that may


class Stage(NamedTuple):
    """One stage of a batch's processing; start and end in nanoseconds of the Unix epoch."""

    name: str
    start_ns: int
    end_ns: int


@dataclass(slots=True)
class Stopwatch:
    """Splits the time since its creation into consecutive stages; not affected by steps of the wall clock."""

    stages: list[Stage] = field(default_factory=list)
    _began_ns: int = field(default_factory=time.time_ns)  # noqa: TID251 - the only module that may
    _began: int = field(default_factory=time.perf_counter_ns)

    def lap(self, name: str) -> None:
        """End the current stage under this name; the next one starts now."""
        start_ns = self.stages[-1].end_ns if self.stages else self._began_ns
        self.stages.append(Stage(name, start_ns, self._began_ns + time.perf_counter_ns() - self._began))
