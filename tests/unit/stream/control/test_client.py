"""A client of the control log leaves nothing open, whatever ends it."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer

from stream.control.client import read_events
from stream.settings import Settings


async def test_a_client_that_is_cancelled_while_it_starts_stops_its_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[AIOKafkaConsumer] = []
    starting = asyncio.Event()

    async def start(_: AIOKafkaConsumer) -> None:
        starting.set()
        await asyncio.Event().wait()

    async def stop(consumer: AIOKafkaConsumer) -> None:
        consumer._closed = True
        stopped.append(consumer)

    monkeypatch.setattr(AIOKafkaConsumer, "start", start)
    monkeypatch.setattr(AIOKafkaConsumer, "stop", stop)
    reading = asyncio.create_task(read_events(Settings()))
    await starting.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert len(stopped) == 1
