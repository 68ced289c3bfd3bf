"""The Redis keys of a measurement: those of a deployment of its own, which are deleted at its end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from features.redis.client import PATIENT_S, open_client
from features.redis.cluster_client import ClusterClient
from features.redis.keys import CLUSTER_SHARDS, KeyLayout
from features.redis.urls import is_cluster

PREFIX = "fraudstream:"
_AT_ONCE = 1_000


def keys_of(name: str) -> str:
    """Return the prefix of all keys of a deployment or of a compared store, on a single server."""
    return f"{PREFIX}{name}"


async def delete_keys(client: Redis, prefix: str) -> None:
    """Delete all keys of a server with this prefix."""
    found = [key async for key in client.scan_iter(match=f"{prefix}*", count=_AT_ONCE)]
    for at in range(0, len(found), _AT_ONCE):
        async with client.pipeline(transaction=False) as pipeline:
            for key in found[at : at + _AT_ONCE]:  # one by one: on a cluster they are in several slots
                pipeline.unlink(key)
            await pipeline.execute()


@asynccontextmanager
async def own_keys(url: str, deployment: str) -> AsyncIterator[None]:
    """Delete the keys of a deployment at the end, on a single server or on all masters of a cluster.

    Raises:
        StoreUnavailableError: a cluster does not answer.
        redis.exceptions.RedisError: a server does not answer.
    """
    try:
        yield
    finally:
        if is_cluster(url):
            await _delete_from_cluster(url, deployment)
        else:
            async with open_client(url) as client:
                await delete_keys(client, keys_of(f"{deployment}:"))


async def _delete_from_cluster(url: str, deployment: str) -> None:
    cluster = ClusterClient(url, KeyLayout(PREFIX, deployment, CLUSTER_SHARDS).slots, PATIENT_S)
    try:
        for master in (await cluster.topology()).masters:
            await delete_keys(cluster.server(master.address).client, f"{PREFIX}{{{deployment}/")
    finally:
        await cluster.close()
