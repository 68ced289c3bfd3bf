"""Rebuilds single histories that were damaged: searches the log for their records, and appends those again.

The worker that owns the first partition of the transactions does it for all, beside its decisions; if it ends, the next
owner begins anew. Meanwhile the histories take new records, their payments are decided by rules, and the labels of such
cards wait. Everything is appended that an intact history of the same payment shows to have been accepted: so what no
worker has taken yet is left to its decision.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec
import numpy as np

from features.history import records
from features.history.store import PARTIES, Entity, Ints, RetentionPolicy
from features.redis.damage import DamagedHistory
from features.redis.progress import LogPart, TopicName
from features.redis.store import RedisStore
from fraudstream_client.validity import place_of
from stream.clock import now_ms
from stream.engine.batches import Record
from stream.fates import Phase, is_retried
from stream.recovery.reapply import (
    LogReplay,
    OffsetRange,
    ReapplyRate,
    apply_again,
    log_reader,
    own_store,
    partitions_of_log,
    topic_partition,
)
from stream.recovery.replayed_input import ReplayedInput, read_input
from stream.scoring.facts import FactListener, Reapplied
from stream.settings import Settings
from stream.tasks import end_tasks, until_tick

log = logging.getLogger("fraudstream.damage")

SEARCH_RATE = ReapplyRate(2_000, 1.0)
"""Half of the time is left to decisions, each of which waits some ms at most."""
FIRST_PARTITION = 0
_POLL_SECONDS = 1.0
_REFRESH_SECONDS = 0.5
_SEEN_SECONDS = 2.0
"""By then all workers have looked at the state in Redis: they do so twice a second."""
_CACHE_BYTES = 64 << 20


class DamageRepairer:
    """Looks for damaged histories once a second, and rebuilds them, if this is the worker to do it.

    `store` is the one that decides, `show` receives the number of damaged histories. `read_to` returns the offset up to
    which each own partition was read, None until all are known.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        policy: RetentionPolicy,
        store: RedisStore,
        read_to: Callable[[], Mapping[int, int] | None],
        emit: FactListener,
        show: Callable[[int], None],
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._store = store
        self._read_to = read_to
        self._emit = emit
        self._show = show

    async def run(self) -> None:
        """Rebuild whenever needed, for ever."""
        while True:
            await until_tick(_POLL_SECONDS)
            try:
                found = await self._store.damaged.read() if self._is_ours() else []
                self._show(len(found))
                if found:
                    await self._repair(found)
            except Exception as error:
                if not is_retried(error, Phase.REPAIR):
                    raise
                log.warning("damaged histories could not be rebuilt, retrying: %s", error)

    def _is_ours(self) -> bool:
        """Tell whether this worker is to rebuild them, now: not during a repair of everything, which comes first."""
        whole = not self._store.incomplete and self._store.state.pending_repair is None
        return whole and FIRST_PARTITION in (self._read_to() or {})

    async def _repair(self, found: Sequence[DamagedHistory]) -> None:
        """Rebuild until that is done, or another worker is to do it."""
        task = asyncio.create_task(self._rebuild(found))
        try:
            while self._is_ours() and not task.done():
                await asyncio.wait({task}, timeout=_POLL_SECONDS)
        finally:
            (error,) = await end_tasks(task)
        if isinstance(error, Exception):
            raise error

    async def _rebuild(self, damaged: Sequence[DamagedHistory]) -> None:
        """Append what damaged histories lack, with connections of its own, and say that they are whole.

        Labels come before transactions, which take them along, as in a repair of everything.

        Raises:
            StoreUnavailableError: Redis does not respond.
            aiokafka.errors.KafkaError: Kafka does not respond.
        """
        log.warning("%d damaged histories are rebuilt from Kafka, such as %s", len(damaged), damaged[0].key.decode())
        store = own_store(self._settings, self._policy, _CACHE_BYTES, self._store.lock)
        try:
            await store.connect()
            rebuild = _Rebuild(self._settings, store, damaged, read_to=self._read_to() or {}, emit=self._emit)
            if await rebuild.append_lacking():
                await asyncio.sleep(_SEEN_SECONDS)
                whole = [await store.damaged.mend(history) for history in damaged]
                log.warning("%d of %d damaged histories are whole again", sum(whole), len(damaged))
        finally:
            await store.close()


