"""A worker's memory of the histories on a server: recalled before a batch, drafted on, committed in one step.

What is remembered changes only after an answer was read, so a call that failed leaves it as it was; what the server
did all the same is found by the next call. A loss is noticed here: the epoch key is gone or another, a known position
lies beyond the end, the record before it is another, or the server was restarted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from features.history.append import NOBODY
from features.history.history import TRIM_LEAST, History
from features.history.store import Entity, Keeping
from features.redis.append import (
    REFRESH_AFTER_MS,
    AppendContext,
    Appended,
    OtherEpoch,
    ShardAppend,
    Unlike,
    answer,
    by_kind,
    calls,
    steps,
)
from features.redis.cache import Cache, Cached, Use
from features.redis.connection import Connection
from features.redis.keys import LETTERS, Shards
from features.redis.state import HistoryState
from features.redis.trim import Trimmer

MOST_GROWN = 10_000
"""So many histories wait for the next tidying at most; the others wait for their next record."""


class NamedHistories(NamedTuple):
    """Histories of one kind, by hash (NOBODY: none) and by id; an unknown id is ""."""

    hashes: Sequence[int]
    ids: Sequence[str]


Recalled = Mapping[Entity, Sequence[Cached | None]]
"""Histories as they were asked for; None where that was nobody's."""


