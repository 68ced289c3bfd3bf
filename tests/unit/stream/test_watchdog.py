"""The watchdog ends a process that hangs, drains for too long or loses a background task, and no other."""

import asyncio

import pytest

from stream.watchdog import Watchdog, end_on_error


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


async def ended_as_cancelled() -> None:
    raise asyncio.CancelledError


async def test_a_task_that_ends_as_cancelled_without_being_cancelled_ends_the_process(ended: list[str]) -> None:
    task = asyncio.create_task(ended_as_cancelled())
    task.add_done_callback(end_on_error)
    await asyncio.wait({task})
    await asyncio.sleep(0)
    (reason,) = ended
    assert "ended_as_cancelled" in reason
    assert "was not cancelled" in reason


async def test_a_task_that_is_cancelled_or_whose_awaiting_task_is_ends_no_process(ended: list[str]) -> None:
    inner = asyncio.create_task(asyncio.Event().wait())

    async def outer() -> None:
        async with asyncio.timeout(60):
            await asyncio.gather(inner)

    task = asyncio.create_task(outer())
    for one in (inner, task):
        one.add_done_callback(end_on_error)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task, inner})
    await asyncio.sleep(0)
    assert (inner.cancelled(), task.cancelled(), ended) == (True, True, [])
