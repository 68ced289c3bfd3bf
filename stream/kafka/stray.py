"""Requests that aiokafka gives up by itself: it cancels their futures when a connection or a coordinator is lost."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka.errors import KafkaConnectionError


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
        raise KafkaConnectionError("the client has given up a request") from error
