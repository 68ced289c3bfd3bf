"""A worker's memory of the histories on a server: recalled before a batch, drafted on, committed in one step.

What is remembered changes only after an answer was read, so a call that failed leaves it as it was; what the server
did all the same is found by the next call. A loss is noticed here: the epoch key is gone or another, a known position
lies beyond the end, the record before it is another, or the server was restarted.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from features import records
from features.cache import Cache, Cached, request
from features.declaration import DAY_MS, HOUR_MS
from features.entities import Entity
from features.histories import TRIM_LEAST
from features.parties import NOBODY
from features.records import HASH_MASK
from features.redis_link import NO_EPOCH, Appended, OtherEpoch, RedisLink, Unlike
from features.store import Keeping

log = logging.getLogger("fraudstream.features.remembering")

REFRESH_AFTER_MS = HOUR_MS
"""A worker sets a key's expiry anew at most so often."""
KEPT_LONGER_MS = DAY_MS
"""A key outlives its horizon by this; what is remembered is trusted until the horizon."""
MOST_GROWN = 10_000
"""So many histories wait for the next tidying at most; the others wait for their next record."""
LETTERS = MappingProxyType({Entity.CARD: "c", Entity.MERCHANT: "m", Entity.DEVICE: "d"})


class Named(NamedTuple):
    """Histories of one kind, by hash (NOBODY: none) and by id; an unknown id is ""."""

    hashes: Sequence[int]
    ids: Sequence[str]


Recalled = Mapping[Entity, Sequence[Cached | None]]
"""Histories as they were asked for; None where that was nobody's."""