class _Rebuild:
    """One rebuild of some histories, under the history epoch of its beginning."""

    def __init__(
        self,
        settings: Settings,
        store: RedisStore,
        damaged: Sequence[DamagedHistory],
        *,
        read_to: Mapping[int, int],
        emit: FactListener,
    ) -> None:
        self._settings = settings
        self._store = store
        self._search = EntitySearch(damaged)
        self._read_to = read_to
        self._emit = emit
        self._epoch = store.history_epoch
        self._refresh_due = 0.0

    async def append_lacking(self) -> bool:
        """Append all that is lacking; False if the epoch rose meanwhile, so that everything is repaired."""
        settings, search = self._settings, self._search
        async with log_reader(settings) as reader:
            replayed = await read_input(settings, self._read_to)
            replay = LogReplay(reader=reader, input=replayed, store=self._store, rate=SEARCH_RATE)
            labels = await self._ranges(replay, "labels")
            transactions = await self._ranges(replay, "transactions")
            await self._note_displaced(replay, (*labels, *transactions))
            done = search.is_of_cards or await replay.run(transactions, self._go_on, search.collect)
            done = done and await replay.run(labels, self._go_on, self._apply_labels)
            done = done and await replay.run(transactions, self._go_on, self._apply_transactions)
            done = done and await self._append_predictions(replay)
            await self._note_displaced(replay, (*labels, *transactions))
        return done

    async def _append_predictions(self, replay: LogReplay) -> bool:
        """Append the predictions that damaged ones lack; False if the rebuild is no longer needed as it began."""
        if not self._search.is_of_predictions:
            return True
        async with log_reader(self._settings, predictions=True) as reader:
            predictions = replace(replay, reader=reader)
            ranges = await self._ranges(predictions, "predictions")
            return await predictions.run(ranges, self._go_on, self._apply_predictions)

    async def _apply_predictions(self, replayed: ReplayedInput, store: RedisStore, some: Sequence[Record]) -> None:
        found = self._search.predictions(some)
        await apply_again(replayed, store, found)
        self._emit(Reapplied("predictions", len(found)))

    async def _ranges(self, replay: LogReplay, topic: TopicName) -> list[OffsetRange]:
        """Return all that a topic holds now."""
        of_predictions = topic == "predictions"
        counts = partitions_of_log(replay.reader, self._settings, predictions=of_predictions)
        parts = [LogPart(topic == "labels", number, of_predictions=of_predictions) for number in range(counts[topic])]
        tps = {part: topic_partition(self._settings, part) for part in parts}
        ends = await replay.reader.end_offsets(list(tps.values()))
        return [OffsetRange(part, 0, 0, ends[tp], 0) for part, tp in tps.items()]

    async def _note_displaced(self, replay: LogReplay, ranges: Sequence[OffsetRange]) -> None:
        """Store that all records that the log holds by now may be out of order."""
        tps = {one.part: topic_partition(replay.input.settings, one.part) for one in ranges}
        ends = await replay.reader.end_offsets(list(tps.values()))
        below = {part: place_of(replay.input.log(tp.topic), ends[tp]) for part, tp in tps.items()}
        await self._store.repair_progress.add_displaced(self._epoch, below, now_ms())

    async def _go_on(self, _ranges: Sequence[OffsetRange], _count: int) -> bool:
        """Tell whether the rebuild is still needed as it began."""
        if time.monotonic() >= self._refresh_due:
            self._refresh_due = time.monotonic() + _REFRESH_SECONDS
            await self._store.refresh()
        return self._store.history_epoch == self._epoch and not self._store.incomplete

    async def _apply_labels(self, replayed: ReplayedInput, store: RedisStore, some: Sequence[Record]) -> None:
        found = self._search.labels(some)
        await apply_again(replayed, store, found)
        self._emit(Reapplied("labels", len(found)))

    async def _apply_transactions(self, replayed: ReplayedInput, store: RedisStore, some: Sequence[Record]) -> None:
        decoded = replayed.decode(self._search.transactions(some))
        accepted = await store.confirm(decoded.columns) if decoded.records else []
        found = [record for record, one in zip(decoded.records, accepted, strict=True) if one]
        await apply_again(replayed, store, found)
        self._emit(Reapplied("transactions", len(found)))


class _Names(NamedTuple):
    """The fields of a transaction or a label that name histories; empty where one is no text."""

    transaction_id: str
    card_id: str
    merchant_id: str
    device_id: str


