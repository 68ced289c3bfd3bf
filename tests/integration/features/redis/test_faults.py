"""Each record is counted once: lost replies, repeated calls, late writes of zombies, batches with other borders.

Three workers' stores share one server behind a proxy that loses requests or replies. As in a worker, the main call is
repeated until it is answered; every outcome must equal a recount of the whole log.
"""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.declaration import load
from features.errors import StoreUnavailableError
from features.history.store import Fate, HistoryStore, Label
from features.redis.store import RedisStore, StoreOptions
from features.vector.vectorise import vectorise
from support.examples import examples
from support.features.recount import Row, transactions
from support.features.streams import Stream, bits, recounted, streams
from support.redis.proxy import EVALSHA, Loss, RedisProxy

pytestmark = pytest.mark.integration

DEFAULT = load(None)
DEPLOYMENTS = itertools.count()
WORKERS = 3
PATIENCE_S = 0.3
MOST_TRIES = 5


class Fault(NamedTuple):
    """The faults of one call: which workers make it, what is lost at which command, and the calls of a zombie.

    `before`: so many of the batch's first records are observed by the zombie before the call. `again`: so many of the
    last records are observed by it after the call, as one batch.
    """

    worker: int
    successor: int
    zombie: int
    loss: Loss | None
    word: bytes
    before: int
    again: int


worker_numbers = st.integers(0, WORKERS - 1)
faults = st.builds(
    Fault,
    worker=worker_numbers,
    successor=worker_numbers,
    zombie=worker_numbers,
    loss=st.sampled_from((*[None] * 6, *[Loss.REPLY] * 6, *[Loss.REQUEST] * 3, Loss.SILENCE)),
    word=st.sampled_from((EVALSHA, EVALSHA, b"MGET")),
    before=st.sampled_from((0, 0, 1, 2)),
    again=st.sampled_from((1, 1, 3, 10)),
)
plans = st.lists(faults, min_size=1, max_size=12)


@pytest.fixture(scope="module")
def proxy(server: str) -> Iterator[RedisProxy]:
    with RedisProxy(server) as opened:
        yield opened


class FaultyStores:
    """Sends a stream through stores with the faults of a plan, which is repeated if it is too short."""

    def __init__(self, proxy: RedisProxy, stores: list[RedisStore], plan: list[Fault]) -> None:
        self._proxy = proxy
        self._stores = stores
        self._plan = itertools.cycle(plan)
        self._sent: list[Row] = []

    async def take(self, part: list[Row] | Label | None) -> list[Any]:
        """Make the main call until it is answered, and return fates with vectors' bits."""
        fault = next(self._plan)
        zombie = self._stores[fault.zombie]
        with suppress(StoreUnavailableError):
            await answered(zombie, part[: fault.before] if isinstance(part, list) else None)
        answers = await self._insist(fault, part)
        self._sent += part if isinstance(part, list) else []
        with suppress(StoreUnavailableError):
            await answered(zombie, part if isinstance(part, Label) else self._sent[-fault.again :])
        return answers

    async def _insist(self, fault: Fault, part: list[Row] | Label | None) -> list[Any]:
        if fault.loss is not None:
            self._proxy.lose(fault.loss, fault.word)
        try:
            for store in [self._stores[fault.worker], *[self._stores[fault.successor]] * MOST_TRIES]:
                try:
                    return await answered(store, part)
                except StoreUnavailableError:
                    continue
        finally:
            self._proxy.spare()
        raise AssertionError(f"not answered in {MOST_TRIES} tries: {fault}")


async def connected(store: RedisStore) -> None:
    """Connect, with retries: on a busy machine that may take longer than the timeout of a call."""
    for _ in range(MOST_TRIES):
        with suppress(StoreUnavailableError):
            return await store.connect()
    raise AssertionError(f"not connected in {MOST_TRIES} tries")


async def answered(store: HistoryStore, part: list[Row] | Label | None) -> list[Any]:
    """Make one call."""
    if part is None:
        await store.compact()
        return []
    if isinstance(part, Label):
        await store.label([part])
        return []
    batch = transactions(part)
    observed = await store.observe(batch)
    assert not observed.incomplete, "a lost reply was mistaken for a lost history"
    vectors = vectorise(DEFAULT, batch, observed)
    pairs = zip(observed.fates, vectors, strict=True)
    return [(fate, bits(vector.tolist()) if fate is Fate.DECIDE else None) for fate, vector in pairs]


@given(stream=streams, plan=plans)
@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_with_any_faults_every_outcome_equals_a_recount_of_the_whole_log(
    proxy: RedisProxy, stream: list, plan: list[Fault]
) -> None:
    async def with_faults() -> list[Any]:
        deployment, result = f"f{next(DEPLOYMENTS)}", list[Any]()
        async with AsyncExitStack() as stack:
            stores = []
            for _ in range(WORKERS):
                options = StoreOptions(timeout_s=PATIENCE_S)
                stores.append(RedisStore(proxy.url, deployment, DEFAULT, lambda: 1_700_000_000_000, options))
                stack.push_async_callback(stores[-1].close)
                await connected(stores[-1])
            faulty = FaultyStores(proxy, stores, plan)
            for part in Stream(stream).parts:
                result += await faulty.take(part)
        return result

    assert asyncio.run(with_faults()) == recounted(Stream(stream), DEFAULT)
