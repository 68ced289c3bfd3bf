"""What hangs is ended, what has drained in time is not, and nothing may hang for ever."""

import pytest

from stream.watchdog import Watchdog


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keep the reasons for which the process would have been ended."""
    reasons: list[str] = []
    monkeypatch.setattr("stream.watchdog.end_process", reasons.append)
    return reasons


def ticks(watchdog: Watchdog, count: int) -> None:
    for _ in range(count):
        watchdog.tick()


def test_a_process_whose_pulses_move_lives_until_its_drain_outlives_its_deadline(ended: list[str]) -> None:
    beats = iter(range(1000))
    watchdog = Watchdog({"the event loop": lambda: next(beats)}, 3.0)
    ticks(watchdog, 100)
    watchdog.count_down(20.0)
    ticks(watchdog, 19)
    assert ended == []
    watchdog.tick()
    assert ended == ["the drain's deadline passed"]


def test_a_worker_that_has_drained_may_take_longer_over_its_farewell_but_not_for_ever(ended: list[str]) -> None:
    beats = iter(range(20))
    watchdog = Watchdog({"the event loop": lambda: next(beats, 19)}, 60.0)
    watchdog.count_down(20.0)
    ticks(watchdog, 19)
    watchdog.stand_down()
    ticks(watchdog, 60)
    assert ended == []
    ticks(watchdog, 1)
    assert ended == ["the event loop has not moved for 60 s"]
