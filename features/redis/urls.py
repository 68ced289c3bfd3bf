"""The URLs that name a Redis: one server, a Redis Cluster, or a master that Redis Sentinel knows.

    redis://USER:PASSWORD@HOST:PORT/0                       one server
    redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT       a cluster, by any of its servers: each knows the others
    redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME/0
                                                            the master that these sentinels know by NAME; database 0

The first letters `rediss` are TLS. Options follow after `?`. The login is the servers'; `password_file` names a file
of its password. Sentinels that ask for a login of their own have it in the options `sentinel_username` and
`sentinel_password`.
"""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qs, quote, unquote, unquote_plus, urlsplit

SCHEMES = {
    "redis+cluster": "redis",
    "rediss+cluster": "rediss",
    "redis+sentinel": "redis",
    "rediss+sentinel": "rediss",
}
"""The scheme of each single server's URL, by that of several."""
DEFAULT_PORT, DEFAULT_SENTINEL_PORT = 6379, 26379
PASSWORD_FILE = "password_file"  # noqa: S105 - an option's name
"""The option that names the file of the password, in place of one in the URL; ours, not redis-py's."""
SENTINEL_LOGIN = ("sentinel_username", "sentinel_password")
"""The options with a login for sentinels."""


class Address(NamedTuple):
    """Host and port of a server."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return it as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class NamedMaster(NamedTuple):
    """A master that sentinels know by a name, and its database."""

    sentinels: tuple[Address, ...]
    name: str
    database: int


def is_cluster(url: str) -> bool:
    """Tell whether a URL is a cluster's."""
    return urlsplit(url).scheme in SCHEMES and not is_sentinel(url)


def is_sentinel(url: str) -> bool:
    """Tell whether a URL names a master by its sentinels."""
    return urlsplit(url).scheme.endswith("+sentinel")


def seeds(url: str) -> tuple[Address, ...]:
    """Return the servers in a cluster's URL.

    Raises:
        ValueError: the URL is invalid; says why, without a login.
    """
    parts = urlsplit(url)
    if parts.path.strip("/") not in {"", "0"}:
        raise ValueError(f"a Redis Cluster has no databases, but the URL names {parts.path.strip('/')!r}; leave it out")
    return _addresses(parts, DEFAULT_PORT, "use redis+cluster://host:port,host:port")


def named_master(url: str) -> NamedMaster:
    """Return the sentinels in a URL, and the master that they are asked for.

    Raises:
        ValueError: the URL is invalid; says why, without a login.
    """
    parts, usage = urlsplit(url), "use redis+sentinel://host:port,host:port/NAME/0"
    name, _, database = parts.path.strip("/").partition("/")
    if not name:
        raise ValueError(f"the URL has no name of a master after the sentinels; {usage}")
    if not (database or "0").isdecimal():
        raise ValueError(f"{database!r} is no number of a database; {usage}")
    return NamedMaster(_addresses(parts, DEFAULT_SENTINEL_PORT, usage), unquote(name), int(database or 0))


def first_host(url: str) -> str | None:
    """Return the host that a URL names first; None for a socket's.

    Raises:
        ValueError: the URL is invalid; says why, without a login.
    """
    if is_sentinel(url):
        return named_master(url).sentinels[0].host
    if is_cluster(url):
        return seeds(url)[0].host
    parts = urlsplit(url)
    _ = parts.port
    return parts.hostname


def server_url(url: str, address: Address) -> str:
    """Return the URL of one of several servers, with their login and options; a named master's database is kept."""
    parts = urlsplit(url)
    path = f"/{named_master(url).database}" if is_sentinel(url) else ""
    options = [option for option in parts.query.split("&") if _name_of(option) not in SENTINEL_LOGIN]
    return _one_of(parts, "".join(parts.netloc.rpartition("@")[:2]), address, path, options)


def split_password_file(url: str) -> tuple[str, str, str]:
    """Return a server's URL without user and password file, the user, and that file; both are empty without a file."""
    parts = urlsplit(url)
    file = parse_qs(parts.query).get(PASSWORD_FILE, [""])[0]
    if not file:
        return url, "", ""
    options = [option for option in parts.query.split("&") if _name_of(option) != PASSWORD_FILE]
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="&".join(options)).geturl()
    return bare, unquote(parts.username or ""), file


def sentinel_url(url: str, address: Address) -> str:
    """Return the URL of a sentinel: with its own login, and the options that are about TLS."""
    parts = urlsplit(url)
    options = parts.query.split("&")
    found = {_name_of(option): option.partition("=")[2] for option in options}
    login = ":".join(quote(unquote_plus(found.get(name, "")), safe="") for name in SENTINEL_LOGIN)
    about_tls = [option for option in options if option.startswith("ssl_")]
    return _one_of(parts, f"{login}@" if login != ":" else "", address, "", about_tls)


def _one_of(parts: SplitResult, login: str, address: Address, path: str, options: Sequence[str]) -> str:
    scheme, query = SCHEMES[parts.scheme], "&".join(options)
    return parts._replace(scheme=scheme, netloc=f"{login}{address}", path=path, query=query).geturl()


def _name_of(option: str) -> str:
    return option.partition("=")[0]


def _addresses(parts: SplitResult, default_port: int, usage: str) -> tuple[Address, ...]:
    return tuple(_address(text, default_port, usage) for text in parts.netloc.rpartition("@")[2].split(","))


def _address(text: str, default_port: int, usage: str) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{text!r} is not host and port: {error}; {usage}") from error
    if not host:
        raise ValueError(f"a server in the URL has no host name; {usage}")
    return Address(host, default_port if port is None else port)
