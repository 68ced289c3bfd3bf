"""The watchdog ends a process that hangs or drains for too long, and none that drained in time."""

import pytest

from stream.watchdog import Watchdog


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the reasons with which the process would have been ended."""
    reasons: list[str] = []
    monkeypatch.setattr("stream.watchdog.end_process", reasons.append)
    return reasons


def ticks(watchdog: Watchdog, count: int) -> None:
    for _ in range(count):
        watchdog.tick()


def test_a_process_with_moving_pulses_is_ended_only_when_its_drain_exceeds_the_deadline(ended: list[str]) -> None:
    beats = iter(range(1000))
    watchdog = Watchdog(lambda: {"the event loop": next(beats)}, 3.0)
    ticks(watchdog, 100)
    watchdog.count_down(20.0)
    ticks(watchdog, 19)
    assert ended == []
    watchdog.tick()
    assert ended == ["the drain's deadline passed"]


def test_a_drained_worker_may_exceed_the_deadline_but_is_ended_if_its_pulse_stops(ended: list[str]) -> None:
    beats = iter(range(20))
    watchdog = Watchdog(lambda: {"the event loop": next(beats, 19)}, 60.0)
    watchdog.count_down(20.0)
    ticks(watchdog, 19)
    watchdog.stand_down()
    ticks(watchdog, 60)
    assert ended == []
    ticks(watchdog, 1)
    assert ended == ["the event loop has not moved for 60 s"]