class HistorySession:
    """The histories of one deployment as one worker knows them; `shards` are its keys on the server.

    Nothing here may be called twice at the same time.
    """

    def __init__(self, link: Connection, shards: Shards, keeping: Keeping, now_ms: Callable[[], int]) -> None:
        self.standing = HistoryState(link, shards, keeping, self._forget)
        self._link = link
        self._shards = shards
        self._now_ms = now_ms
        self._tidying = Trimmer(link, shards, keeping.keeps, self.standing)
        self._most_bytes = 0
        self._caches: dict[Entity, Cache] = {}
        self._grown: dict[Cached, None] = {}

    def bound(self, most_bytes: int) -> None:
        """Forget everything, and remember at most so much from now on, as much of each kind that is kept."""
        self._most_bytes = most_bytes
        self._forget()

    async def join(self, *, emptied: bool) -> None:
        """Take over the deployment's history epoch."""
        await self.standing.join(self._now_ms(), emptied=emptied)

    async def recall(self, wanted: Mapping[Entity, NamedHistories]) -> Recalled:
        """Return the histories named; fetch those that are not remembered.

        One that may have expired on the server counts as not remembered.
        """
        now_ms, missing = self._now_ms(), list[Cached]()
        found = {kind: self._known(kind, named, now_ms, missing) for kind, named in wanted.items()}
        await self._fetch(missing)
        return found

    def _known(self, kind: Entity, named: NamedHistories, now_ms: int, missing: list[Cached]) -> list[Cached | None]:
        """Return the histories of one kind, the same object for the same one, empty ones for those also `missing`."""
        cache, expired_ms = self._caches[kind], now_ms - self.standing.keeps[kind].horizon_ms
        new, entries = dict[int, Cached](), list[Cached | None]()
        for entity, entity_id in zip(named.hashes, named.ids, strict=True):
            entry = cache.get(entity)
            if entity != NOBODY and (entry is None or entry.refreshed_ms <= expired_ms):
                entry = new.get(entity)
                if entry is None:
                    key = self._shards.key(kind, entity)
                    entry = new[entity] = Cached(kind, entity, entity_id, key)
            entries.append(entry)
        missing.extend(new.values())
        cache.misses += len(new)
        cache.hits += len(entries) - entries.count(None) - len(new)
        return entries

    @property
    def uses(self) -> Mapping[Entity, Use]:
        """What came of remembering so far, by whose histories."""
        return {kind: self._caches[kind].use for kind in self.standing.keeps}

    def copy(self, kind: Entity, entity: int) -> History | None:
        """Return a copy of one that is remembered, without what is drafted on it."""
        entry = self._caches[kind].get(entity)
        if entry is None:
            return None
        history = History(entity, entry.entity_id, entry.columns)
        history.replace(entry.base, entry.rows[: entry.settled])
        return history

    async def _fetch(self, entries: Iterable[Cached]) -> None:
        asked = list(entries)
        if asked:
            values = await self._link.values([(self._shards.of(entry.entity), entry.key) for entry in asked])
            for entry, value in zip(asked, values, strict=True):
                entry.take(value)
                await self._tidying.examine(entry)

    async def commit(self, recalled: Recalled) -> frozenset[Cached] | None:
        """Append all drafts, or none and return None: then recall and draft anew.

        Returns:
            The histories in which others' records came to lie before the drafts, so that positions have moved.
        """
        terms = AppendContext(self.standing.epoch, self.standing.horizons_ms, self._now_ms())
        touched = {kind: [entry for entry in dict.fromkeys(found) if entry] for kind, found in recalled.items()}
        moved: set[Cached] | None = set()
        for parts in steps(touched, self._shards):
            others = await self._append(parts, terms)
            if moved is None or others is None:
                moved = None
                break
            moved |= others
        why = await self._link.suspicion()
        if why is not None:
            await self.standing.lose(why)
        return None if moved is None else frozenset(moved)

    async def _append(self, parts: Sequence[ShardAppend], terms: AppendContext) -> set[Cached] | None:
        """Append one step; None where not all of it is appended, after looking again at what was not."""
        replies = await self._link.run("observe", calls(parts, self._shards, terms))
        appended, moved, unlike, epochs = list[ShardAppend](), set[Cached](), list[Cached](), list[int]()
        for part, reply in zip(parts, replies, strict=True):
            match answer(reply):
                case Appended(tails):
                    appended.append(part)
                    moved |= _spliced(part.entries, tails) if tails else set()
                case Unlike(indexes):
                    unlike += [part.entries[index] for index in indexes]
                case OtherEpoch(epoch):
                    epochs.append(epoch)
        for kind, groups in by_kind(appended).items():
            self._keep(kind, [entry for group in groups for entry in group], terms.now_ms)
        if epochs:
            await self.standing.follow(max(epochs))
        elif unlike:
            await self._look_again(unlike)
        return None if epochs or unlike else moved

    def _keep(self, kind: Entity, entries: Sequence[Cached], now_ms: int) -> None:
        """Confirm what was appended, and remember it."""
        stale_ms = now_ms - REFRESH_AFTER_MS
        for entry in entries:
            entry.settle()
            if entry.refreshed_ms <= stale_ms:
                entry.refreshed_ms = now_ms
            if entry.end - entry.tidied_end >= TRIM_LEAST and len(self._grown) < MOST_GROWN:
                self._grown[entry] = None
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
            await self.standing.lose(f"records are gone from {len(lost)} histories, such as {lost[0].decode()}")

    def _forget(self) -> None:
        self._grown.clear()
        most_bytes = self._most_bytes // len(self.standing.keeps)
        for kind in LETTERS:
            if kind not in self._caches:
                self._caches[kind] = Cache(most_bytes)
            self._caches[kind].clear(most_bytes)

    def grown(self) -> list[Cached]:
        """Return, once, the histories that may be worth tidying."""
        entries = list(self._grown)
        self._grown.clear()
        return entries

    async def tidy(self, entry: Cached) -> None:
        """Trim or fold one history where that is worth it, and forget it if it is not as remembered."""
        entry.tidied_end = entry.end
        if not await self._tidying.tidy(entry):
            self._caches[entry.kind].drop(entry.entity)


def _spliced(entries: Sequence[Cached], tails: Mapping[int, bytes]) -> set[Cached]:
    """Settle drafts behind what others had appended first, and return these histories."""
    for index, tail in tails.items():
        entries[index].splice_bytes(tail)
    return {entries[index] for index in tails}
