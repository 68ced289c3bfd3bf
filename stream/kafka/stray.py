"""What aiokafka does in silence, told: requests given up, cancellations that it swallows, brokers that have moved.

A new client of it knows only the brokers of the settings, even where another one has learnt that all have moved. It
cancels the futures of requests when a connection or a coordinator is lost, and asks on and on for one that is away.
To stop, it cancels its own tasks and suppresses what awaiting them raises, which may be its caller's cancellation.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError

from stream.tasks import end_tasks

_MOVED: dict[str, tuple[str, ...]] = {}
"""Where the clients of this process last found all brokers, by the setting that they began with.

Two threads write it, each whole entries of the same kind: the later one counts.
"""


class KnownBrokers(list[str]):
    """The addresses that a new client begins with: those of the settings, and where earlier clients found the brokers.

    Brokers may all move, one after the other, while a process runs. Clients follow by the metadata that they ask for
    again and again, but a worker makes new ones, with each partition that it takes over.
    """

    def __init__(self, configured: str) -> None:
        super().__init__(dict.fromkeys((*configured.split(","), *_MOVED.get(configured, ()))))
        self._configured = configured

    def learn(self, cluster: ClusterMetadata) -> None:
        """Remember where the brokers are now; a client calls it whenever its metadata are renewed."""
        if found := tuple(_address(broker.host, broker.port) for broker in cluster.brokers()):
            _MOVED[self._configured] = found


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _follow(client: AIOKafkaClient, began_with: object) -> None:
    if isinstance(began_with, KnownBrokers):
        client.cluster.add_listener(began_with.learn)


class PlainConsumer(AIOKafkaConsumer):  # type: ignore[misc] # aiokafka ships no types
    """A consumer whose `stop` passes on a cancellation that arrives meanwhile, and ends by itself then.

    aiokafka's own raises a cancellation that nobody asked for, and leaves its connections open, where a request that
    failed waits to be sent again.
    """

    def __init__(self, *topics: str, **options: Any) -> None:  # noqa: ANN401 - aiokafka's
        super().__init__(*topics, **options)
        _follow(self._client, options.get("bootstrap_servers"))

    async def stop(self) -> None:
        """Disconnect."""
        await asyncio.shield(self._stop())

    async def _stop(self) -> None:
        if self._fetcher is not None:
            await end_tasks(self._fetcher._fetch_task)  # noqa: SLF001
            await end_tasks(*self._fetcher._pending_tasks)  # noqa: SLF001
            self._fetcher._pending_tasks.clear()  # noqa: SLF001
        await super().stop()


class PlainProducer(AIOKafkaProducer):  # type: ignore[misc] # aiokafka ships no types
    """A producer whose `stop` passes on a cancellation that arrives meanwhile, and ends by itself then."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - aiokafka's
        super().__init__(**options)
        _follow(self.client, options.get("bootstrap_servers"))

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
