"""Background tasks that are to end do end, whatever becomes of their first cancellation."""

import asyncio
import contextlib

import pytest

from stream import tasks
from stream.tasks import InProgress, both, end_tasks, next_tick


async def forever() -> None:
    await asyncio.Event().wait()


async def deaf(times: int) -> str:
    """Lose so many cancellations, as `asyncio.wait_for` may, and go on."""
    for _ in range(times):
        with contextlib.suppress(asyncio.CancelledError):
            await forever()
    await forever()
    return "never"


async def failing() -> None:
    raise ValueError("a fault")


async def test_tasks_that_lose_cancellations_are_cancelled_until_they_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_CLEAN_UP_SECONDS", 0.01)
    work = [asyncio.create_task(one) for one in (forever(), deaf(1), deaf(3))]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        ends = await end_tasks(*work)
    assert [type(end) for end in ends] == [asyncio.CancelledError] * 3
    assert all(task.done() for task in work)


async def test_a_task_that_cleans_up_is_waited_for() -> None:
    cleaned = False

    async def cleaning() -> None:
        nonlocal cleaned
        try:
            await forever()
        finally:
            await asyncio.sleep(0.05)
            cleaned = True

    work = asyncio.create_task(cleaning())
    await asyncio.sleep(0)
    await end_tasks(work)
    assert cleaned


async def test_results_and_errors_are_returned_in_their_order() -> None:
    async def seven() -> int:
        return 7

    work: list[asyncio.Task[object]] = [asyncio.create_task(one) for one in (seven(), failing(), forever())]
    await asyncio.sleep(0)
    value, error, cancelled = await end_tasks(*work)
    assert value == 7
    assert isinstance(error, ValueError)
    assert isinstance(cancelled, asyncio.CancelledError)


async def test_two_things_are_waited_for_at_the_same_time_and_the_error_of_one_when_both_have_ended() -> None:
    begun, ended = asyncio.Event(), list[str]()

    async def first() -> int:
        await asyncio.wait_for(begun.wait(), 5)
        ended.append("first")
        return 1

    async def second(*, fails: bool) -> str:
        begun.set()
        if fails:
            raise OSError("away")
        return "two"

    assert await both(first(), second(fails=False)) == (1, "two")
    begun.clear()
    with pytest.raises(OSError, match="away"):
        await both(first(), second(fails=True))
    assert ended == ["first", "first"]


@pytest.mark.parametrize(
    ("now", "period", "tick"), [(10.0, 0.5, 10.5), (10.25, 0.5, 10.5), (10.25, 1, 11), (10.25, 2, 12), (7.0, 0, 7.0)]
)
def test_ticks_are_the_multiples_of_a_period_since_a_beginning(now: float, period: float, tick: float) -> None:
    assert next_tick(now, period, 0.0) == tick
    assert next_tick(now + 100.125, period, 100.125) == tick + 100.125


async def test_what_has_begun_is_waited_for_though_it_fails_and_what_begins_meanwhile_is_not() -> None:
    progress, ends, done = InProgress(), [asyncio.Event() for _ in range(3)], list[str]()

    async def work(number: int) -> None:
        with progress.step():
            await ends[number].wait()
            raise OSError("away")

    async def wait() -> None:
        await progress.wait_for_begun()
        done.append("all")

    await progress.wait_for_begun()
    tasks = [asyncio.create_task(work(0)), asyncio.create_task(work(1))]
    await asyncio.sleep(0)
    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(work(2)))
    for number, expected in ((0, []), (1, ["all"])):
        ends[number].set()
        await asyncio.wait({tasks[number]})
        await asyncio.sleep(0)
        assert done == expected
    await waiting
    await end_tasks(*tasks)
