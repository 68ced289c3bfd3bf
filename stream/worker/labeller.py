"""Applies each label to its card's history, and publishes one outcome for it."""

from collections import defaultdict
from collections.abc import Sequence
from typing import cast

import msgspec

from features.errors import StoreUnavailableError
from features.history.store import HistoryStore, Label, LabelResult
from models.times import format_time
from stream.clock import Stopwatch
from stream.contract.codes import Rejection
from stream.contract.label import Reporter, read_label
from stream.contract.outputs import Outcome, Positions, Source
from stream.errors import StaleBatchError
from stream.kafka.batches import Batch, Record
from stream.kafka.dead_letters import DeadLetter
from stream.kafka.publisher import Destination, Outgoing, Publisher
from stream.kafka.topics import DEAD_LETTERS, OUTCOMES
from stream.redaction import redact_headers
from stream.scoring.facts import FactListener, LabelsApplied
from stream.scoring.tracing import BatchTrace, Tracing
from stream.settings import Settings
from stream.worker.isolation import LabelOutputs, WaitableLabel, label_isolating
from stream.worker.retry import retry_until_done
from stream.worker.waiting_labels import WaitingLabels

_encode = msgspec.json.Encoder().encode


class Labeller:
    """Applies batches of labels; `emit` receives a fact for each."""

    def __init__(
        self, settings: Settings, store: HistoryStore, publisher: Publisher, emit: FactListener, tracing: Tracing
    ) -> None:
        self._settings = settings
        self._store = store
        self._publisher = publisher
        self._emit = emit
        self._tracing = tracing
        self._trouble: str | None = None
        self._waiting = WaitingLabels(self._apply_waiting)

    @property
    def waiting(self) -> int:
        """The number of labels that wait until their card's history is rebuilt."""
        return len(self._waiting)

    def reasons(self) -> list[str]:
        """Return the reasons why labels are not applied; empty while they are."""
        waiting = f"{self.waiting} labels wait: the histories of their cards were damaged, and are rebuilt from Kafka"
        return [*([self._trouble] if self._trouble else []), *([waiting] if self.waiting else [])]

    async def handle(self, batch: Batch) -> None:
        """Apply a batch, and acknowledge it when its outcomes and dead letters are written."""
        try:
            await retry_until_done(batch, lambda: self._attempt(batch), self._set_trouble, self._emit)
        finally:
            batch.finish()

    async def _attempt(self, batch: Batch) -> None:
        """Apply and publish a batch once; every step may be repeated by the next attempt."""
        records = [record for partition in batch.current() for record in batch.records[partition]]
        trace = self._tracing.begin(records)
        try:
            fact = await self._apply(batch, records, trace)
        except BaseException as error:
            trace.failed(error)
            raise
        self._emit(fact)
        trace.labelled(fact)

    async def _apply(self, batch: Batch, records: Sequence[Record], trace: BatchTrace) -> LabelsApplied:
        """Decode the labels, apply them and publish their outcomes; leave those that wait to a background task.

        Raises:
            StoreError: the histories cannot be written.
            PublishError: not every output is known to be written.
            StaleBatchError: the partitions were revoked; nothing was published.
        """
        stopwatch = Stopwatch()
        parsed, dead = _parse(records, trace)
        stopwatch.lap("decode")
        outputs = await label_isolating(self._store, parsed)
        outputs.dead.extend(dead)
        stopwatch.lap("observe")
        current = batch.current()
        if not current:
            raise StaleBatchError("its partitions were revoked before anything was written")
        if outputs.waiting and self._waiting.is_full:
            raise StoreUnavailableError(f"{self.waiting} labels wait for damaged histories, and no more can")
        fact = await self._publish(outputs, stopwatch)
        for partition in current:
            waiting = [one for one in outputs.waiting if one.record.partition == partition]
            if waiting:
                self._waiting.add(batch, partition, waiting)
            else:
                batch.acknowledge(partition)
        return fact

    async def _apply_waiting(self, labels: Sequence[WaitableLabel]) -> Sequence[WaitableLabel]:
        """Apply labels that wait, and return those that still do.

        Raises:
            StoreError: the histories cannot be written.
            PublishError: not every output is known to be written.
        """
        outputs = await label_isolating(self._store, labels)
        if outputs.done or outputs.dead:
            self._emit(await self._publish(outputs, Stopwatch()))
        return outputs.waiting

    async def _publish(self, outputs: LabelOutputs, stopwatch: Stopwatch) -> LabelsApplied:
        """Publish outcomes and dead letters, and return what was published."""
        written: dict[Destination, list[Outgoing]] = defaultdict(list)
        for one, done in outputs.done:
            outcome = _encode(_outcome(one.record, one.parsed.label, done))
            written[self._settings.topic(OUTCOMES.name), one.record.partition].append(
                Outgoing(one.record.offset, one.record.key, outcome, one.headers)
            )
        written[self._settings.topic(DEAD_LETTERS.name), 0] = [letter.to_record() for letter in outputs.dead]
        stopwatch.lap("encode")
        await self._publisher.publish(written)
        stopwatch.lap("publish")
        return LabelsApplied(
            [one.record for one, _ in outputs.done],
            [done.status for _, done in outputs.done],
            outputs.dead,
            sum(one.parsed.unknown for one, _ in outputs.done),
            stopwatch.stages,
        )

    def _set_trouble(self, trouble: str | None) -> None:
        self._trouble = trouble


def _parse(records: Sequence[Record], trace: BatchTrace) -> tuple[list[WaitableLabel], list[DeadLetter]]:
    """Return the valid labels, and a dead letter for each other record."""
    labels: list[WaitableLabel] = []
    dead: list[DeadLetter] = []
    for record in records:
        read = read_label(record.value, record.key, (record.partition, record.offset))
        if isinstance(read, Rejection):
            dead.append(DeadLetter(record, read.code, read.detail))
        else:
            labels.append(WaitableLabel(record, read, redact_headers(trace.headers(record))))
    return labels, dead


def _outcome(record: Record, label: Label, done: LabelResult) -> Outcome:
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
