"""How a store uses its server, and the way to it: one server or a Redis Cluster, as the URL says.

Nothing here knows a history.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

from features.history.store import Entity
from features.redis.cluster_link import ClusterLink
from features.redis.cluster_urls import is_cluster
from features.redis.link import Link
from features.redis.server_link import RedisLink
from features.redis.shards import ALONE, HOME, ON_A_CLUSTER, Shards


class Options(NamedTuple):
    """What can be chosen.

    `prefix` begins all keys; `timeout_s` is the longest wait for one answer; `cache_bytes` bounds what is remembered;
    `cluster_shards` are so many on a Redis Cluster, as long as a deployment lives. `needed` says how far back histories
    have to be whole at this moment: as far as the store's own sets look where it is None. `turns` is the lock of
    another store of this process, which is taken where its calls would come between again and again.
    """

    prefix: str = "fraudstream:"
    timeout_s: float = 1.0
    cache_bytes: int = 512 << 20
    cluster_shards: int = ON_A_CLUSTER
    needed: Callable[[], Mapping[Entity, int]] | None = None
    turns: asyncio.Lock | None = None


DEFAULT = Options()


def open_link(url: str, deployment: str, options: Options) -> tuple[Link, Shards]:
    """Return the way to a server, which is not gone yet, and which keys of a deployment live together there."""
    shards = Shards(options.prefix, deployment, options.cluster_shards if is_cluster(url) else ALONE)
    if is_cluster(url):
        return ClusterLink(url, shards, options.timeout_s), shards
    return RedisLink(url, shards.epochs[HOME] + b":tried", options.timeout_s), shards
