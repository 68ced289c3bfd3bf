"""Every implementation of `features.history.store`: in memory, on Redis, on a Cluster, or two that share one.

Those on Redis also exist for the oldest and the newest available server, and for Valkey.
"""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Any

import pytest

from features.declaration import FeatureSet, load
from features.history.store import HistoryStore, RetentionPolicy
from features.memory_store import MemoryStore
from features.redis.store import RedisStore, StoreOptions
from support.features.streams import START_MS
from support.redis.cluster import redis_cluster
from support.redis.server import NAMES, redis_server, wheel_binary

DEFAULT = load("features.default_set_2")
FIRST_SET = load(None)
DEPLOYMENTS = itertools.count()
NOW_MS = 1_700_000_000_000

KINDS = (
    *("memory", "redis", "two workers", "cluster", "two workers on a cluster"),
    *("oldest", "newest", "valkey", "cluster of the oldest", "cluster of the newest", "cluster of valkey"),
)
IN_EVERY_RUN = ("memory", "redis", "two workers", "cluster")


def marks_of(kind: str) -> list[pytest.MarkDecorator]:
    """Return the marks of a store's tests: whether they need a server, and whether a normal run leaves them out."""
    marks = [] if kind == "memory" else [pytest.mark.integration]
    return marks if kind in IN_EVERY_RUN else [*marks, pytest.mark.acceptance]


STORES = tuple(pytest.param(kind, marks=marks_of(kind)) for kind in KINDS)
"""The kinds as parameters of tests: all but the first start servers."""


@asynccontextmanager
async def worker(
    url: str,
    deployment: str,
    features: RetentionPolicy = FIRST_SET,
    *,
    clock: Callable[[], int] = lambda: NOW_MS,
    emptied: bool = False,
    **options: Any,
) -> AsyncIterator[RedisStore]:
    """A store that is connected as a worker's is; other arguments are options of the store."""
    store = RedisStore(url, deployment, features, clock, StoreOptions(**options))
    try:
        await store.connect(emptied=emptied)
        yield store
    finally:
        await store.close()


PATIENT = StoreOptions(timeout_s=10.0)
"""On a machine that all tests share, a server may not answer within the second that a worker waits."""


class Servers:
    """The servers of the stores, each started when its URL is first asked for."""

    def __init__(self, started: ExitStack) -> None:
        self._started = started
        self._urls: dict[tuple[bool, str | None], str] = {}

    def url(self, kind: str) -> str:
        names = [name for name in NAMES if name in kind]
        which = "cluster" in kind, names[0] if names else None
        if which not in self._urls:
            self._urls[which] = self._start(*which)
        return self._urls[which]

    def _start(self, clustered: bool, name: str | None) -> str:  # noqa: FBT001 - it is the fact itself
        try:
            binary = None if name is None else wheel_binary(name)
        except FileNotFoundError as error:
            pytest.skip(str(error))
        if clustered:
            return self._started.enter_context(redis_cluster(replicas=False, binary=binary)).url
        return self._started.enter_context(redis_server(binary=binary))


def clock() -> int:
    return START_MS


@asynccontextmanager
async def opened(
    kind: str,
    servers: Servers,
    feature_set: FeatureSet = DEFAULT,
    kept: RetentionPolicy | None = None,
    options: StoreOptions = PATIENT,
) -> AsyncIterator[Callable[[], HistoryStore]]:
    """Yield a function that returns the store to use next, one or two in turn; histories are also kept for `kept`."""
    if kind == "memory":
        store = MemoryStore(feature_set, retentions=None if kept is None else kept.retentions)
        yield lambda: store
        return
    deployment = f"d{next(DEPLOYMENTS)}"
    async with AsyncExitStack() as stack:
        stores = []
        if kept is not None:
            with_needs = RedisStore(servers.url(kind), deployment, kept, clock, options)
            stack.push_async_callback(with_needs.close)
            await with_needs.connect()
        for _ in range(2 if "two" in kind else 1):
            stores.append(RedisStore(servers.url(kind), deployment, feature_set, clock, options))
            stack.push_async_callback(stores[-1].close)
            await stores[-1].connect()
        turns = itertools.cycle(stores)
        yield lambda: next(turns)
