"""A Redis with TLS only, for an administrator and the user of docs/how-to/secure.md."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis

from fraudstream.demo.services.processes import Child, free_port
from support.certificates import Authority
from support.redis.server import redis_binary
from support.security_page import redis_rules

PASSWORD = "redis-secret"  # noqa: S105 - of a server that lives for a test
START_SECONDS = 15.0


class SecuredRedis:
    """A server whose certificate is for 127.0.0.1 and no host name."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        certificate, key = authority.vouch("redis", "IP:127.0.0.1")
        self.port = free_port()
        self._admin = redis.Redis(
            port=self.port, host="127.0.0.1", username="admin", password=PASSWORD, ssl=True, ssl_ca_certs=authority.file
        )
        command = [redis_binary(), "--port", "0", "--tls-port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
        command += ["--tls-ca-cert-file", str(authority.file), "--tls-auth-clients", "no"]
        command += ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", "--dir", str(folder)]
        command += ["--user", "default", "off", "--user", "admin", "on", f">{PASSWORD}", "~*", "&*", "+@all"]
        self.child = Child(command, folder / "redis.log")

    def url(self, password: str = PASSWORD, host: str = "127.0.0.1") -> str:
        """Return the URL of the page's user."""
        return f"rediss://fraudstream:{password}@{host}:{self.port}/0"

    def allow(self, rules: Sequence[str]) -> None:
        """Give the user these rules and no others."""
        self._admin.execute_command("ACL", "SETUSER", "fraudstream", "reset", "on", f">{PASSWORD}", *rules)

    def answers(self) -> bool:
        """Tell whether it answers the administrator."""
        try:
            return bool(self._admin.ping())
        except redis.ConnectionError:
            return False

    def close(self) -> None:
        """Stop the server."""
        self._admin.close()
        self.child.kill()


@contextmanager
def secured_redis(authority: Authority) -> Iterator[SecuredRedis]:
    """Yield a running server whose user has the rules of the page; raise NotReady if it cannot run, as without TLS."""
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = SecuredRedis(authority, Path(folder))
        try:
            server.child.start()
            server.child.await_ready(server.answers, START_SECONDS)
            server.allow(redis_rules())
            yield server
        finally:
            server.close()
