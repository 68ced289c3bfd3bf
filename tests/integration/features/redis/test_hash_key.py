"""Ids are hashed by a deployment's key, which Redis knows by a check value: another key is refused."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import redis.asyncio as redis_asyncio

from features.declaration import load
from features.errors import StoreRefusedError
from features.history.records import card_hash, hash_key_check, use_hash_key
from features.history.store import Fate
from features.redis.keys import KeyLayout
from features.redis.store import RedisStore
from support.features.recount import transaction, transactions

pytestmark = pytest.mark.integration

DEFAULT = load(None)
NOW = 1_700_000_000_000
KEY, OTHER = b"k" * 32, b"o" * 32


@pytest.fixture(autouse=True)
def _without_a_key_afterwards() -> Iterator[None]:
    yield
    use_hash_key(b"")


@asynccontextmanager
async def store(server: str, deployment: str, key: bytes) -> AsyncIterator[RedisStore]:
    use_hash_key(key)
    opened = RedisStore(server, deployment, DEFAULT, lambda: NOW)
    try:
        await opened.connect()
        yield opened
    finally:
        await opened.close()


async def decided(one: RedisStore, number: int) -> Fate:
    return (await one.observe(transactions([transaction(number, card="card-1")]))).fates[0]


async def sent_again(one: RedisStore, number: int) -> Fate:
    first = transaction(number, card="card-1")
    return (await one.observe(transactions([first | {"offset": number + 100}]))).fates[0]


async def test_no_unkeyed_hash_of_an_id_is_in_redis_and_what_is_sent_again_is_known(
    server: str, client: redis_asyncio.Redis, deployment: str
) -> None:
    plain = f"{card_hash('card-1') & 2**64 - 1:016x}"
    async with store(server, deployment, KEY) as one:
        assert await decided(one, 1) is Fate.DECIDE
    async with store(server, deployment, KEY) as another:
        assert await sent_again(another, 1) is Fate.REPEATED
    keys = [key.decode() async for key in client.scan_iter(f"fraudstream:{deployment}:*")]
    assert not any(plain in key for key in keys)
    assert f"fraudstream:{deployment}:c:{card_hash('card-1') & 2**64 - 1:016x}" in keys
    assert not any([b"card-1" in (await client.dump(key) or b"") for key in keys]), "nor its text"
    assert await client.get(f"fraudstream:{deployment}:epoch:hashed") == hash_key_check().encode()


@pytest.mark.parametrize(("first", "then", "says"), [(KEY, OTHER, "another than"), (KEY, b"", "this process has none")])
async def test_another_key_than_that_of_the_histories_is_refused(
    server: str, deployment: str, first: bytes, then: bytes, says: str
) -> None:
    async with store(server, deployment, first) as one:
        await decided(one, 1)
    with pytest.raises(StoreRefusedError, match=says):
        async with store(server, deployment, then):
            pass
    async with store(server, deployment, first) as one:
        assert await sent_again(one, 1) is Fate.REPEATED


async def test_a_deployment_without_a_key_goes_on_without_one_and_gets_none(server: str, deployment: str) -> None:
    async with store(server, deployment, b"") as one:
        await decided(one, 1)
    with pytest.raises(StoreRefusedError, match="hashed without a key"):
        async with store(server, deployment, KEY):
            pass
    async with store(server, deployment, b"") as one:
        assert await sent_again(one, 1) is Fate.REPEATED


async def test_a_worker_notices_that_another_key_took_over_and_writes_its_own_after_a_loss(
    server: str, client: redis_asyncio.Redis, deployment: str
) -> None:
    check = KeyLayout("fraudstream:", deployment, 1).hash_check
    async with store(server, deployment, KEY) as one:
        await decided(one, 1)
        await client.set(check, "another's")
        with pytest.raises(StoreRefusedError, match="another than"):
            await one.refresh()
        await client.delete(*[key async for key in client.scan_iter(f"fraudstream:{deployment}:*")])
        await one.refresh()
        assert await client.get(check) == hash_key_check().encode()
        assert one.incomplete
