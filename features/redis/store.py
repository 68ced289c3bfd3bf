"""The history store on a Redis server or a Redis Cluster, shared by a deployment's workers; each caches what it uses.

A worker appends a batch to its cached histories, uncommitted, and one script appends all these records on the server if
the cards' histories equal the cached ones; else nothing is appended, and the worker reloads and tries again. So all
rules run here, in the same code as in memory, and the server only compares and appends. Merchants are shared: records
that others appended come back with the answer.

A loss in Redis is detected, logged, and raises the history epoch; `stream.recovery` repairs it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from features.errors import HistoryDamagedError, StoreUnavailableError
from features.history import records
from features.history.append import (
    AppendResult,
    EntityRows,
    Visibility,
    append_transactions,
    rows_by_entity,
    visible_histories,
)
from features.history.history import History
from features.history.predictions import visible_predictions
from features.history.retention import Retention, horizons_of
from features.history.store import (
    Entity,
    Histories,
    Ints,
    Label,
    LabelResult,
    Observed,
    Prediction,
    PredictionResult,
    RetentionPolicy,
    Transactions,
)
from features.redis.age import HistoryAge
from features.redis.cache import CachedHistory, CacheStats
from features.redis.cluster import ClusterConnection
from features.redis.compaction import erased_now
from features.redis.connection import Connection
from features.redis.damage import DamagedHistories
from features.redis.deletions import watch_deletions
from features.redis.keys import CLUSTER_SHARDS, HOME_SHARD, SINGLE_SERVER_SHARDS, KeyLayout
from features.redis.labels import (
    LabelAppender,
    Originals,
    PredictionAppender,
    ReadOriginals,
    WantedOriginals,
    no_originals,
)
from features.redis.progress import CommitNotes, LogPart, RepairProgress
from features.redis.retention import Coverage
from features.redis.server import ServerConnection
from features.redis.session import (
    HistorySession,
    LoadedHistories,
    NamedHistories,
    incomplete_places,
    rollback_on_exit,
    update_positions,
)
from features.redis.urls import is_cluster

ATTEMPTS = 8
"""An attempt fails only if another worker wrote to one of the batch's cards in between, or after a loss."""
UNLOCKED_ATTEMPTS = 2
"""Attempts before `other_store_lock` is taken."""

T = TypeVar("T")
_NO_ORIGINALS: Originals = MappingProxyType({})
AppendedTransactions = tuple[Mapping[Entity, EntityRows], LoadedHistories, AppendResult]


class StoreOptions(NamedTuple):
    """Options of a store.

    `prefix` starts every key; `timeout_s` is the longest wait for one answer; `cache_bytes` bounds the cache;
    `cluster_shards` is the number of shards on a Redis Cluster, fixed for a deployment. `needed` returns how far
    back histories have to be complete: as far as the store's own sets look where it is None. `other_store_lock` is
    the lock of another store of this process, taken after a few failed attempts, so that its calls stop getting in
    between. `batch_bytes` bounds what the transactions of one answer see together, where a history that they
    share counts once, and what a call loads. `originals` reads erased transactions that labels are about.
    """

    prefix: str = "fraudstream:"
    timeout_s: float = 1.0
    cache_bytes: int = 512 << 20
    cluster_shards: int = CLUSTER_SHARDS
    needed: Callable[[], Mapping[Entity, int]] | None = None
    other_store_lock: asyncio.Lock | None = None
    batch_bytes: int = 64 << 20
    originals: ReadOriginals = no_originals


DEFAULT = StoreOptions()


@asynccontextmanager
async def open_commit_notes(url: str, deployment: str) -> AsyncIterator[CommitNotes]:
    """Open the notes of a deployment's commits, for a reader outside its workers.

    Raises:
        StoreRefusedError: the URL names no server that can be used.
    """
    connection, layout = open_connection(url, deployment, DEFAULT)
    try:
        yield CommitNotes(connection, layout)
    finally:
        await connection.close()


def open_connection(url: str, deployment: str, options: StoreOptions) -> tuple[Connection, KeyLayout]:
    """Return the connection for a URL, which is not connected yet, and the deployment's key layout."""
    layout = KeyLayout(options.prefix, deployment, options.cluster_shards if is_cluster(url) else SINGLE_SERVER_SHARDS)
    if is_cluster(url):
        return ClusterConnection(url, layout, options.timeout_s), layout
    return ServerConnection(url, layout.epochs[HOME_SHARD] + b":tried", options.timeout_s), layout


