"""A worker's session with the stored histories: load before a batch, append in memory, commit in one step.

The cache changes only after an answer was read, so a failed call leaves it as it was; what the server did all the same
is found by the next call. A loss is detected here: the epoch key is gone or another, a known position lies beyond the
end, the record before it is another, or the server was restarted.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

from features.errors import StoreUnavailableError
from features.history import records
from features.history.append import NO_ENTITY, NO_LIMIT, SeenCounter, fitting
from features.history.history import TRIM_LEAST, History
from features.history.rules import are_held
from features.history.store import NOWHERE, Entity, Ints, RetentionPolicy
from features.redis.append import (
    REFRESH_AFTER_MS,
    AppendContext,
    Appended,
    Mismatch,
    OtherEpoch,
    ShardAppend,
    WrongType,
    append_calls,
    append_steps,
    by_kind,
    read_reply,
)
from features.redis.cache import Cache, CachedHistory, CacheStats, load_together
from features.redis.compaction import Compactor, StoredErasures
from features.redis.connection import Call, Connection
from features.redis.damage import DamagedHistories
from features.redis.keys import KIND_LETTERS, KeyLayout
from features.redis.state import HistoryState

FETCHED_TOGETHER = 64
"""Histories of so many transactions are fetched with one call; if they are cut, some of it was in vain."""
MAX_GROWN = 10_000
"""At most so many histories wait for the next compaction; others wait for their next record."""
HEAD_BYTES = 64 * 1024
"""Nearly all histories are shorter."""
NO_STRING = 0
"""What heads.lua returns for a key of another type."""


class HistoryLoader:
    """Fetches the histories of a deployment: many short ones with one call, long ones one by one, as memory allows.

    A value's length is not known before it is read, and a batch may name hundreds of histories of many MiB each. So the
    beginnings are read first; a history that does not end there is read whole only when its transaction's turn comes.
    What is no history is begun anew.
    """

    def __init__(
        self, connection: Connection, layout: KeyLayout, compactor: Compactor, damaged: DamagedHistories
    ) -> None:
        self._connection = connection
        self._layout = layout
        self._compactor = compactor
        self._damaged = damaged

    async def fetch(self, entries: Sequence[CachedHistory]) -> None:
        """Fetch whole histories."""
        if entries:
            keys = [(self._layout.shard_of(entry.entity), entry.key) for entry in entries]
            for entry, value in zip(entries, await self._connection.values(keys), strict=True):
                await self._load(entry, value)

    async def fetch_short(self, entries: Sequence[CachedHistory]) -> set[CachedHistory]:
        """Fetch those histories that are short, and return the others."""
        by_shard = self._layout.group_by_shard(entry.entity for entry in entries)
        groups = {shard: [entries[place] for place in places] for shard, places in by_shard.items()}
        calls = [Call(shard, [entry.key for entry in group], (HEAD_BYTES,)) for shard, group in groups.items()]
        long = set()
        for group, heads in zip(groups.values(), await self._connection.run("heads", calls), strict=True):
            short, values = list[CachedHistory](), list[bytes | None]()
            for entry, head in zip(group, heads, strict=True):
                if head == NO_STRING:
                    await self.begin_anew(entry, None)
                elif head is not None and len(head) == HEAD_BYTES:
                    long.add(entry)
                else:
                    short.append(entry)
                    values.append(head)
            for entry, value, is_loaded in zip(short, values, load_together(short, values), strict=True):
                if not is_loaded:
                    await self._load(entry, value)
        return long

    async def _load(self, entry: CachedHistory, value: bytes | None) -> None:
        if not entry.load(value):
            await self.begin_anew(entry, value)
        elif entry.is_incomplete:
            await self._damaged.list_known(entry)
        await self._compactor.examine(entry)

    async def begin_anew(self, entry: CachedHistory, value: bytes | None) -> None:
        """Begin a damaged history anew; one whose id is unknown here (a label's merchant) counts as missing.

        Raises:
            StoreUnavailableError: it changes at the same time; try again.
        """
        if not entry.entity_id:
            entry.load(None)
            return
        await self._damaged.begin_anew(entry, value)
        (value,) = await self._connection.values([(self._layout.shard_of(entry.entity), entry.key)])
        if not entry.load(value):
            raise StoreUnavailableError(f"{entry.key.decode()}: it is no history, and changes meanwhile; try again")


class NamedHistories(NamedTuple):
    """Histories of one kind, by hash (NO_ENTITY: none) and by id; an unknown id is ""."""

    hashes: Sequence[int]
    ids: Sequence[str]


LoadedHistories = Mapping[Entity, Sequence[CachedHistory | None]]
"""Histories in the order they were named; None for NO_ENTITY."""


class HistorySession:
    """The histories of one deployment as one worker has cached them; not for concurrent calls."""

    def __init__(
        self, connection: Connection, layout: KeyLayout, policy: RetentionPolicy, now_ms: Callable[[], int]
    ) -> None:
        self.state = HistoryState(connection, layout, policy, self._clear_caches)
        self._connection = connection
        self._layout = layout
        self._now_ms = now_ms
        self._compactor = Compactor(connection, layout, policy.retentions, self.state)
        self.damaged = DamagedHistories(connection, layout, self.state, now_ms)
        self._loader = HistoryLoader(connection, layout, self._compactor, self.damaged)
        self._erasures = StoredErasures(connection, layout, self.state)
        self._most_bytes = 0
        self._caches: dict[Entity, Cache] = {}
        self._grown: dict[tuple[Entity, int], None] = {}

    def limit_cache(self, most_bytes: int) -> None:
        """Clear the caches; from now on they hold `most_bytes`, divided equally among the kinds."""
        self._most_bytes = most_bytes
        self._clear_caches()

    async def join(self, *, emptied: bool) -> None:
        """Join the deployment's history epoch."""
        await self.state.join(self._now_ms(), emptied=emptied)

    async def load(self, wanted: Mapping[Entity, NamedHistories], most_bytes: int = NO_LIMIT) -> LoadedHistories:
        """Return the named histories, n of each kind; fetch those that are not cached.

        If the histories at the first m places take `most_bytes` together, only these are returned; m is at least one.
        One that may have expired on the server counts as not cached.
        """
        now_ms = self._now_ms()
        looked_up = {kind: self._look_up(kind, named, now_ms) for kind, named in wanted.items()}
        found = {kind: entries for kind, (entries, _) in looked_up.items()}
        missing = {entry for _, new in looked_up.values() for entry in new}
        count = await self._fetch_fitting(found, missing, most_bytes) if missing else fitting(found, most_bytes)
        for kind, entries in found.items():
            found[kind] = entries[:count] if len(entries) > count else entries
            self._caches[kind].count(found[kind], len(missing.intersection(found[kind])) if missing else 0)
        return found

    async def holds(self, cards: NamedHistories, rows: Ints) -> list[bool]:
        """Tell which of n transactions are in their cards' histories, as the server holds these."""
        for entity in cards.hashes:  # another worker may have appended to it since it was cached
            self._caches[Entity.CARD].drop(entity)
        return are_held((await self.load({Entity.CARD: cards}))[Entity.CARD], rows)

    def _look_up(
        self, kind: Entity, named: NamedHistories, now_ms: int
    ) -> tuple[list[CachedHistory | None], Collection[CachedHistory]]:
        """Return the histories of one kind, one object for each entity, and the empty ones that are not cached."""
        cache, expired_ms = self._caches[kind], now_ms - self.state.retentions[kind].horizon_ms
        new, entries = dict[int, CachedHistory](), list[CachedHistory | None]()
        for entity, entity_id in zip(named.hashes, named.ids, strict=True):
            entry = cache.get(entity)
            if entity != NO_ENTITY and (entry is None or entry.refreshed_ms <= expired_ms):
                entry = new.get(entity)
                if entry is None:
                    key = self._layout.key(kind, entity)
                    entry = new[entity] = CachedHistory(kind, entity, entity_id, key)
            entries.append(entry)
        return entries, new.values()

    async def _fetch_fitting(self, found: LoadedHistories, missing: set[CachedHistory], most_bytes: int) -> int:
        """Fetch missing histories in order, until all are there or take too much; return how many places are done."""
        left, counter, total = set(missing), SeenCounter(), 0
        together = list(zip(*found.values(), strict=True))
        for first in range(0, len(together), FETCHED_TOGETHER):
            window = together[first : first + FETCHED_TOGETHER]
            wanted = list(dict.fromkeys(entry for some in window for entry in some if entry in left))
            left.difference_update(wanted)
            long = await self._loader.fetch_short(cast("list[CachedHistory]", wanted)) if wanted else set()
            for at, some in enumerate(window, first):
                for entry in long.intersection(some):
                    await self._loader.fetch([entry])
                    long.discard(entry)
                total += counter.add(some)
                if total > most_bytes and at:
                    return at
        return len(together)

    @property
    def cache_stats(self) -> Mapping[Entity, CacheStats]:
        """Statistics of the caches, by kind."""
        return {kind: self._caches[kind].stats for kind in self.state.retentions}

    def copy(self, kind: Entity, entity: int) -> History | None:
        """Return a copy of a cached history, without uncommitted records."""
        entry = self._caches[kind].get(entity)
        if entry is None:
            return None
        history = History(entity, entry.entity_id, entry.columns)
        history.replace(entry.base, entry.rows[: entry.committed])
        return history

    async def commit(self, loaded: LoadedHistories) -> frozenset[CachedHistory] | None:
        """Append all uncommitted records, or none and return None: then load and append anew.

        Returns:
            The histories in which others' records came to lie before ours, so that positions have changed.
        """
        context = AppendContext(self.state.epoch, self.state.horizons_ms, self._now_ms())
        touched = {kind: [entry for entry in dict.fromkeys(found) if entry] for kind, found in loaded.items()}
        moved: set[CachedHistory] | None = set()
        for parts in append_steps(touched, self._layout):
            others = await self._append(parts, context)
            if moved is None or others is None:
                moved = None
                break
            moved |= others
        await self.note_loss()
        return None if moved is None else frozenset(moved)

    async def reduce_erased(self, loaded: LoadedHistories, erased_now: Collection[CachedHistory]) -> bool:
        """Reduce what erased cards still hold, `erased_now` those of which a batch has an erasure.

        Returns:
            False if a history changed meanwhile: then load and append anew.
        """
        cards = [card for card in loaded[Entity.CARD] if card is not None and card.is_erased]
        for card in dict.fromkeys(cards):
            if not await self._reduce(card, card.erased_ms):
                return False
        return not cards or await self._reduce_predictions(loaded, erased_now)

    async def _reduce_predictions(self, loaded: LoadedHistories, erased_now: Collection[CachedHistory]) -> bool:
        """Reduce the predictions about erased cards, as far as they are loaded, and those about `erased_now`."""
        if Entity.PREDICTION not in self.state.retentions:
            return True
        erased: list[CachedHistory | None] = list(erased_now)
        named = NamedHistories([card.entity for card in erased_now], [card.entity_id for card in erased_now])
        found = [*zip(erased, (await self.load({Entity.PREDICTION: named}))[Entity.PREDICTION], strict=True)]
        found += zip(loaded[Entity.CARD], loaded.get(Entity.PREDICTION, ()), strict=False)
        return all(
            [
                await self._reduce(predictions, card.erased_ms)
                for card, predictions in found
                if card is not None and card.is_erased and predictions is not None and not predictions.is_absent
            ]
        )

    async def _reduce(self, history: CachedHistory, erased_ms: int) -> bool:
        if await self._erasures.reduce(history, erased_ms):
            self._caches[history.kind].put([history])
            return True
        self._caches[history.kind].drop(history.entity)
        return False

    async def note_loss(self) -> None:
        """Record a loss if a server was restarted since it was asked last."""
        why = await self._connection.loss_reason()
        if why is not None:
            await self.state.record_loss(why)

    async def _append(self, parts: Sequence[ShardAppend], context: AppendContext) -> set[CachedHistory] | None:
        """Append one step; None if not all of it is appended, after reloading the histories that differed."""
        replies = await self._connection.run("append", append_calls(parts, self._layout, context))
        result = _sort(parts, replies)
        for kind, groups in by_kind(result.appended).items():
            self._confirm(kind, [entry for group in groups for entry in group], context.now_ms)
        if result.epochs:
            await self.state.adopt_epoch(max(result.epochs))
            return None
        await self._reload(result.differing)
        for entry in result.wrong:
            entry.rollback()
            self._caches[entry.kind].drop(entry.entity)
            await self._loader.begin_anew(entry, None)
        return None if result.differing or result.wrong else result.moved

    def _confirm(self, kind: Entity, entries: Sequence[CachedHistory], now_ms: int) -> None:
        """Commit what the server appended, and cache it.

        One to which nothing was ever appended, as of a payment that came too late, is not cached: others may begin it.
        """
        stale_ms = now_ms - REFRESH_AFTER_MS
        for entry in entries:
            entry.commit()
            if entry.refreshed_ms <= stale_ms:
                entry.refreshed_ms = now_ms
            grown = entry.end - entry.compacted_end >= TRIM_LEAST and not entry.is_incomplete
            if grown and len(self._grown) < MAX_GROWN:
                self._grown[kind, entry.entity] = None
        self._caches[kind].put([entry for entry in entries if not entry.is_absent])

    async def _reload(self, entries: Sequence[CachedHistory]) -> None:
        """Fetch histories that differed from the cache; if growth and trimming do not explain it, something is lost."""
        before = []
        for entry in entries:
            entry.rollback()
            before.append((entry.end, entry.last_id) if entry.committed else (0, 0))
        await self._loader.fetch(entries)
        lost = [
            entry.key
            for entry, (end, last_id) in zip(entries, before, strict=True)
            if entry.shows_loss(end, last_id) and not entry.is_incomplete
        ]
        for entry in entries:
            for cache in self._caches.values():
                cache.drop(entry.entity)
        if lost:
            await self.state.record_loss(f"records are gone from {len(lost)} histories, such as {lost[0].decode()}")

    def _clear_caches(self) -> None:
        self._grown.clear()
        most_bytes = self._most_bytes // len(self.state.retentions)
        for kind in KIND_LETTERS:
            if kind not in self._caches:
                self._caches[kind] = Cache(most_bytes)
            self._caches[kind].clear(most_bytes)

    def grown(self) -> list[CachedHistory]:
        """Return, once, the histories that may need compaction; one that was evicted waits for its next record."""
        found = [self._caches[kind].peek(entity) for kind, entity in self._grown]
        self._grown.clear()
        return [entry for entry in found if entry is not None]

    async def compact(self, entry: CachedHistory) -> None:
        """Trim or compact one history where that is worthwhile; drop it from the cache if the server's differs."""
        entry.compacted_end = entry.end
        if not await self._compactor.compact(entry):
            self._caches[entry.kind].drop(entry.entity)


class _StepResult(NamedTuple):
    """The calls that appended, the histories that differed or whose keys hold something else, and other epochs.

    In the `moved` ones, others' records came to lie before ours.
    """

    appended: list[ShardAppend]
    moved: set[CachedHistory]
    differing: list[CachedHistory]
    wrong: list[CachedHistory]
    epochs: list[int]


def _sort(parts: Sequence[ShardAppend], replies: Sequence[list[Any]]) -> _StepResult:
    """Sort the replies of a step; others' records that the server returned are committed, where they are records."""
    result = _StepResult([], set(), [], [], [])
    for part, reply in zip(parts, replies, strict=True):
        match read_reply(reply):
            case Appended(tails):
                spliced = {index: part.entries[index].splice_bytes(tail) for index, tail in tails.items()}
                result.differing.extend(part.entries[index] for index, done in spliced.items() if not done)
                result.moved.update(part.entries[index] for index, done in spliced.items() if done)
                if all(spliced.values()):
                    result.appended.append(part)
            case Mismatch(indexes):
                result.differing.extend(part.entries[index] for index in indexes)
            case WrongType(indexes):
                result.wrong.extend(part.entries[index] for index in indexes)
            case OtherEpoch(epoch):
                result.epochs.append(epoch)
    return result


@contextmanager
def rollback_on_exit(groups: Iterable[Iterable[CachedHistory | None]]) -> Iterator[None]:
    """Roll back, however the block ends, all records that were not committed in it."""
    entries = [entry for group in groups for entry in group if entry is not None]
    try:
        yield
    finally:
        for entry in entries:
            if entry.length != entry.committed:
                entry.rollback()


def incomplete_places(loaded: LoadedHistories) -> dict[int, str]:
    """Return the key of an incomplete history for each place in the batch that has one."""
    return {
        place: entry.key.decode()
        for entries in loaded.values()
        for place, entry in enumerate(entries)
        if entry is not None and entry.is_incomplete
    }


def update_positions(
    positions: list[int], histories: Sequence[CachedHistory | None], rows: Ints, moved: frozenset[CachedHistory]
) -> None:
    """Update the positions of records in histories to which others had appended first."""
    for i, history in enumerate(histories) if moved else ():
        if history in moved and positions[i] != NOWHERE:
            position = history.find(int(rows[i, records.ID]), int(rows[i, records.TIME]))
            if position is None:
                position = history.position_if_compacted(rows[i])
            positions[i] = NOWHERE if position is None else position
