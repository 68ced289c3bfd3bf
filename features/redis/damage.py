"""Histories that cannot be read: each is begun anew at once, marked incomplete, and listed until it is whole again.

Another client wrote something else under the key, or the value is no history. Nothing else is affected: the new history
takes the records from then on, so nothing more is lost, and the others go on. `stream.recovery.damage` appends again
what it lacks. A list of the damaged histories is kept beside the epoch of their shard.
"""

import hashlib
import logging
import re
import struct
from collections.abc import Callable
from typing import NamedTuple

from features.declaration import DAY_MS
from features.history.store import Entity
from features.redis.append import EXPIRY_MARGIN_MS
from features.redis.cache import INCOMPLETE, PLAIN, CachedHistory
from features.redis.connection import Call, Connection
from features.redis.keys import KeyLayout
from features.redis.state import HistoryState

LIST_EXPIRY_MS = 90 * DAY_MS
"""Longer than a history lives without a record."""
MS_PER_POSITION = 1000
"""The first position of a history that is begun anew is the time in seconds: above that of the last record before."""
FORMAT = struct.Struct("<Q")
log = logging.getLogger("fraudstream.features.redis.damage")
_KNOWN = b"known"
_TIME = re.compile(rb"[0-9]{1,18}")


class DamagedHistory(NamedTuple):
    """A history that is incomplete since `since_ms`, when it was begun anew."""

    kind: Entity
    entity: int
    key: bytes
    since_ms: int


class DamagedHistories:
    """The damaged histories of a deployment; `now_ms` is the clock."""

    def __init__(
        self, connection: Connection, layout: KeyLayout, state: HistoryState, now_ms: Callable[[], int]
    ) -> None:
        self._connection = connection
        self._layout = layout
        self._state = state
        self._now_ms = now_ms
        self._listed: set[bytes] = set()

    async def begin_anew(self, entry: CachedHistory, value: bytes | None) -> bool:
        """Replace a value that is no history (None: the key holds no string) by an empty history.

        Positions in it are above all earlier ones. Returns False if the epoch or the value is another by now.
        """
        digest = b"" if value is None else hashlib.sha1(value, usedforsecurity=False).hexdigest().encode()
        begun = await self._write(entry, digest)
        if begun:
            log.error("%s is no history; it is begun anew, and rebuilt from Kafka", entry.key.decode())
            self._listed.add(entry.key)
        return begun

    async def list_known(self, entry: CachedHistory) -> None:
        """List an incomplete history that was met, once, in case that the list is lost."""
        if entry.key not in self._listed and await self._write(entry, _KNOWN):
            self._listed.add(entry.key)

    async def _write(self, entry: CachedHistory, digest: bytes) -> bool:
        shard, now_ms = self._layout.shard_of(entry.entity), self._now_ms()
        keys = (self._layout.epochs[shard], entry.key, self._layout.damaged[shard])
        kept_ms = self._state.horizons_ms[entry.kind] + EXPIRY_MARGIN_MS
        anew = entry.incomplete_header(now_ms // MS_PER_POSITION)
        call = Call(shard, keys, (self._state.epoch, digest, anew, kept_ms, LIST_EXPIRY_MS, now_ms))
        (done,) = await self._connection.run("damage", [call])
        return bool(done)

    async def read(self) -> list[DamagedHistory]:
        """Return the histories that are incomplete."""
        shards = list(enumerate(self._layout.damaged))
        replies = await self._connection.run("hgetall", [Call(shard, (key,), ()) for shard, key in shards])
        listed = ((key, since) for reply in replies for key, since in zip(reply[::2], reply[1::2], strict=True))
        return [
            DamagedHistory(*names, key, int(since))
            for key, since in listed
            if _TIME.fullmatch(since) and (names := self._layout.parse(key))
        ]

    async def mend(self, damaged: DamagedHistory) -> bool:
        """Say that a history is whole again; False if it was damaged again meanwhile, or the epoch is another."""
        self._listed.discard(damaged.key)
        shard = self._layout.shard_of(damaged.entity)
        keys = (self._layout.epochs[shard], damaged.key, self._layout.damaged[shard])
        formats = (FORMAT.pack(INCOMPLETE), FORMAT.pack(PLAIN))
        (done,) = await self._connection.run(
            "mend", [Call(shard, keys, (self._state.epoch, damaged.since_ms, *formats))]
        )
        return bool(done)
