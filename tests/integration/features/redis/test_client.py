"""A task that waits for Redis ends when it is cancelled, at any step."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from redis import asyncio as redis_asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from features.redis.client import new_client
from support.redis.server import redis_server

pytestmark = pytest.mark.integration

STEPS = 25
"""Steps of the event loop; more than a command takes."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with redis_server() as opened:
        yield opened


@pytest.fixture
async def client(url: str) -> AsyncIterator[redis_asyncio.Redis]:
    async def greet(connection: redis_asyncio.Connection) -> None:
        await connection.on_connect()

    opened = new_client(url, 1.0, greet)
    await opened.ping()
    yield opened
    await opened.aclose()


async def ends_when_cancelled(work: Callable[[], Awaitable[object]], steps: int) -> bool:
    """Cancel a task after so many steps of the loop; tell whether it was cancelled or had ended before."""
    task = asyncio.ensure_future(work())
    for _ in range(steps):
        await asyncio.sleep(0)
    if not task.cancel():
        return True
    await asyncio.wait({task})
    return task.cancelled()


async def test_a_command_cancelled_at_any_step_ends_and_the_next_one_gets_its_own_reply(
    client: redis_asyncio.Redis,
) -> None:
    for steps in [*range(STEPS)] * 10:
        assert await ends_when_cancelled(client.ping, steps), f"not cancelled after {steps} steps"
        assert await client.echo(f"{steps}") == f"{steps}".encode()


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="asyncio.wait_for was mended in Python 3.12")
async def test_redis_py_alone_swallows_a_cancellation(url: str) -> None:
    """If this fails, redis-py is fixed, and our connection class can be removed."""
    plain = redis_asyncio.Redis.from_url(url, socket_timeout=1.0, retry=Retry(NoBackoff(), 0))
    await plain.ping()
    ended = [await ends_when_cancelled(plain.ping, steps) for steps in [*range(STEPS)] * 10]
    await plain.aclose()
    assert not all(ended)
