"""A payment that is sent again just after a loss of Redis is not appended in place of the one that was decided."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest
import redis.asyncio as redis_asyncio

from features.declaration import load
from features.errors import StoreUnavailableError
from features.history.store import Fate
from features.redis.progress import LogPart, PartProgress, PartReport
from features.redis.store import RedisStore
from stream.recovery.outage import WaitingStore
from support.features.recount import transaction, transactions
from support.redis.server import free_port, redis_server

pytestmark = pytest.mark.integration

NOW = 1_700_000_000_000


@pytest.fixture
async def store(url: str) -> AsyncIterator[RedisStore]:
    made = RedisStore(url, "again", load(None), lambda: NOW)
    yield made
    await made.close()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def first_server(port: int) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        stack.enter_context(redis_server(port=port))
        yield stack


@pytest.fixture
def url(first_server: ExitStack, port: int) -> str:
    assert first_server
    return f"redis://127.0.0.1:{port}"


@pytest.mark.parametrize("cached", [True, False], ids=["its card is cached", "its card is not cached"])
@pytest.mark.parametrize("how", ["emptied", "begun anew"])
async def test_what_comes_again_before_the_loss_is_noticed_is_repeated_once_histories_are_rebuilt(
    store: RedisStore, url: str, port: int, first_server: ExitStack, *, how: str, cached: bool
) -> None:
    waiting, decided, again = WaitingStore(store), transaction(0), transaction(0) | {"offset": 9}
    assert again["content"] == decided["content"]
    await store.connect()
    assert (await waiting.observe(transactions([decided]))).fates == [Fate.DECIDE]
    if not cached:
        store._session.limit_cache(1 << 20)
    with ExitStack() as second:
        if how == "emptied":
            async with redis_asyncio.Redis.from_url(url) as client:
                await client.flushall()
        else:
            first_server.close()
            second.enter_context(redis_server(port=port))
            async with redis_asyncio.Redis.from_url(url) as client:  # as a dump has it that is older than the payment
                await client.set("fraudstream:again:epoch", store.state.epoch)
        for _ in range(3):
            with pytest.raises(StoreUnavailableError):
                await waiting.observe(transactions([again]))
        await store.apply(transactions([decided]))  # as the repair does
        repair = store.state.pending_repair
        assert repair is not None
        done = PartReport(PartProgress(0, 1, 1), 0)
        await store.repair_progress.report(repair, {LogPart(of_labels=False, partition=0): done}, 1)
        await store.refresh()
        assert (await waiting.observe(transactions([again]))).fates == [Fate.REPEATED]
