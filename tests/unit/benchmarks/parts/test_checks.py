"""No check of input takes longer for a byte of a large input than for one of a small input."""

import pytest

from benchmarks.parts.checks import CHECKS, Check, measure

SIZES = (4 * 1024, 32 * 1024)
"""Eight times as much: a quadratic check takes eight times as long for each byte."""


def quadratic(data: bytes) -> int:
    """Look at all earlier bytes for every 64th, if there are dashes."""
    return sum(data[:at].count(b"4") for at in range(0, len(data), 64)) if b"-" in data else 0


QUADRATIC = Check("quadratic", quadratic, (([(b"", b"")], (b"x", b"4-", b"1")),))


@pytest.mark.acceptance
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_the_worst_inputs_of_a_check_are_read_in_linear_time(check: Check) -> None:
    lines = [line for _ in range(3) if not (line := measure(check, SIZES)).is_linear]
    assert len(lines) < 3, lines


def test_a_quadratic_check_is_found_with_its_worst_input() -> None:
    line = measure(QUADRATIC, (8 * 1024, 128 * 1024))  # what each look costs alone hides the smallest input's part
    assert not line.is_linear
    assert line.worst == "4-…"


def test_a_check_is_measured_up_to_what_it_accepts() -> None:
    assert measure(QUADRATIC._replace(largest=8 * 1024), SIZES)[2:4] == (4 * 1024, 8 * 1024)
    assert measure(QUADRATIC._replace(largest=2 * 1024), SIZES)[2:4] == (128, 2 * 1024)
