"""Histories on a Redis server or a Redis Cluster, shared by a deployment's workers, each remembering what it works on.

A worker drafts a batch on the histories that it remembers, and one script appends all drafts if the cards' histories
are as they were remembered; else nothing happens, the worker looks again and drafts anew. So all judging is done here,
by the same code as in memory, and the server only compares and appends. Merchants are shared: what others appended to
one comes back with the answer.

Nothing here repairs what Redis lost: a loss is noticed, said, and raises the history epoch.

How a store uses its server, and the way to it: one server or a Redis Cluster, as the URL says.

Nothing here knows a history.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import NamedTuple, TypeVar

from features.errors import StoreUnavailableError
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
from features.redis.deletions import watch_deletions
from features.redis.keys import CLUSTER_SHARDS, HOME_SHARD, SINGLE_SERVER_SHARDS, KeyLayout
from features.redis.progress import LogPart, RepairProgress
from features.redis.retention import Coverage
from features.redis.server import ServerConnection
from features.redis.session import HistorySession, LoadedHistories, NamedHistories
from features.redis.topology import is_cluster

ATTEMPTS = 8
"""Each is lost only to another worker that wrote to one of the batch's cards in between, or to a loss."""

UNLOCKED_ATTEMPTS = 2
"""So many of them are made by a repair while decisions may come between."""

T = TypeVar("T")
OtherHistories = Mapping[Entity, Mapping[int, CachedHistory]]
AppendedTransactions = tuple[Mapping[Entity, EntityRows], LoadedHistories, AppendResult]


class StoreOptions(NamedTuple):
    """What can be chosen.

    `prefix` begins all keys; `timeout_s` is the longest wait for one answer; `cache_bytes` bounds what is remembered;
    `cluster_shards` are so many on a Redis Cluster, as long as a deployment lives. `needed` says how far back histories
    have to be complete: as far as the store's own sets look where it is None. `other_store_lock` is the lock of another
    store of this process, taken after a few failed attempts, so that its calls stop getting in between.
    """

    prefix: str = "fraudstream:"
    timeout_s: float = 1.0
    cache_bytes: int = 512 << 20
    cluster_shards: int = CLUSTER_SHARDS
    needed: Callable[[], Mapping[Entity, int]] | None = None
    other_store_lock: asyncio.Lock | None = None


DEFAULT = StoreOptions()


def open_connection(url: str, deployment: str, options: StoreOptions) -> tuple[Connection, KeyLayout]:
    """Return the way to a server, which is not gone yet, and which keys of a deployment live together there."""
    layout = KeyLayout(options.prefix, deployment, options.cluster_shards if is_cluster(url) else SINGLE_SERVER_SHARDS)
    if is_cluster(url):
        return ClusterConnection(url, layout, options.timeout_s), layout
    return ServerConnection(url, layout.epochs[HOME_SHARD] + b":tried", options.timeout_s), layout


