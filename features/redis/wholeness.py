"""Whether a deployment's histories are whole, read from outside: nothing is written, and no worker notices it."""

from typing import NamedTuple

from features.redis.age import PaymentDays, stored_days
from features.redis.append import NO_EPOCH
from features.redis.connection import Call
from features.redis.epochs import Epochs
from features.redis.keys import HOME_SHARD
from features.redis.retention import NO_COVERAGE, UNKNOWN_RETENTION, Coverage
from features.redis.store import DEFAULT, open_connection


class Wholeness(NamedTuple):
    """What Redis says of a deployment's histories.

    `epoch` is the history epoch, `complete` whether all that its workers need is applied under it, and `damaged` how
    many histories are begun anew and not yet restored. `days` are those on which payments occurred.
    """

    epoch: int
    complete: bool
    damaged: int
    days: PaymentDays

    @property
    def whole(self) -> bool:
        """Whether nothing is lacking."""
        return self.complete and not self.damaged


async def read_wholeness(url: str, deployment: str) -> Wholeness | None:
    """Return whether the histories of a deployment are whole; None if this Redis holds none of it.

    Raises:
        StoreUnavailableError: Redis does not answer.
        StoreRefusedError: the URL names no server that can be used, or it denies access.
    """
    connection, layout = open_connection(url, deployment, DEFAULT)
    try:
        found = await Epochs(connection, layout, Coverage({})).read()
        epoch = max(found.epochs)
        if epoch == NO_EPOCH:
            return None
        complete, stored = found.complete.under(epoch), found.stored.under(epoch)
        is_complete = (
            len(set(found.epochs)) == 1
            and complete is not NO_COVERAGE
            and stored is not UNKNOWN_RETENTION
            and complete.cover.includes(stored.cover)
        )
        listed = await connection.run("hgetall", [Call(shard, (key,), ()) for shard, key in enumerate(layout.damaged)])
        (stated,) = await connection.run("hgetall", [Call(HOME_SHARD, (layout.payment_days,), ())])
        days = PaymentDays()
        days.add(stored_days(stated))
        # A history that was restored stays in the list for a while, without the time of its damage (mend.lua).
        return Wholeness(epoch, is_complete, sum(1 for reply in listed for since in reply[1::2] if since), days)
    finally:
        await connection.close()
