"""A request that the client gives up is an error to whoever awaits it, and no cancellation of the task."""

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError

from stream.control import follower
from stream.control.follower import Follower
from stream.kafka.stray import given_up_as_error
from stream.settings import Settings


async def test_a_request_that_is_given_up_is_an_error() -> None:
    request: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    request.cancel()
    with pytest.raises(KafkaConnectionError, match="given up"), given_up_as_error():
        await request


async def test_a_task_that_is_cancelled_ends_and_one_whose_time_is_over_too() -> None:
    async def wait() -> None:
        with given_up_as_error():
            await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await wait()


async def test_the_follower_of_the_control_log_goes_on_after_a_request_was_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follower, "_RETRY_SECONDS", 0.001)
    read_again = asyncio.Event()
    answers: list[asyncio.Future[None]] = [asyncio.get_running_loop().create_future() for _ in range(2)]
    answers[0].cancel()

    async def read(_: Follower) -> None:
        if len(answers) == 1:
            read_again.set()
        await answers.pop(0)

    monkeypatch.setattr(Follower, "_read", read)
    following = asyncio.create_task(Follower(Settings()).run())
    await asyncio.wait_for(read_again.wait(), 5)
    following.cancel()
