"""The servers of the contract tests, and each history store in turn."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack

import pytest

from features.history.store import HistoryStore
from support.features.stores import STORES, Servers, opened


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with ExitStack() as started:
        yield Servers(started)


@pytest.fixture(params=STORES)
async def pick(request: pytest.FixtureRequest, servers: Servers) -> AsyncIterator[Callable[[], HistoryStore]]:
    async with opened(request.param, servers) as picked:
        yield picked
