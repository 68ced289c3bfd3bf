"""The prefixes of a log that are tried for a decision, by the times of its records."""

from typing import Any

import numpy as np
import pytest

from fraudstream.lab.rescoring.displaced_search import IN_FLIGHT_MS, PartyLog

STEP_MS = 60_000


def log(clock_ms: int) -> PartyLog:
    """Return a log of five records, a minute apart, that a worker decided whose clock is off by so much."""
    none: Any = None
    sent = np.arange(5, dtype=np.int64) * STEP_MS
    return PartyLog(none, none, np.arange(5, dtype=np.int64), sent + clock_ms, sent)


@pytest.mark.parametrize(
    ("clock_ms", "at", "ends"),
    [
        (0, 1, [1]),
        (STEP_MS, 1, [1, 2]),
        (-STEP_MS, 1, [1]),
        (-IN_FLIGHT_MS - 1, 4, [4]),
        (-3_600_000, 0, [0]),
    ],
)
def test_a_decision_saw_at_least_its_own_record_whatever_the_clock_said(
    clock_ms: int, at: int, ends: list[int]
) -> None:
    assert list(log(clock_ms).possible_ends(at)) == ends
