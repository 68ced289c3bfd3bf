"""A task that waits for Redis ends when it is cancelled, at any step."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis import asyncio as redis_asyncio

from features.errors import StoreUnavailableError
from features.redis.client import new_client, read_info
from features.redis.connection import Call
from features.redis.keys import HOME_SHARD
from features.redis.server import ServerConnection
from features.redis.topology import read_master
from support.redis.own import OwnRedis
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


@pytest.fixture
async def connection(url: str) -> AsyncIterator[ServerConnection]:
    """Return a connection to a server with some hashes, `b"0"` and so on, each with its own name in it."""
    opened = ServerConnection(url, b"tried", 1.0)
    for number in range(STEPS):
        await opened.run("set_fields", [Call(HOME_SHARD, (b"%d" % number,), (60_000, b"name", b"%d" % number))])
    yield opened
    await opened.close()


async def name_in(connection: ServerConnection, number: int) -> list[bytes]:
    (reply,) = await connection.run("hgetall", [Call(HOME_SHARD, (b"%d" % number,), ())])
    found: list[bytes] = reply
    return found


async def test_a_script_cancelled_at_any_step_ends_and_the_next_one_gets_its_own_reply(
    connection: ServerConnection,
) -> None:
    for steps in [*range(STEPS)] * 10:
        other = (steps + 1) % STEPS
        assert await ends_when_cancelled(lambda other=other: name_in(connection, other), steps)  # type: ignore[misc]
        assert await name_in(connection, steps) == [b"name", b"%d" % steps]


async def test_scripts_that_overlap_get_their_own_replies(connection: ServerConnection) -> None:
    for _ in range(5):
        found = await asyncio.gather(*(name_in(connection, number) for number in range(STEPS)))
        assert found == [[b"name", b"%d" % number] for number in range(STEPS)]


async def test_scripts_one_after_the_other_share_a_connection_until_it_breaks(
    connection: ServerConnection, client: redis_asyncio.Redis
) -> None:
    async def connections() -> set[str]:
        return {one["id"] for one in await client.client_list(_type="normal") if one["cmd"] != "client|list"}

    before = await connections()
    for number in range(10):
        await name_in(connection, number)
        assert await connection.values([(HOME_SHARD, b"absent")]) == [None]
    assert await connections() == before
    await client.client_kill_filter(_type="normal", skipme=True)
    with contextlib.suppress(StoreUnavailableError):
        await name_in(connection, 1)
    assert await name_in(connection, 2) == [b"name", b"2"]
    assert not await connections() & before


async def test_what_a_server_says_of_itself_is_read_as_redis_py_reads_it(client: redis_asyncio.Redis) -> None:
    theirs = await client.info()
    client.set_response_callback("INFO", lambda reply, **_: reply)
    ours = read_info(await client.execute_command("INFO"))
    names = ("redis_version", "run_id", "role", "master_replid", "maxmemory_policy", "cluster_enabled")
    assert [ours[name] for name in names] == [str(theirs[name]) for name in names]
    assert read_master("server", ours) == read_master("server", theirs)


def open_connections(url: str) -> int:
    """Count this process's transports to a server whose sockets are open, those that are being closed included."""
    transports = [one for one in gc.get_objects() if isinstance(one, asyncio.Transport)]
    sockets = [one.get_extra_info("socket") for one in transports]
    return sum(one.fileno() >= 0 and one.getpeername()[1] == urlsplit(url).port for one in sockets)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[OwnRedis]:
    server = OwnRedis(tmp_path, forgetful=True)
    server.start()
    yield server
    server.kill()


async def test_a_request_that_the_server_does_not_take_in_time_is_given_up(own_server: OwnRedis) -> None:
    opened = ServerConnection(own_server.url, b"tried", 0.3)
    try:
        await opened.run("hgetall", [Call(HOME_SHARD, (b"key",), ())])
        assert open_connections(own_server.url) == 1
        own_server.pause()
        with pytest.raises(StoreUnavailableError, match="timeout while writing to the socket"):
            await opened.run("hgetall", [Call(HOME_SHARD, (b"key",), (bytes(64 << 20),))])
        await asyncio.sleep(0)
        assert open_connections(own_server.url) == 0
        own_server.resume()
        assert await opened.run("hgetall", [Call(HOME_SHARD, (b"key",), ())]) == [[]]
    finally:
        await opened.close()


async def test_a_password_of_a_file_may_be_replaced_and_open_connections_stay(url: str, tmp_path: Path) -> None:
    """Nor is a password that one side knows before the other more than an outage of new connections."""
    file, where = tmp_path / "password", urlsplit(url)
    file.write_text("first-password\n")
    async with redis_asyncio.Redis.from_url(url) as admin:

        async def user(*rules: str) -> None:
            await admin.execute_command("ACL", "SETUSER", "ann", "on", "~*", "+@all", *rules)

        await user(">first-password")
        opened = ServerConnection(f"redis://ann@{where.netloc}/0?password_file={file}", b"tried", 1.0)
        try:
            await opened.set(HOME_SHARD, b"rotated", "1")
            await user("<first-password", ">second-password")
            await opened.set(HOME_SHARD, b"rotated", "2")  # on the connection that is open
            await admin.execute_command("CLIENT", "KILL", "USER", "ann")
            with pytest.raises(StoreUnavailableError, match=f"Redis refuses the password in {file} .*PASSWORD_FILE"):
                await opened.set(HOME_SHARD, b"rotated", "3")
            file.write_text("")
            with pytest.raises(StoreUnavailableError, match=r"is empty: write the user's password there"):
                await opened.set(HOME_SHARD, b"rotated", "3")
            file.write_text("second-password")
            await opened.set(HOME_SHARD, b"rotated", "3")
            assert await opened.values([(HOME_SHARD, b"rotated")]) == [b"3"]
        finally:
            await opened.close()
            await admin.execute_command("ACL", "DELUSER", "ann")
