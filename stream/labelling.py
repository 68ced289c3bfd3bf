"""Take in labels: each is applied to its card's history, and leaves as one outcome."""

import logging
from collections import defaultdict
from typing import cast

import msgspec

from features.store import HistoryStore, Label, Labelled
from models.times import format_time
from stream.batches import Batch, Record
from stream.contract.codes import Rejection
from stream.contract.label import Reporter, read_label
from stream.contract.outputs import Outcome, Positions, Source
from stream.dead_letters import DeadLetter
from stream.errors import StaleBatchError
from stream.insisting import insist
from stream.publishing import Destination, Outgoing, Publisher
from stream.settings import Settings
from stream.topics import DEAD_LETTERS, OUTCOMES

log = logging.getLogger("fraudstream.labelling")

_encode = msgspec.json.Encoder().encode


class Labeller:
    """Takes label batches."""

    def __init__(self, settings: Settings, store: HistoryStore, publisher: Publisher) -> None:
        self._settings = settings
        self._store = store
        self._publisher = publisher
        self._trouble: str | None = None

    def reasons(self) -> list[str]:
        """Say why labels are held up here; empty where they are not."""
        return [self._trouble] if self._trouble else []

    async def take(self, batch: Batch) -> None:
        """Apply a batch and acknowledge what has left as outcomes or dead letters."""
        try:
            await insist(batch, lambda: self._attempt(batch), self._complain)
        finally:
            batch.finish()

    async def _attempt(self, batch: Batch) -> None:
        labels: list[tuple[Record, Label]] = []
        dead: list[Outgoing] = []
        for record in (record for partition in batch.current() for record in batch.records[partition]):
            read = read_label(record.value, record.key, (record.partition, record.offset))
            if isinstance(read, Rejection):
                dead.append(DeadLetter(record, read.code, read.detail).outgoing())
            else:
                labels.append((record, read))
        labelled = await self._store.label([label for _, label in labels])
        current = batch.current()
        if not current:
            raise StaleBatchError("its partitions were taken away before anything was written")
        lots: dict[Destination, list[Outgoing]] = defaultdict(list)
        for (record, label), done in zip(labels, labelled, strict=True):
            outcome = Outgoing(record.offset, record.key, _encode(_outcome(record, label, done)), record.headers)
            lots[self._settings.topic(OUTCOMES.name), record.partition].append(outcome)
        lots[self._settings.topic(DEAD_LETTERS.name), 0] = dead
        await self._publisher.publish(lots)
        for partition in current:
            batch.acknowledge(partition)

    def _complain(self, trouble: str | None) -> None:
        self._trouble = trouble


def _outcome(record: Record, label: Label, done: Labelled) -> Outcome:
    return Outcome(
        transaction_id=label.transaction_id,
        card_id=label.card_id,
        merchant_id=done.merchant_id,
        occurred_at=None if done.occurred_ms is None else format_time(done.occurred_ms),
        fraud=label.fraud,
        labelled_at=format_time(label.labelled_ms),
        reported_by=cast("Reporter", label.reported_by),
        positions=Positions(done.history_epoch, done.card_position, done.merchant_position),
        status=done.status,
        source=Source(record.topic, record.partition, record.offset),
    )
