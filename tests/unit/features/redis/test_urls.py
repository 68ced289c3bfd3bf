"""The URLs of clusters, and of masters that sentinels know: what they name, and how invalid ones are refused."""

from pathlib import Path

import pytest
from redis import exceptions

from features.redis.client import MasterPool, PasswordFile, new_client, open_client
from features.redis.urls import (
    Address,
    first_host,
    is_cluster,
    is_sentinel,
    named_master,
    seeds,
    sentinel_url,
    server_url,
    split_password_file,
)


def test_seeds_are_read_with_and_without_ports_and_logins() -> None:
    url = "rediss+cluster://user:p%40ss@h1:7001,h2,[::1]:7003/?ssl_ca_certs=ca.pem"
    assert is_cluster(url)
    assert seeds(url) == (("h1", 7001), ("h2", 6379), ("::1", 7003))
    assert [server_url(url, address) for address in seeds(url)[1:]] == [
        "rediss://user:p%40ss@h2:6379?ssl_ca_certs=ca.pem",
        "rediss://user:p%40ss@[::1]:7003?ssl_ca_certs=ca.pem",
    ]
    assert seeds("redis+cluster://h:1/0") == (("h", 1),)
    assert server_url("redis+cluster://h:1/0", Address("g", 2)) == "redis://g:2"
    assert not is_cluster("redis://h:1,g:2")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis+cluster://u:secret@h:1/3", "has no databases, but the URL names '3'; leave it out"),
        (
            "redis+cluster://u:secret@h:port",
            "'h:port' is not host and port: .*; use redis.cluster://host:port,host:port",
        ),
        ("redis+cluster://u:secret@h:1,,g", "a server in the URL has no host name; use redis.cluster://host:port"),
        ("redis+cluster://", "a server in the URL has no host name"),
        ("redis+cluster://u:secret@h:99999", "'h:99999' is not host and port"),
        ("redis+cluster://u:secret@[h", "Invalid IPv6 URL"),
    ],
)
def test_an_invalid_cluster_url_is_rejected_with_the_reason_and_without_its_password(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        seeds(url)
    assert "secret" not in str(refused.value)


NAMED = "rediss+sentinel://user:p%40ss@h1,h2:7002,[::1]:7003/shop%2Fone/3?ssl_ca_certs=ca.pem&sentinel_password=a+b%40"


def test_a_named_master_is_read_with_its_sentinels_and_their_own_login() -> None:
    assert is_sentinel(NAMED)
    assert not is_cluster(NAMED)
    assert named_master(NAMED) == ((("h1", 26379), ("h2", 7002), ("::1", 7003)), "shop/one", 3)
    assert server_url(NAMED, Address("m", 1)) == "rediss://user:p%40ss@m:1/3?ssl_ca_certs=ca.pem"
    assert sentinel_url(NAMED, Address("s", 2)) == "rediss://:a%20b%40@s:2?ssl_ca_certs=ca.pem"
    plain = "redis+sentinel://h/name?socket_keepalive=yes"
    assert named_master(plain) == ((("h", 26379),), "name", 0)
    assert sentinel_url(plain, Address("s", 2)) == "redis://s:2"
    assert server_url(plain, Address("m", 1)) == "redis://m:1/0?socket_keepalive=yes"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis+sentinel://u:secret@h:1", "the URL has no name of a master after the sentinels; use redis.sentinel://"),
        ("redis+sentinel://u:secret@h:1/", "the URL has no name of a master"),
        ("redis+sentinel://u:secret@h:1/name/x", "'x' is no number of a database"),
        ("redis+sentinel://u:secret@h:port/name", "'h:port' is not host and port: .*; use redis.sentinel://host:port"),
        ("redis+sentinel://u:secret@h:1,,g/name", "a server in the URL has no host name; use redis.sentinel://"),
    ],
)
def test_an_invalid_sentinel_url_is_rejected_with_the_reason_and_without_its_password(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        first_host(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("redis://a:1/0", "a"),
        ("unix:///tmp/redis.sock", None),
        ("redis+cluster://u:p@b:1,c", "b"),
        ("redis+sentinel://u:p@d,e/name", "d"),
    ],
)
def test_the_first_host_of_a_url_is_named(url: str, host: str | None) -> None:
    assert first_host(url) == host


async def test_a_sentinel_that_led_to_no_master_is_asked_last() -> None:
    async with open_client("redis+sentinel://h1:1,h2:2,h3:3/name/2?sentinel_username=u") as client:
        pool = client.connection_pool
        assert isinstance(pool, MasterPool)
        assert (pool.service_name, pool.connection_kwargs["db"]) == ("name", 2)
        pool.ask_another()
        assert repr(pool.sentinel_manager.sentinels) == "[h2:2, h3:3, h1:1]"
        assert not await pool.has_moved()


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("rediss://u%3Aa@h:1/2?password_file=/run/a%20b&db=3", ("rediss://h:1/2?db=3", "u:a", "/run/a b")),
        ("redis://h?password_file=p", ("redis://h", "", "p")),
        ("redis://u:p@h/0?db=1", ("redis://u:p@h/0?db=1", "", "")),
    ],
)
def test_the_file_of_a_password_is_taken_out_of_a_url_with_the_user(url: str, parts: tuple[str, str, str]) -> None:
    assert split_password_file(url) == parts


def test_every_server_of_several_has_the_file_and_no_sentinel_has() -> None:
    url = "rediss+cluster://u@h1,h2?password_file=p"
    assert split_password_file(server_url(url, Address("h2", 1))) == ("rediss://h2:1", "u", "p")
    assert sentinel_url("redis+sentinel://u@s/m?password_file=p", Address("s", 1)) == "redis://s:1"


async def test_a_password_of_a_file_is_read_for_each_connection(tmp_path: Path) -> None:
    file = tmp_path / "password"
    for url in ("redis://ann@h:1/0", "redis+sentinel://ann@h:1/m"):
        async with open_client(f"{url}?password_file={file}") as client:
            login = client.connection_pool.connection_kwargs["credential_provider"]
            assert isinstance(login, PasswordFile)
            for password in ("first", "second \n"):
                file.write_text(password)
                assert await login.get_credentials_async() == ("ann", password.strip())
    async with new_client(f"redis://h?password_file={file}", 1.0) as client:
        assert client.connection_pool.connection_kwargs["credential_provider"].get_credentials() == ("second",)
    file.write_text("")
    with pytest.raises(exceptions.ConnectionError, match=r"FRAUDSTREAM_REDIS_PASSWORD_FILE: .* is empty"):
        login.get_credentials()
    file.unlink()
    with pytest.raises(exceptions.ConnectionError, match="cannot be read: No such file or directory"):
        login.get_credentials()
