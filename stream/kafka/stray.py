"""What aiokafka does in silence, told: requests given up or repeated for ever, and cancellations that it swallows.

It cancels the futures of requests when a connection or a coordinator is lost, and asks on and on for one that is away.
To stop, it cancels its own tasks and suppresses what awaiting them raises, which may be its caller's cancellation.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError


class PlainConsumer(AIOKafkaConsumer):  # type: ignore[misc] # aiokafka ships no types
    """A consumer whose `stop` passes on a cancellation that arrives meanwhile, and ends by itself then."""

    async def stop(self) -> None:
        """Disconnect."""
        await asyncio.shield(super().stop())


class PlainProducer(AIOKafkaProducer):  # type: ignore[misc] # aiokafka ships no types
    """A producer whose `stop` passes on a cancellation that arrives meanwhile, and ends by itself then."""

    async def stop(self) -> None:
        """Write what is pending, and disconnect."""
        await asyncio.shield(super().stop())


def given_up() -> Exception:
    """Return the error about a request that was given up."""
    error: Exception = KafkaConnectionError("the client has given up a request")
    return error


@contextmanager
def given_up_as_error() -> Iterator[None]:
    """Raise an error for a request that was given up; a task that awaits it would end as if it had been cancelled.

    Raises:
        aiokafka.errors.KafkaConnectionError: a request was given up.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise given_up() from error


@asynccontextmanager
async def answered_within(seconds: float, beside: float = 0.0) -> AsyncIterator[None]:
    """Raise an error if the brokers do not answer in time; `beside` seconds are spent on something else.

    Raises:
        aiokafka.errors.KafkaTimeoutError: they have not answered.
    """
    try:
        async with asyncio.timeout(seconds + beside):
            yield
    except TimeoutError as error:
        raise KafkaTimeoutError(f"the brokers have not answered within {seconds:g} s") from error
