"""A Redis with a replica that is two seconds behind, and a proxy in front, as a managed service has it.

A fail-over makes the replica the master and switches the proxy; what the master of before had written last is lost.
"""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from support.redis.proxy import RedisProxy
from support.redis.replicated import Pair, redis_pair

LATENCY_SECONDS = 2.0


class Standby:
    """The pair, with the proxy that clients connect to and the link by which the replica follows."""

    def __init__(self, pair: Pair, front: RedisProxy, link: RedisProxy) -> None:
        self._master, self._replica = pair.master, pair.replica
        self._front, self._link = front, link
        self._link.reply_delay_s = LATENCY_SECONDS
        self._link.delay_s = LATENCY_SECONDS / 2
        self._follow()

    @property
    def url(self) -> str:
        """The URL of the proxy."""
        return self._front.url

    def fail_over(self, how: str, *, cut: bool) -> None:
        """Make the replica the master: the one before is killed, or demoted behind a proxy that keeps connections.

        The one before comes back as a replica behind the link.
        """
        if how == "kill":
            self._master.signal(signal.SIGKILL)
        self._replica.follow(None)
        if how == "demote":
            self._master.follow(self._replica)
        self._front.switch(self._replica.url, cut=cut)
        if how == "kill":
            self._master.start()
        self._master, self._replica = self._replica, self._master
        self._link.switch(self._master.url)
        self._follow()

    def _follow(self) -> None:
        self._replica.client.replicaof("127.0.0.1", str(self._link.port))

    def lag(self) -> int:
        """Return how many bytes the replica has not received yet."""
        offsets = (
            self._master.client.info("replication")["master_repl_offset"],
            self._replica.client.info("replication")["slave_repl_offset"],
        )
        return int(offsets[0] - offsets[1])

    def await_following(self) -> None:
        self._replica.await_following()


@contextmanager
def redis_with_standby(settings: Sequence[str]) -> Iterator[Standby]:
    """Yield a master with its replica, and what is between them and in front; `settings` are those of both servers."""
    with redis_pair(*settings) as pair, RedisProxy(pair.master.url) as front, RedisProxy(pair.master.url) as link:
        standby = Standby(pair, front, link)
        standby.await_following()
        yield standby
