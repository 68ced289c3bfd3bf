"""The one place that reads the wall clock; everywhere else time is an argument."""

import time


def now_ms() -> int:
    """Return the wall clock in whole milliseconds of the Unix epoch."""
    return time.time_ns() // 1_000_000  # noqa: TID251 - this is that place
