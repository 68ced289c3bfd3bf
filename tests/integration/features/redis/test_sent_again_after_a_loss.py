"""A payment that is sent again just after Redis was emptied is not appended in place of the one that was decided."""

import itertools

import pytest
import redis.asyncio as redis_asyncio

from features.declaration import load
from features.errors import StoreUnavailableError
from features.history.store import Fate
from features.redis.progress import LogPart, PartProgress, PartReport
from features.redis.store import RedisStore
from stream.recovery.outage import WaitingStore
from support.features.recount import transaction, transactions

pytestmark = pytest.mark.integration

NOW = 1_700_000_000_000
DEPLOYMENTS = itertools.count()


@pytest.mark.parametrize("cached", [True, False], ids=["its card is cached", "its card is not cached"])
async def test_what_comes_again_before_the_loss_is_noticed_is_repeated_once_histories_are_rebuilt(
    server: str, client: redis_asyncio.Redis, *, cached: bool
) -> None:
    store = RedisStore(server, f"again-{next(DEPLOYMENTS)}", load(None), lambda: NOW)
    waiting = WaitingStore(store)
    decided, again = transaction(0), transaction(0) | {"offset": 9}
    assert again["content"] == decided["content"]
    try:
        await store.connect()
        assert (await waiting.observe(transactions([decided]))).fates == [Fate.DECIDE]
        if not cached:
            store._session.limit_cache(1 << 20)
        await client.flushall()
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="lost histories"):
                await waiting.observe(transactions([again]))
        await store.apply(transactions([decided]))  # as the repair does
        repair = store.state.pending_repair
        assert repair is not None
        done = PartReport(PartProgress(0, 1, 1), 0)
        await store.repair_progress.report(repair, {LogPart(of_labels=False, partition=0): done}, 1)
        await store.refresh()
        assert (await waiting.observe(transactions([again]))).fates == [Fate.REPEATED]
    finally:
        await store.close()
