"""The history store on a Redis server or a Redis Cluster, shared by a deployment's workers; each caches what it uses.

A worker appends a batch to its cached histories, uncommitted, and one script appends all these records on the server if
the cards' histories equal the cached ones; else nothing is appended, and the worker reloads and tries again. So all
rules run here, in the same code as in memory, and the server only compares and appends. Merchants are shared: records
that others appended come back with the answer.

A loss in Redis is detected, logged, and raises the history epoch; `stream.recovery` repairs it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import NamedTuple, TypeVar

from features.errors import HistoryDamagedError, StoreUnavailableError
from features.history import records
from features.history.append import (
    NO_ENTITY,
    AppendedLabel,
    AppendResult,
    EntityRows,
    Visibility,
    append_card_label,
    append_transactions,
    rows_by_entity,
    visible_histories,
)
from features.history.history import History
from features.history.records import card_hash
from features.history.retention import Retention, horizons_of
from features.history.store import NOWHERE, Entity, Ints, Label, LabelResult, Observed, RetentionPolicy, Transactions
from features.redis.cache import CachedHistory, CacheStats
from features.redis.cluster import ClusterConnection
from features.redis.connection import Connection
from features.redis.damage import DamagedHistories
from features.redis.deletions import watch_deletions
from features.redis.keys import CLUSTER_SHARDS, HOME_SHARD, SINGLE_SERVER_SHARDS, KeyLayout
from features.redis.progress import LogPart, RepairProgress
from features.redis.retention import Coverage
from features.redis.server import ServerConnection
from features.redis.session import HistorySession, LoadedHistories, NamedHistories
from features.redis.urls import is_cluster

ATTEMPTS = 8
"""An attempt fails only if another worker wrote to one of the batch's cards in between, or after a loss."""

UNLOCKED_ATTEMPTS = 2
"""Attempts before `other_store_lock` is taken."""

T = TypeVar("T")
OtherHistories = Mapping[Entity, Mapping[int, CachedHistory]]
AppendedTransactions = tuple[Mapping[Entity, EntityRows], LoadedHistories, AppendResult]


class StoreOptions(NamedTuple):
    """Options of a store.

    `prefix` starts every key; `timeout_s` is the longest wait for one answer; `cache_bytes` bounds the cache;
    `cluster_shards` is the number of shards on a Redis Cluster, fixed for a deployment. `needed` returns how far
    back histories have to be complete: as far as the store's own sets look where it is None. `other_store_lock` is
    the lock of another store of this process, taken after a few failed attempts, so that its calls stop getting in
    between.
    """

    prefix: str = "fraudstream:"
    timeout_s: float = 1.0
    cache_bytes: int = 512 << 20
    cluster_shards: int = CLUSTER_SHARDS
    needed: Callable[[], Mapping[Entity, int]] | None = None
    other_store_lock: asyncio.Lock | None = None