class RedisStore:
    """Implements `features.history.store` on Redis 6.2 or later, or a Redis Cluster; `now_ms` is the clock, for expiry.

    `connect` comes first. Calls are serialised by `lock`.

    Attributes:
        state: this worker's view of the history state.
        commit_notes: the second copy of what the group committed.
        age: how far back the histories go.
        lock: held during each call.
    """

    def __init__(
        self,
        url: str,
        deployment: str,
        policy: RetentionPolicy,
        now_ms: Callable[[], int],
        options: StoreOptions = DEFAULT,
    ) -> None:
        self._connection, self._layout = open_connection(url, deployment, options)
        self._session = HistorySession(self._connection, self._layout, policy, now_ms)
        self._session.limit_cache(options.cache_bytes)
        self.state = self._session.state
        self.commit_notes = CommitNotes(self._connection, self._layout)
        self.age = HistoryAge(self._connection, self._layout, now_ms)
        self._visible = policy.retentions
        self._now_ms = now_ms
        own_ms = horizons_of(policy.retentions)
        self._needed = options.needed or (lambda: own_ms)
        self._batch_bytes = options.batch_bytes
        self._labels = LabelAppender(self._session, options.batch_bytes)
        self._predictions = PredictionAppender(self._session, options.batch_bytes)
        self._other_store_lock = options.other_store_lock
        self._read_originals = options.originals
        self.lock = asyncio.Lock()

    def cached_copy(self, kind: Entity, entity: int) -> History | None:
        """Return a copy of a cached history, without asking the server; None if it is not cached."""
        return self._session.copy(kind, entity)

    @property
    def history_epoch(self) -> int:
        """The epoch of the latest answer."""
        return self.state.epoch

    @property
    def incomplete(self) -> bool:
        """Whether Redis is known to lack records, as far back as needed: they are not all applied again yet."""
        return not self.state.covers(self._needed())

    def lacks(self, horizons_ms: Mapping[Entity, int]) -> bool:
        """Tell whether these horizons reach beyond both the complete histories and what is needed now."""
        if self.state.covers(horizons_ms):
            return False
        return not Coverage.of(self._needed()).includes(Coverage.of(horizons_ms))

    @property
    def cache_stats(self) -> Mapping[Entity, CacheStats]:
        """Statistics of the caches, by entity."""
        return self._session.cache_stats

    async def connect(self, *, emptied: bool = False) -> None:
        """Check the server and join the deployment's history epoch.

        `emptied` says that there were histories before: a server without any has lost them.

        Raises:
            StoreRefusedError: the server is too old, may evict, or denies access.
            StoreUnavailableError: it does not answer.
        """
        async with self.lock:
            await self._connection.check_server()
            await self._session.join(emptied=emptied)
        await self.age.sync(self.state.epoch)

    async def declare_loss(self, what: str, above: int | None = None) -> None:
        """Raise the history epoch for a loss that only the caller could detect.

        It happened under the epoch `above`, or under the current one; an epoch raised since covers it.

        Raises:
            StoreUnavailableError: the server does not answer.
        """
        async with self.lock:
            if above is None or self.state.epoch <= above:
                await self.state.record_loss(what, same_server=True)

    async def watch(self) -> None:
        """Detect histories that others delete, see `watch_deletions`; never returns."""
        await watch_deletions(self._connection.deletions(), self._layout.is_history, self)

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()

    @property
    def repair_progress(self) -> RepairProgress:
        """The progress of a repair, shared by all workers."""
        return self.state.repair_progress

    async def checkpoint(self, checkpoints: Mapping[LogPart, int]) -> bool:
        """Store the offset of each part below which everything is applied. See `RepairProgress.checkpoint`."""
        return not self.incomplete and await self.repair_progress.checkpoint(self.history_epoch, checkpoints)

    async def refresh(self) -> None:
        """Detect a loss, a finished repair and a changed retention without a batch; write and read the age.

        Raises:
            StoreUnavailableError: the server does not answer.
        """
        if await self.state.refresh(apply=False):
            async with self.lock:
                await self.state.refresh(apply=True)
        await self.age.sync(self.state.epoch)

    async def observe(self, transactions: Transactions, *, whole: bool = False) -> Observed:
        """Append and return what is visible, as the port says; with `whole`, only while histories are complete.

        Raises:
            StoreUnavailableError: some may not be appended; repeat the call. With `whole`, none is while histories are
                incomplete.
        """
        async with self.lock:
            self._require_usable()
            entity_rows, loaded, result = await self._retry(lambda: self._append(transactions, whole=whole))
            self._require_usable()
            return Observed(
                fates=result.fates,
                histories={
                    kind: self._seen(kind, retention, loaded, (entity_rows, result))
                    for kind, retention in self._visible.items()
                },
                history_epoch=self.state.epoch,
                incomplete=self.incomplete,
                damaged=incomplete_places({kind: loaded[kind] for kind in self._visible}),
                ages_days=self.age.at(entity_rows[Entity.CARD].rows[:, records.TIME]),
            )

    def _require_usable(self) -> None:
        """Refuse to decide while Redis may evict histories, and until what it has evicted is known.

        Raises:
            StoreUnavailableError: it may, or might have.
        """
        if (refusal := self.state.refusal) is not None:
            raise StoreUnavailableError(refusal)

    def _seen(
        self,
        kind: Entity,
        retention: Retention,
        loaded: LoadedHistories,
        appended: tuple[Mapping[Entity, EntityRows], AppendResult],
    ) -> Histories:
        """Return what is visible to each of the appended transactions in one kind of history."""
        entity_rows, result = appended
        if kind is Entity.PREDICTION:
            times_ms = entity_rows[Entity.CARD].rows[:, records.TIME]
            return visible_predictions(loaded[kind], times_ms, retention, loaded[Entity.CARD])
        return visible_histories(
            loaded[kind], result.positions[kind], entity_rows[kind].rows, self._visibility(retention)
        )

    async def holds(self, transactions: Transactions) -> Sequence[bool]:
        """Tell which transactions are in their cards' histories, as the port says.

        Raises:
            StoreUnavailableError: the server does not answer; repeat the call.
        """
        cards = rows_by_entity(transactions, (Entity.CARD,))[Entity.CARD]
        async with self.lock:
            return await self._session.holds(NamedHistories(cards.hashes, cards.ids), cards.rows)

    async def apply(self, transactions: Transactions) -> None:
        """Append transactions again that were observed before a loss; returns nothing that is visible to them.

        Raises:
            StoreUnavailableError: some may not be appended; repeat the call.
        """
        while len(transactions):
            async with self.lock:
                _, _, result = await self._retry(partial(self._append, transactions, again=True))
            transactions = transactions.after(len(result.fates))

    async def _retry(self, attempt: Callable[[], Awaitable[T | None]]) -> T:
        """Repeat an attempt until no other worker wrote to a card in between; lock out another store after a few."""
        for number in range(ATTEMPTS):
            async with (
                self._other_store_lock if self._other_store_lock and number >= UNLOCKED_ATTEMPTS else nullcontext()
            ):
                done = await attempt()
            if done is not None:
                return done
        raise StoreUnavailableError(f"card histories changed during {ATTEMPTS} attempts in a row; try again")

    async def _append(
        self, transactions: Transactions, *, again: bool = False, whole: bool = False
    ) -> AppendedTransactions | None:
        """Append the first ones of a batch, as many as fit; return their rows, histories and positions.

        None if a card changed meanwhile.
        """
        retentions = self.state.retentions
        entity_rows = rows_by_entity(transactions, tuple(retentions))
        named = {kind: NamedHistories(one.hashes, one.ids) for kind, one in entity_rows.items()}
        if Entity.PREDICTION in self._visible and not again:
            named[Entity.PREDICTION] = named[Entity.CARD]
        loaded = await self._session.load(named, self._batch_bytes)
        # A tricky part: this load, or the attempt before, may have noticed that Redis was emptied, or read one that
        # began anew. A payment that is sent again must not be appended then: the repair would find it there in place of
        # the one that was decided.
        if whole:
            await self._session.note_loss()
            if self.incomplete:
                raise StoreUnavailableError("Redis has lost histories, and they are not fully rebuilt from Kafka yet")
        entity_rows = {kind: one.first(len(loaded[kind])) for kind, one in entity_rows.items()}
        with rollback_on_exit(loaded.values()):
            skip_ms = self.state.horizons_ms if again else {}
            appending = {kind: loaded[kind] for kind in entity_rows}
            result = append_transactions(appending, entity_rows, retentions, skip_ms, self.state.displaced)
            moved = await self._session.commit(loaded) if result.fates else frozenset()
        if moved is None:
            return None
        if not await self._session.reduce_erased(loaded, erased_now(loaded[Entity.CARD], result.fates)):
            return None
        self.age.note(entity_rows[Entity.CARD].rows[:, records.TIME], result.fates)
        for kind, one in entity_rows.items():
            update_positions(result.positions[kind], loaded[kind], one.rows, moved)
        return entity_rows, loaded, result

    def _visibility(self, retention: Retention) -> Visibility:
        return Visibility(retention, self.state.displaced, shares_long=True)

    async def label(self, labels: Sequence[Label]) -> Sequence[LabelResult]:
        """Append labels as the port says."""
        self._require_usable()
        return await self._label_in_parts(labels, again=False)

    async def apply_labels(self, labels: Sequence[Label]) -> None:
        """Append labels again that were appended before a loss, also to cards that lack records.

        Raises:
            StoreUnavailableError: some may not be appended; repeat the call.
        """
        await self._label_in_parts(labels, again=True)

    async def predict(self, predictions: Sequence[Prediction]) -> Sequence[PredictionResult]:
        """Append predictions as the port says; also again, after a loss."""
        self._require_usable()
        done = list[PredictionResult]()
        while len(done) < len(predictions):
            some = predictions[len(done) :]
            async with self.lock:
                done += await self._retry(partial(self._predictions.try_once, some))
        return done

    async def _label_in_parts(self, labels: Sequence[Label], *, again: bool) -> list[LabelResult]:
        """Append labels, fewer at once wherever their histories take too much."""
        done, at_once, originals = list[LabelResult](), len(labels), dict(_NO_ORIGINALS)
        while len(done) < len(labels):
            some = labels[len(done) : len(done) + at_once]
            try:
                async with self.lock:
                    attempt = partial(self._labels.try_once, some, again=again, originals=originals)
                    results: list[LabelResult] | WantedOriginals = await self._retry(attempt)
            except HistoryDamagedError as error:
                raise HistoryDamagedError(error.keys, [len(done) + place for place in error.places]) from error
            if isinstance(results, WantedOriginals):  # read without the lock: decisions go on meanwhile
                originals |= await self._read_originals(results.places)
                continue
            done += results
            at_once = max(1, len(some) // 2) if not results else at_once
        return done

    @property
    def damaged(self) -> DamagedHistories:
        """The deployment's damaged histories."""
        return self._session.damaged

    async def confirm(self, transactions: Transactions) -> list[bool]:
        """Tell which of the transactions were accepted, as far as their histories can tell.

        The first history that lacks nothing tells, the card's or the merchant's: it has the transaction, or has
        dropped it since. Without such a history it counts as accepted.

        Raises:
            StoreUnavailableError: the server does not answer.
        """
        found: list[bool] = []
        while len(found) < len(transactions):
            entity_rows = rows_by_entity(transactions.after(len(found)), (Entity.CARD, Entity.MERCHANT))
            named = {kind: NamedHistories(one.hashes, one.ids) for kind, one in entity_rows.items()}
            async with self.lock:
                loaded = await self._session.load(named, self._batch_bytes)
            found += [self._is_confirmed(at, entity_rows, loaded) for at in range(len(loaded[Entity.CARD]))]
        return found

    def _is_confirmed(self, at: int, entity_rows: Mapping[Entity, EntityRows], loaded: LoadedHistories) -> bool:
        """Tell it of one transaction."""
        for kind, entries in loaded.items():
            entry = entries[at]
            if entry is not None and not entry.is_incomplete:
                row, horizon_ms = entity_rows[kind].rows[at], self.state.horizons_ms[kind]
                return _has_or_dropped(entry, row, horizon_ms, self._now_ms())
        return True

    async def compact(self) -> None:
        """Trim or compact, one after the other, the histories that grew since the last call."""
        for entry in self._session.grown():
            async with self.lock:
                await self._session.compact(entry)


def _has_or_dropped(history: CachedHistory, row: Ints, horizon_ms: int, now_ms: int) -> bool:
    """Tell whether a history has this very transaction, or had it."""
    newest_ms = max(history.newest_ms, now_ms) if history.is_absent else history.newest_ms
    if int(row[records.TIME]) <= newest_ms - horizon_ms:
        return True
    position = history.find(int(row[records.ID]), int(row[records.TIME]))
    if position is None:
        return history.position_if_compacted(row) is not None
    return records.same_source_offset(history.at(position), row)