_NOTHING = msgspec.Raw(b"")
_LONGEST_NAME_BYTES = 1024
"""No name of 64 characters is longer, all of them escaped; hashes of names are cached, so a longer one must not be."""


class _RawNames(msgspec.Struct):
    """The same as they stand in the record: one that is invalid must not hide the others, nor one given twice."""

    transaction_id: msgspec.Raw = _NOTHING
    card_id: msgspec.Raw = _NOTHING
    merchant_id: msgspec.Raw = _NOTHING
    device_id: msgspec.Raw = _NOTHING


_read_names = msgspec.json.Decoder(_RawNames).decode
_read_text = msgspec.json.Decoder(str).decode


class EntitySearch:
    """Finds the transactions of some entities, and the labels about them, by reading the names in each record alone."""

    def __init__(self, wanted: Sequence[DamagedHistory]) -> None:
        self._wanted = {kind: {one.entity for one in wanted if one.kind is kind} for kind in records.HASHES}
        self._collected: list[int] = []
        self._about: Ints = np.empty(0, np.int64)

    @property
    def is_of_cards(self) -> bool:
        """Whether all of them are cards, whose labels name them; for others, `collect` comes before `labels`."""
        return not any(self._wanted[kind] for kind in PARTIES)

    @property
    def is_of_predictions(self) -> bool:
        """Whether some of them are cards' predictions from storage."""
        return bool(self._wanted[Entity.PREDICTION])

    def predictions(self, some: Sequence[Record]) -> list[Record]:
        """Return the predictions about the cards whose predictions are wanted."""
        wanted = self._wanted[Entity.PREDICTION]
        read = ((record, _names(record)) for record in some)
        return [record for record, names in read if names and _hash(Entity.PREDICTION, names.card_id) in wanted]

    async def collect(self, _replayed: ReplayedInput, _store: RedisStore, some: Sequence[Record]) -> None:
        """Note the transactions that are found, so that labels about them can be."""
        self._collected += [_transaction(names) for _, names in self._found(some)]

    def transactions(self, some: Sequence[Record]) -> list[Record]:
        """Return the transactions of these entities."""
        return [record for record, _ in self._found(some)]

    def labels(self, some: Sequence[Record]) -> list[Record]:
        """Return the labels of these cards, and about the transactions that were collected."""
        if self._collected:
            self._about, self._collected = np.unique(np.array(self._collected, np.int64)), []
        read = [(record, names) for record in some if (names := _names(record)) is not None]
        about = self._are_about(np.array([_transaction(names) for _, names in read], np.int64))
        return [record for (record, names), known in zip(read, about, strict=True) if known or self._is_card(names)]

    def _are_about(self, transactions: Ints) -> list[bool]:
        """Tell for each of some transactions whether it was collected."""
        if not len(self._about):
            return [False] * len(transactions)
        places = np.minimum(np.searchsorted(self._about, transactions), len(self._about) - 1)
        same: list[bool] = (self._about[places] == transactions).tolist()
        return same

    def _found(self, some: Sequence[Record]) -> list[tuple[Record, _Names]]:
        read = ((record, _names(record)) for record in some)
        return [(record, names) for record, names in read if names is not None and self._is_wanted(names)]

    def _is_wanted(self, names: _Names) -> bool:
        """Tell whether a transaction is one of these entities'."""
        of_others = ((Entity.MERCHANT, names.merchant_id), (Entity.DEVICE, names.device_id))
        return self._is_card(names) or any(
            self._wanted[kind] and name and _hash(kind, name) in self._wanted[kind] for kind, name in of_others
        )

    def _is_card(self, names: _Names) -> bool:
        cards = self._wanted[Entity.CARD]
        return bool(cards) and _hash(Entity.CARD, names.card_id) in cards


def _names(record: Record) -> _Names | None:
    """Return the names in a record; None if it became a dead letter for lack of them."""
    try:
        raw = _read_names(record.value or b"")
        return _Names(*(_text(getattr(raw, name)) for name in _Names._fields))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _text(raw: msgspec.Raw) -> str:
    value = bytes(raw) if len(memoryview(raw)) <= _LONGEST_NAME_BYTES else b""
    return _read_text(value) if value.startswith(b'"') else ""


def _hash(kind: Entity, name: str) -> int:
    return records.HASHES[kind](name) & records.HASH_MASK


def _transaction(names: _Names) -> int:
    return records.transaction_hash(names.card_id, names.transaction_id)