DEFAULT = StoreOptions()


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
        self._visible = policy.retentions
        self._now_ms = now_ms
        own_ms = horizons_of(policy.retentions)
        self._needed = options.needed or (lambda: own_ms)
        self._other_store_lock = options.other_store_lock
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
        """Detect a loss, a finished repair and a changed retention without a batch.

        Raises:
            StoreUnavailableError: the server does not answer.
        """
        if await self.state.refresh(apply=False):
            async with self.lock:
                await self.state.refresh(apply=True)

    async def observe(self, transactions: Transactions) -> Observed:
        """Append and return what is visible, as the port says."""
        async with self.lock:
            entity_rows, loaded, result = await self._retry(lambda: self._append(transactions))
            return Observed(
                fates=result.fates,
                histories={
                    kind: visible_histories(
                        loaded[kind], result.positions[kind], entity_rows[kind].rows, self._visibility(retention)
                    )
                    for kind, retention in self._visible.items()
                },
                history_epoch=self.state.epoch,
                incomplete=self.incomplete,
                damaged=_damaged({kind: loaded[kind] for kind in self._visible}),
            )

    async def apply(self, transactions: Transactions) -> None:
        """Append transactions again that were observed before a loss; returns nothing that is visible to them.

        Raises:
            StoreUnavailableError: some may not be appended; repeat the call.
        """
        async with self.lock:
            await self._retry(lambda: self._append(transactions, again=True))

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

    async def _append(self, transactions: Transactions, *, again: bool = False) -> AppendedTransactions | None:
        """Append a batch; return its rows, histories and positions, or None if a card changed meanwhile."""
        retentions = self.state.retentions
        entity_rows = rows_by_entity(transactions, tuple(retentions))
        loaded = await self._session.load(
            {kind: NamedHistories(one.hashes, one.ids) for kind, one in entity_rows.items()}
        )
        with _rollback_on_exit(loaded.values()):
            skip_ms = self.state.horizons_ms if again else {}
            result = append_transactions(loaded, entity_rows, retentions, skip_ms, self.state.displaced)
            moved = await self._session.commit(loaded) if result.fates else frozenset()
        if moved is None:
            return None
        for kind, one in entity_rows.items():
            _update_positions(result.positions[kind], loaded[kind], one.rows, moved)
        return entity_rows, loaded, result

    def _visibility(self, retention: Retention) -> Visibility:
        return Visibility(retention, self.state.displaced)

    async def label(self, labels: Sequence[Label]) -> Sequence[LabelResult]:
        """Append labels as the port says."""
        async with self.lock:
            return await self._retry(lambda: self._label(labels)) if labels else []

    async def apply_labels(self, labels: Sequence[Label]) -> None:
        """Append labels again that were appended before a loss, also to cards that lack records.

        Raises:
            StoreUnavailableError: some may not be appended; repeat the call.
        """
        async with self.lock:
            if labels:
                await self._retry(lambda: self._label(labels, again=True))

    async def _label(self, labels: Sequence[Label], *, again: bool = False) -> list[LabelResult] | None:
        """Try once; None if a card changed meanwhile.

        Raises:
            HistoryDamagedError: cards lack records, so that it is unknown what their labels are about.
        """
        ids = [label.card_id for label in labels]
        loaded = await self._session.load({Entity.CARD: NamedHistories([card_hash(card_id) for card_id in ids], ids)})
        cards = [card for card in loaded[Entity.CARD] if card is not None]
        damaged = {} if again else _damaged(loaded)
        if damaged:
            raise HistoryDamagedError(frozenset(damaged.values()), frozenset(damaged))
        rows = [records.label_row(label) for label in labels]
        with _rollback_on_exit([cards]):
            retentions = self.state.retentions
            visibility = self._visibility(retentions[Entity.CARD])
            appended = [append_card_label(card, row, visibility) for card, row in zip(cards, rows, strict=True)]
            others = await self._load_others(appended)
            with _rollback_on_exit(known.values() for known in others.values()):
                for kind, known in others.items():
                    for row, one in zip(rows, appended, strict=True):
                        _append_to_other(known, row, one, (kind, retentions[kind].allows_panes))
                everyone = {kind: list(known.values()) for kind, known in others.items()}
                if await self._session.commit({Entity.CARD: cards, **everyone}) is None:
                    return None
                if await self._appeared_meanwhile(appended, others):
                    return None
        return [self._label_result(*each, others) for each in zip(labels, rows, appended, strict=True)]

    async def _load_others(self, appended: Sequence[AppendedLabel]) -> dict[Entity, dict[int, CachedHistory]]:
        """Load the merchants and devices of known transactions; those without a stored history are left out."""
        kinds = [kind for kind in self.state.retentions if kind is not Entity.CARD]
        hashes = {kind: list({entity for one in appended if (entity := one.entity(kind))}) for kind in kinds}
        loaded = await self._session.load({kind: NamedHistories(one, [""] * len(one)) for kind, one in hashes.items()})
        return {
            kind: {entry.entity: entry for entry in found if entry and not entry.is_absent}
            for kind, found in loaded.items()
        }

    async def _appeared_meanwhile(self, appended: Sequence[AppendedLabel], others: OtherHistories) -> bool:
        """Tell whether a missing history exists now: a transaction was on its way to it."""
        wanted = {kind: {entity for one in appended if (entity := one.entity(kind))} for kind in others}
        if all(wanted[kind] <= known.keys() for kind, known in others.items()):
            return False
        now = await self._load_others(appended)
        return any(known.keys() != now.get(kind, {}).keys() for kind, known in others.items())

    def _label_result(self, label: Label, row: Ints, appended: AppendedLabel, others: OtherHistories) -> LabelResult:
        transaction = appended.verdict.transaction
        merchant = others[Entity.MERCHANT].get(appended.entity(Entity.MERCHANT) or NO_ENTITY)
        return LabelResult(
            status=appended.verdict.status,
            merchant_id=label.merchant_id if merchant is None else merchant.entity_id,
            occurred_ms=label.occurred_ms if transaction is None else int(transaction[records.TIME]),
            history_epoch=self.state.epoch,
            card_position=appended.position,
            merchant_position=None if merchant is None else merchant.find(int(row[records.ID])),
        )

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
        async with self.lock:
            entity_rows = rows_by_entity(transactions, (Entity.CARD, Entity.MERCHANT))
            loaded = await self._session.load(
                {kind: NamedHistories(one.hashes, one.ids) for kind, one in entity_rows.items()}
            )
        horizons_ms, oldest_ms = self.state.horizons_ms, self._now_ms()
        found = []
        for place in range(len(transactions)):
            whole = [(kind, entry) for kind in loaded if (entry := loaded[kind][place]) and not entry.is_incomplete]
            found.append(
                not whole
                or _has_or_dropped(
                    whole[0][1], entity_rows[whole[0][0]].rows[place], (horizons_ms[whole[0][0]], oldest_ms)
                )
            )
        return found

    async def compact(self) -> None:
        """Trim or compact, one after the other, the histories that grew since the last call."""
        for entry in self._session.grown():
            async with self.lock:
                await self._session.compact(entry)


