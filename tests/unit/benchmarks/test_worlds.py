"""Worlds with known truth: a broken promise is an error, and a foreign evaluator computes the same figures."""

import importlib.util
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from benchmarks.worlds import __main__ as command
from benchmarks.worlds.foreign import (
    BUDGETS,
    CARDS,
    compare_with_strikeone,
    draw_scored,
    export,
    our_figures,
)
from benchmarks.worlds.promise import BEYOND, Bound, Promise, World, at_least, finding

HALF = Promise("a toss shows heads", Bound.AT_MOST, 0.5, "guards")
TOSSES = World("tosses", "guards", "a fair coin", (HALF,), 50, lambda rng: (bool(rng.random() < 0.5),))


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(command.main, arguments)


def test_a_broken_promise_ends_with_1_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = TOSSES._replace(name="a loaded coin", draw=lambda _rng: (True,))
    monkeypatch.setattr(command, "WORLDS", (TOSSES, loaded))
    kept, broken = run("--only", "tosses"), run("--markdown")
    assert kept.exit_code == 0, kept.output
    assert broken.exit_code == 1
    assert "1 promises are broken" in broken.stderr
    assert "| **a loaded coin**: a fair coin | a toss shows heads | at most 50.0 % | 100.0 % |" in broken.stdout
    assert broken.stdout.count("BROKEN") == 1


def test_a_probability_of_events_is_that_of_the_binomial_distribution() -> None:
    for events, runs, chance in ((3, 20, 0.05), (1, 400, 0.01), (40, 60, 0.5), (20, 20, 0.9)):
        terms = (math.comb(runs, one) * chance**one * (1 - chance) ** (runs - one) for one in range(events, runs + 1))
        assert at_least(events, runs, chance) == pytest.approx(math.fsum(terms))
    assert (at_least(0, 5, 0.0), at_least(1, 5, 0.0), at_least(5, 5, 1.0)) == (1.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("bound", "figure", "kept", "broken"),
    [
        (Bound.AT_MOST, 0.1, [1] * 20 + [0] * 80, [1] * 21 + [0] * 79),
        (Bound.AT_LEAST, 0.9, [0] * 20 + [1] * 80, [0] * 21 + [1] * 79),
        (Bound.MEDIAN, 7.0, [math.inf] * 65 + [7.0] * 35, [math.inf] * 66 + [7.0] * 34),
        (Bound.UNBIASED, 0.0, [1.0, -1.0] * 40 + [1.0] * 20, [1.0, -1.0] * 30 + [1.0] * 40),
        (Bound.AT_MOST, 0.0, [0] * 100, [1] + [0] * 99),
    ],
)
def test_a_promise_is_broken_by_what_chance_does_not_explain(
    bound: Bound, figure: float, kept: list[float], broken: list[float]
) -> None:
    promise = Promise("", bound, figure, "")
    assert finding(TOSSES, promise, np.array(kept)).kept
    assert not finding(TOSSES, promise, np.array(broken)).kept
    assert at_least(20, 100, 0.1) >= BEYOND > at_least(21, 100, 0.1)


def test_the_error_of_what_never_happened_is_not_0() -> None:
    found = finding(TOSSES, HALF, np.zeros(98))
    assert (found.measured, found.error) == (0.0, pytest.approx(0.01, rel=0.01))
    nothing = HALF._replace(bound=Bound.NONE)
    assert finding(TOSSES, nothing, np.ones(9)).kept
    assert command.cells(finding(TOSSES, nothing, np.ones(9)))[2:] == ("nothing", "100.0 %", "9.6 %", "9", "")


# --- strikeone


def strikeone_python() -> Path:
    """Return a Python with strikeone: that of STRIKEONE_PYTHON, or this one."""
    stated = os.environ.get("STRIKEONE_PYTHON")
    if stated is None and importlib.util.find_spec("strikeone") is None:
        pytest.skip("strikeone is not installed; `pip install strikeone` elsewhere, STRIKEONE_PYTHON names its Python")
    return Path(stated or sys.executable)


def test_strikeone_computes_the_same_figures_of_exported_scores() -> None:
    for one in compare_with_strikeone(strikeone_python()):
        assert one.is_equal, one


@pytest.mark.acceptance
def test_exported_scores_are_cases_of_several_frauds_with_ties(tmp_path: Path) -> None:
    scored = draw_scored(np.random.default_rng(1))
    export(scored, tmp_path / "scores.csv")
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert len(lines) == len(scored.card) + 1
    assert lines[0] == "payment,card,second,amount_minor,score,fraud,day,declined,alert_5,alert_20,alert_50"
    figures = our_figures(scored)
    assert figures["cases: cards with fraud"] == len(np.unique(scored.card[scored.fraud]))
    assert scored.fraud.sum() > 1.5 * len(np.unique(scored.card[scored.fraud]))
    assert len(np.unique(scored.card)) == CARDS
    of_frauds = np.column_stack((scored.card, scored.second))[scored.fraud]
    assert len(np.unique(of_frauds, axis=0)) < len(of_frauds), "some frauds of a card have the same second"
    assert len(figures) == 4 + 5 * len(BUDGETS)
    assert all(value is not None for value in figures.values())


def test_a_python_without_strikeone_is_an_error_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "python"
    empty.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'strikeone'\" >&2\nexit 1\n")
    empty.chmod(0o755)
    monkeypatch.setattr(command, "WORLDS", (TOSSES,))
    result = run("--strikeone", str(empty))
    assert result.exit_code == 1
    assert "Error: strikeone cannot be run by" in result.stderr
    with pytest.raises(RuntimeError, match=r"strikeone cannot be run by .*: .*No module named 'strikeone'"):
        compare_with_strikeone(empty)


@pytest.mark.acceptance
@pytest.mark.timeout(3_000)
def test_every_promise_is_kept_in_every_world() -> None:
    """As many runs as the command draws for one seed: some minutes."""
    result = run("--seeds", "32")
    assert result.exit_code == 0, result.output
