"""How a Redis Cluster is named: `redis+cluster://user:password@host:port,host:port?options`, or `rediss+cluster://`.

Any of its servers will do, since each knows the others. Nothing here connects to one.
"""

from urllib.parse import urlsplit

from features.redis.topology import Address

SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
"""And how one server of each is named."""
DEFAULT_PORT = 6379
_WANTED = "use redis+cluster://host:port,host:port"


def is_cluster(url: str) -> bool:
    """Tell whether a URL names a cluster."""
    return urlsplit(url).scheme in SCHEMES


def seeds(url: str) -> tuple[Address, ...]:
    """Return the servers that a cluster's URL names.

    Raises:
        ValueError: the URL cannot be used; says why, without a login.
    """
    parts = urlsplit(url)
    if parts.path.strip("/") not in {"", "0"}:
        raise ValueError(f"a Redis Cluster has no databases, but the URL names {parts.path.strip('/')!r}; leave it out")
    return tuple(_address(text) for text in parts.netloc.rpartition("@")[2].split(","))


def _address(text: str) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{text!r} is no host and port: {error}; {_WANTED}") from error
    if not host:
        raise ValueError(f"a server of the cluster has no name; {_WANTED}")
    return Address(host, DEFAULT_PORT if port is None else port)


def server_url(url: str, address: Address) -> str:
    """Return the URL of one server of a cluster, with the login and the options of the cluster's."""
    parts = urlsplit(url)
    login = "".join(parts.netloc.rpartition("@")[:2])
    return parts._replace(scheme=SCHEMES[parts.scheme], netloc=f"{login}{address}", path="").geturl()