@contextmanager
def _rollback_on_exit(groups: Iterable[Iterable[CachedHistory | None]]) -> Iterator[None]:
    """Roll back, however the block ends, all records that were not committed in it."""
    entries = [entry for group in groups for entry in group if entry is not None]
    try:
        yield
    finally:
        for entry in entries:
            entry.rollback()


def _update_positions(
    positions: list[int], histories: Sequence[CachedHistory | None], rows: Ints, moved: frozenset[CachedHistory]
) -> None:
    """Update the positions of records in histories to which others had appended first."""
    for i, history in enumerate(histories) if moved else ():
        if history in moved and positions[i] != NOWHERE:
            position = history.find(int(rows[i, records.ID]), int(rows[i, records.TIME]))
            if position is None:
                position = history.position_if_compacted(rows[i])
            positions[i] = NOWHERE if position is None else position


def _append_to_other(
    known: Mapping[int, CachedHistory], row: Ints, appended: AppendedLabel, kind: tuple[Entity, bool]
) -> None:
    """Append a label to its transaction's other history; `kind` is the entity and whether it has panes."""
    history = known.get(appended.entity(kind[0]) or NO_ENTITY)
    if history is not None:
        appended.append_to(history, row, allows_panes=kind[1])


def _damaged(loaded: LoadedHistories) -> dict[int, str]:
    """Return the key of an incomplete history for each place in the batch that has one."""
    return {
        place: entry.key.decode()
        for entries in loaded.values()
        for place, entry in enumerate(entries)
        if entry is not None and entry.is_incomplete
    }


def _has_or_dropped(history: CachedHistory, row: Ints, clock: tuple[int, int]) -> bool:
    """Tell whether a history has this very transaction, or had it: `clock` is its horizon, and the time now."""
    horizon_ms, now_ms = clock
    newest_ms = max(history.newest_ms, now_ms) if history.is_absent else history.newest_ms
    if int(row[records.TIME]) <= newest_ms - horizon_ms:
        return True
    position = history.find(int(row[records.ID]), int(row[records.TIME]))
    if position is None:
        return history.position_if_compacted(row) is not None
    return records.same_source_offset(history.at(position), row)