class Remembered:
    """The histories of one deployment as one worker knows them; `keys` begins all names on the server.

    Nothing here may be called twice at the same time.
    """

    def __init__(self, link: RedisLink, keys: str, keeping: Keeping, now_ms: Callable[[], int]) -> None:
        self.horizons_ms = keeping.horizons_ms
        self.epoch = NO_EPOCH
        self.incomplete = False
        self.new = False
        self._link = link
        self._keys = keys
        self._now_ms = now_ms
        self._caches: dict[Entity, Cache] = {}
        self._grown: dict[Cached, Entity] = {}

    def bound(self, most_bytes: int) -> None:
        """Forget everything, and remember at most so much from now on, as much of each kind."""
        self._caches = {kind: Cache(most_bytes // len(self.horizons_ms)) for kind in self.horizons_ms}

    async def join(self) -> None:
        """Take over the deployment's history epoch; the first one is the clock's seconds.

        So a deployment whose server was emptied while nobody looked does not use an epoch twice.
        """
        self.epoch, whole, self.new = await self._link.found_epoch(self._now_ms() // 1000)
        self.incomplete = not whole

    async def recall(self, wanted: Mapping[Entity, Named]) -> Recalled:
        """Return the histories named; fetch those that are not remembered.

        One that may have expired on the server counts as not remembered.
        """
        now_ms, missing = self._now_ms(), list[Cached]()
        found = {kind: self._known(kind, named, now_ms, missing) for kind, named in wanted.items()}
        await self._fetch(missing)
        return found

    def _known(self, kind: Entity, named: Named, now_ms: int, missing: list[Cached]) -> list[Cached | None]:
        """Return the histories of one kind, the same object for the same one, empty ones for those also `missing`."""
        cache, begin, columns = self._caches[kind], f"{self._keys}{LETTERS[kind]}:", records.COLUMNS[kind]
        expired_ms, new, entries = now_ms - self.horizons_ms[kind], dict[int, Cached](), list[Cached | None]()
        for entity, entity_id in zip(named.hashes, named.ids, strict=True):
            entry = cache.get(entity)
            if entity != NOBODY and (entry is None or entry.refreshed_ms <= expired_ms):
                entry = new.get(entity)
                if entry is None:
                    key = f"{begin}{entity & HASH_MASK:016x}".encode()
                    entry = new[entity] = Cached(entity, entity_id, columns, key)
            entries.append(entry)
        missing.extend(new.values())
        return entries

    async def _fetch(self, entries: Iterable[Cached]) -> None:
        asked = list(entries)
        if asked:
            values = await self._link.values([entry.key for entry in asked])
            for entry, value in zip(asked, values, strict=True):
                entry.take(value)

    async def commit(self, recalled: Recalled) -> frozenset[Cached] | None:
        """Append all drafts, or none and return None: then recall and draft anew.

        Returns:
            The histories in which others' records came to lie before the drafts, so that positions have moved.
        """
        now_ms = self._now_ms()
        groups = {kind: [entry for entry in dict.fromkeys(found) if entry] for kind, found in recalled.items()}
        touched = [entry for group in groups.values() for entry in group]
        arguments = [*request(touched, now_ms - REFRESH_AFTER_MS), *self._described(groups)]
        answer = await self._link.observe(self.epoch, [entry.key for entry in touched], arguments)
        moved: frozenset[Cached] | None = None
        match answer:
            case Appended(tails):
                moved = frozenset(touched[index] for index in tails)
                for index, tail in tails.items():
                    touched[index].splice_bytes(tail)
                for kind, group in groups.items():
                    self._keep(kind, group, now_ms)
            case Unlike(indexes):
                await self._look_again([touched[index] for index in indexes])
            case OtherEpoch(epoch):
                await self._follow(epoch)
        if await self._link.is_another_server():
            await self.lose("the server was restarted, or is another")
        return moved

    def _described(self, groups: Mapping[Entity, Sequence[Cached]]) -> list[bytes | int]:
        """Return what observe.lua is told of each kind: how many, how wide, how long they are kept, whose they are."""
        facts: list[bytes | int] = []
        for kind, group in groups.items():
            record_bytes = records.COLUMNS[kind] * records.COLUMN_BYTES
            facts += [len(group), record_bytes, self.horizons_ms[kind] + KEPT_LONGER_MS, int(kind is not Entity.CARD)]
        return facts

    def _keep(self, kind: Entity, entries: Sequence[Cached], now_ms: int) -> None:
        """Confirm what was appended, and remember it."""
        stale_ms = now_ms - REFRESH_AFTER_MS
        for entry in entries:
            entry.settle()
            if entry.refreshed_ms <= stale_ms:
                entry.refreshed_ms = now_ms
            if entry.end - entry.tidied_end >= TRIM_LEAST and len(self._grown) < MOST_GROWN:
                self._grown[entry] = kind
        self._caches[kind].put(entries)

    async def _look_again(self, entries: Sequence[Cached]) -> None:
        """Fetch histories that were not as remembered; growth and trimming explain that, or else something is lost."""
        before = []
        for entry in entries:
            entry.retract()
            before.append((entry.end, entry.last_id) if entry.settled else (0, 0))
        await self._fetch(entries)
        lost = [e.key for e, (end, last_id) in zip(entries, before, strict=True) if e.contradicts(end, last_id)]
        for entry in entries:
            for cache in self._caches.values():
                cache.drop(entry.entity)
        if lost:
            await self.lose(f"records are gone from {len(lost)} histories, such as {lost[0].decode()}")

    async def _follow(self, epoch: int) -> None:
        """Go on under another epoch: raise one that is gone or was set back, adopt what another worker raised."""
        if epoch <= self.epoch:
            await self.lose("the history epoch is gone" if epoch == NO_EPOCH else f"the history epoch fell to {epoch}")
            return
        log.error("history epoch rose from %d to %d: another worker saw Redis lose records", self.epoch, epoch)
        self._begin(epoch)

    async def lose(self, what: str) -> None:
        """Say that the server lost records, and raise the epoch."""
        epoch = await self._link.raise_epoch(self.epoch)
        log.error("Redis at %s lost histories: %s; history epoch %d -> %d", self._link.where, what, self.epoch, epoch)
        self._begin(epoch)

    def _begin(self, epoch: int) -> None:
        self.epoch = epoch
        self.incomplete = True
        self._grown.clear()
        for cache in self._caches.values():
            cache.clear()

    def grown(self) -> list[tuple[Cached, Entity]]:
        """Return, once, the histories that may be worth trimming."""
        entries = list(self._grown.items())
        self._grown.clear()
        return entries

    async def trim(self, entry: Cached, kind: Entity) -> None:
        """Trim one history where that is worth it and it is as remembered."""
        count = entry.invisible(self.horizons_ms[kind])
        entry.tidied_end = entry.end
        if count and await self._link.trim(entry.key, entry.cut(count)):
            entry.trim(count)