class RedisStore:
    """Implements `features.history.store` on Redis 6.2 or later, or a Cluster; `now_ms` is the clock, for expiry.

    `connect` comes first. Calls of one store are made one after the other, whoever makes them.

    Attributes:
        standing: how the deployment's histories stand, as is known here.
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
        self._seen = policy.retentions
        own_ms = horizons_of(policy.retentions)
        self._needed = options.needed or (lambda: own_ms)
        self._other_store_lock = options.other_store_lock
        self.lock = asyncio.Lock()

    def cached_copy(self, kind: Entity, entity: int) -> History | None:
        """Return a copy of what is remembered of a history, without asking the server; None where nothing is."""
        return self._session.copy(kind, entity)

    @property
    def history_epoch(self) -> int:
        """The epoch of the latest answer."""
        return self.state.epoch

    @property
    def incomplete(self) -> bool:
        """Whether Redis is known to be behind the log, by what is needed: records are not all applied again yet."""
        return not self.state.covers(self._needed())

    def lacks(self, horizons_ms: Mapping[Entity, int]) -> bool:
        """Tell whether somebody who looks so far back would miss more than those do whose needs are met first."""
        if self.state.covers(horizons_ms):
            return False
        return not Coverage.of(self._needed()).includes(Coverage.of(horizons_ms))

    @property
    def cache_stats(self) -> Mapping[Entity, CacheStats]:
        """What came of remembering histories so far, by whose they are."""
        return self._session.cache_stats

    async def connect(self, *, emptied: bool = False) -> None:
        """Check the server and join the deployment's history epoch.

        `emptied` says that there were histories before: a server that knows of none has lost them.

        Raises:
            StoreRefusedError: the server is too old, may evict, or does not let us in.
            StoreUnavailableError: it does not answer.
        """
        async with self.lock:
            await self._connection.check_server()
            await self._session.join(emptied=emptied)

    async def declare_loss(self, what: str, above: int | None = None) -> None:
        """Raise the history epoch over a loss that only the caller could notice.

        It happened under the epoch `above`, or under the one that holds: one that was raised since covers it.

        Raises:
            StoreUnavailableError: the server does not answer.
        """
        async with self.lock:
            if above is None or self.state.epoch <= above:
                await self.state.record_loss(what, taken=True)

    async def watch(self) -> None:
        """Notice histories that others delete, as `noticing` says; this never returns."""
        await watch_deletions(self._connection.deletions(), self._layout.is_history, self)

    async def close(self) -> None:
        """Let the server go."""
        await self._connection.close()

    @property
    def repair_progress(self) -> RepairProgress:
        """What all workers know of a repair."""
        return self.state.repair_progress

    async def checkpoint(self, checkpoints: Mapping[LogPart, int]) -> bool:
        """Note that all of each part below an offset is applied; tell whether it holds. See `RepairProgress.mark`."""
        return not self.incomplete and await self.repair_progress.checkpoint(self.history_epoch, checkpoints)

    async def refresh(self) -> None:
        """Notice a loss though nothing is asked of the server, the end of a repair, and what others have kept.

        Raises:
            StoreUnavailableError: it does not answer.
        """
        if await self.state.refresh(apply=False):
            async with self.lock:
                await self.state.refresh(apply=True)

    async def observe(self, transactions: Transactions) -> Observed:
        """Append and return what is visible, as the port says."""
        async with self.lock:
            theirs, recalled, draft = await self._retry(lambda: self._append(transactions))
            return Observed(
                fates=draft.fates,
                histories={
                    kind: visible_histories(
                        recalled[kind], draft.positions[kind], theirs[kind].rows, self._visibility(retention)
                    )
                    for kind, retention in self._seen.items()
                },
                history_epoch=self.state.epoch,
                incomplete=self.incomplete,
            )

    async def apply(self, transactions: Transactions) -> None:
        """Append transactions again that were observed before a loss; nobody waits for what they may see.

        Raises:
            StoreUnavailableError: some may not be appended; ask again.
        """
        async with self.lock:
            await self._retry(lambda: self._append(transactions, again=True))

    async def _retry(self, attempt: Callable[[], Awaitable[T | None]]) -> T:
        """Try until nobody else wrote to a card in between; soon so that no other store of this process can."""
        for number in range(ATTEMPTS):
            async with (
                self._other_store_lock if self._other_store_lock and number >= UNLOCKED_ATTEMPTS else nullcontext()
            ):
                done = await attempt()
            if done is not None:
                return done
        raise StoreUnavailableError(f"cards' histories changed under {ATTEMPTS} attempts in a row; ask again")

    async def _append(self, transactions: Transactions, *, again: bool = False) -> AppendedTransactions | None:
        """Append a batch, and return whose histories it went to, these, and where its records are; None as `_label`."""
        retentions = self.state.retentions
        theirs = rows_by_entity(transactions, tuple(retentions))
        recalled = await self._session.load({kind: NamedHistories(one.hashes, one.ids) for kind, one in theirs.items()})
        with _rollback_on_exit(recalled.values()):
            draft = append_transactions(recalled, theirs, retentions, self.state.horizons_ms if again else {})
            moved = await self._session.commit(recalled) if draft.fates else frozenset()
        if moved is None:
            return None
        for kind, one in theirs.items():
            _find_again(draft.positions[kind], recalled[kind], one.rows, moved)
        return theirs, recalled, draft

    def _visibility(self, retention: Retention) -> Visibility:
        return Visibility(retention, self.state.displaced)

    async def label(self, labels: Sequence[Label]) -> Sequence[LabelResult]:
        """Append labels as the port says."""
        async with self.lock:
            return await self._retry(lambda: self._label(labels)) if labels else []

    async def _label(self, labels: Sequence[Label]) -> list[LabelResult] | None:
        """Try once; None if a card changed meanwhile."""
        ids = [label.card_id for label in labels]
        recalled = await self._session.load({Entity.CARD: NamedHistories([card_hash(card_id) for card_id in ids], ids)})
        cards = [card for card in recalled[Entity.CARD] if card is not None]
        rows = [records.label_row(label) for label in labels]
        with _rollback_on_exit([cards]):
            retentions = self.state.retentions
            visibility = self._visibility(retentions[Entity.CARD])
            noted = [append_card_label(card, row, visibility) for card, row in zip(cards, rows, strict=True)]
            others = await self._parties_of(noted)
            with _rollback_on_exit(known.values() for known in others.values()):
                for kind, known in others.items():
                    for row, note in zip(rows, noted, strict=True):
                        _follow(known, row, note, (kind, retentions[kind].allows_panes))
                everyone = {kind: list(known.values()) for kind, known in others.items()}
                if await self._session.commit({Entity.CARD: cards, **everyone}) is None:
                    return None
                if await self._appeared_meanwhile(noted, others):
                    return None
        return [self._labelled(*each, others) for each in zip(labels, rows, noted, strict=True)]

    async def _parties_of(self, noted: Sequence[AppendedLabel]) -> dict[Entity, dict[int, CachedHistory]]:
        """Recall the other parties of known transactions; one of which nothing is kept any more is left out."""
        kinds = [kind for kind in self.state.retentions if kind is not Entity.CARD]
        hashes = {kind: list({party for note in noted if (party := note.party(kind))}) for kind in kinds}
        recalled = await self._session.load(
            {kind: NamedHistories(one, [""] * len(one)) for kind, one in hashes.items()}
        )
        return {
            kind: {entry.entity: entry for entry in found if entry and not entry.is_absent}
            for kind, found in recalled.items()
        }

    async def _appeared_meanwhile(self, noted: Sequence[AppendedLabel], others: OtherHistories) -> bool:
        """Tell whether a history that was not there is there now: a transaction was on its way to it."""
        parties_of = {kind: {party for note in noted if (party := note.party(kind))} for kind in others}
        if all(parties_of[kind] <= known.keys() for kind, known in others.items()):
            return False
        now = await self._parties_of(noted)
        return any(known.keys() != now.get(kind, {}).keys() for kind, known in others.items())

    def _labelled(self, label: Label, row: Ints, noted: AppendedLabel, others: OtherHistories) -> LabelResult:
        transaction = noted.verdict.transaction
        merchant = others[Entity.MERCHANT].get(noted.party(Entity.MERCHANT) or NO_ENTITY)
        return LabelResult(
            status=noted.verdict.status,
            merchant_id=label.merchant_id if merchant is None else merchant.entity_id,
            occurred_ms=label.occurred_ms if transaction is None else int(transaction[records.TIME]),
            history_epoch=self.state.epoch,
            card_position=noted.position,
            merchant_position=None if merchant is None else merchant.find(int(row[records.ID])),
        )

    async def compact(self) -> None:
        """Trim or fold, one after the other, the histories that grew since the last call."""
        for entry in self._session.grown():
            async with self.lock:
                await self._session.compact(entry)


@contextmanager
def _rollback_on_exit(groups: Iterable[Iterable[CachedHistory | None]]) -> Iterator[None]:
    """Take back, however the block ends, all drafts that were not confirmed in it."""
    entries = [entry for group in groups for entry in group if entry is not None]
    try:
        yield
    finally:
        for entry in entries:
            entry.rollback()


def _find_again(
    positions: list[int], histories: Sequence[CachedHistory | None], rows: Ints, moved: frozenset[CachedHistory]
) -> None:
    """Look again for the records in those histories to which others had appended first."""
    for i, history in enumerate(histories) if moved else ():
        if history in moved and positions[i] != NOWHERE:
            position = history.find(int(rows[i, records.ID]), int(rows[i, records.TIME]))
            if position is None:
                position = history.position_if_compacted(rows[i])
            positions[i] = NOWHERE if position is None else position


def _follow(known: Mapping[int, CachedHistory], row: Ints, noted: AppendedLabel, kind: tuple[Entity, bool]) -> None:
    """Let a label follow its transaction into another party's history; `kind` says whether such histories fold."""
    history = known.get(noted.party(kind[0]) or NO_ENTITY)
    if history is not None:
        noted.follow(history, row, allows_panes=kind[1])
