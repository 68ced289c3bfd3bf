"""No check of input takes longer for a byte of a large input than for one of a small input."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.parts import checks as module
from benchmarks.parts.checks import CHECKS, Check, CheckLine, inputs, measure, search

SIZES = (4 * 1024, 32 * 1024)
"""Eight times as much: a quadratic check takes eight times as long for each byte."""


def quadratic(data: bytes) -> int:
    """Look at all earlier bytes for every 64th, if there are dashes."""
    return sum(data[:at].count(b"4") for at in range(0, len(data), 64)) if b"-" in data else 0


QUADRATIC = Check("quadratic", quadratic, (([(b"", b"")], (b"x", b"4-", b"1")),))


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


def test_a_search_finds_a_unit_that_is_worse_than_those_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    def cost(_check: Check, data: bytes, _rounds: int) -> float:
        return float(data.count(b"77"))

    monkeypatch.setattr(module, "nanoseconds", cost)
    unit, found = search(QUADRATIC, 0.5)
    assert "7" in unit
    assert found > max(cost(QUADRATIC, one, 1) for _, one in inputs(QUADRATIC))


@pytest.mark.parametrize(("large_ns", "code"), [(3.0, 0), (30.0, 1)])
def test_the_command_exits_with_1_if_a_check_is_not_linear(
    monkeypatch: pytest.MonkeyPatch, large_ns: float, code: int
) -> None:
    def measured(check: Check) -> CheckLine:
        return CheckLine(check.name, "[x]..", 65_536, 1_048_576, 2.0, large_ns)

    monkeypatch.setattr(module, "measure", measured)
    done = CliRunner().invoke(main, ["checks", "--json"])
    facts: dict[str, Any] = json.loads(done.stdout)
    assert done.exit_code == code
    assert len(facts["lines"]) == len(CHECKS)
    assert facts["lines"][0]["ratio"] == large_ns / 2
    done = CliRunner().invoke(main, ["checks"], env={"COLUMNS": "200"})
    assert done.exit_code == code
    assert "[x].." in done.stdout
    assert ("not linear" in done.stdout) == bool(code)
