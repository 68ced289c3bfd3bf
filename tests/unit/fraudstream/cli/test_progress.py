"""Progress of a long command: bars on a terminal, a line each ten seconds elsewhere, nothing of a quick one."""

import sys

import pytest

from fraudstream.cli import progress
from fraudstream.cli.progress import bars


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def test_in_a_pipe_a_line_comes_each_ten_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with bars() as tell:
        for second in range(35):
            clock.now = 100.0 + second
            tell("scores", second * 1_000, 40_000)
    assert capsys.readouterr().err.splitlines() == [
        "scores: 10,000 of 40,000, 25%",
        "scores: 20,000 of 40,000, 50%",
        "scores: 30,000 of 40,000, 75%",
    ]


def test_a_quick_command_says_nothing_of_its_progress(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with bars() as tell:
        tell("scores", 0, 0)
        clock.now += 9.9
        tell("scores", 10, 10)
    assert capsys.readouterr().err == ""


def test_a_terminal_has_bars(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with bars() as tell:
        tell("scores", 3, 4)
    assert "3/4" in capsys.readouterr().err
