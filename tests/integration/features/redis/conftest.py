"""A Redis server for each test module, a plain client of it, and a deployment for each test."""

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest
import redis.asyncio as redis_asyncio

from support.redis.server import redis_server

DEPLOYMENTS = itertools.count()


@pytest.fixture
def deployment() -> str:
    """A name that no other test's histories have."""
    return f"test{next(DEPLOYMENTS)}"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture
async def client(server: str) -> AsyncIterator[redis_asyncio.Redis]:
    async with redis_asyncio.Redis.from_url(server) as opened:
        yield opened
