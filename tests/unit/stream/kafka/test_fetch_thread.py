"""The thread of the consumer reports its end to the main loop, however its consumer stops."""

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError

from stream.kafka.fetch_thread import FetchThread


class StoppingThread(FetchThread):
    """A thread whose consumer raises while it stops; it does not run."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.reported = 0

    async def on_thread_stop(self) -> None:
        raise self.error

    def set_shutdown(self) -> None:
        self.reported += 1


async def test_a_stop_interrupted_by_a_cancelled_fetch_is_reported_to_the_main_loop() -> None:
    thread = StoppingThread(asyncio.CancelledError())
    await thread._shutdown_thread()
    assert thread.reported == 1


async def test_an_error_while_the_consumer_stops_is_raised_and_reported_to_the_main_loop() -> None:
    thread = StoppingThread(OSError("closed"))
    with pytest.raises(OSError, match="closed"):
        await thread._shutdown_thread()
    assert thread.reported == 1


async def test_what_is_asked_of_a_consumer_that_has_stopped_is_an_error_of_kafka() -> None:
    thread = StoppingThread(OSError())
    thread.thread_loop = asyncio.new_event_loop()
    thread.thread_loop.close()
    with pytest.raises(KafkaConnectionError, match="the consumer has stopped"):
        await thread.run_on_loop(thread.on_thread_stop())
