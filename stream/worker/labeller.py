"""Applies each label to its card's history, and publishes one outcome for it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

import msgspec

from features.history.store import HistoryStore, Label, LabelResult
from models.times import format_time
from stream.clock import Stopwatch
from stream.contract.codes import Rejection
from stream.contract.label import ParsedLabel, Reporter
from stream.contract.outputs import Outcome, Positions, Source
from stream.errors import StaleBatchError
from stream.kafka.batches import Batch, Record, in_thread_if_large, size_of
from stream.kafka.dead_letters import DeadLetter
from stream.kafka.publisher import Outgoing, Publisher
from stream.kafka.topics import DEAD_LETTERS, OUTCOMES
from stream.redaction import redact_headers
from stream.scoring.decode import read_label_record, without_impassable_headers
from stream.scoring.facts import FactListener, LabelsApplied, Retried
from stream.scoring.tracing import BatchTrace, Tracing
from stream.settings import Settings
from stream.worker.losses import InputLosses
from stream.worker.outputs import PartitionWriter
from stream.worker.retry import retry_until_done

_encode = msgspec.json.Encoder().encode


class LabellerDeps(NamedTuple):
    """What the labeller uses; `emit` receives a fact for each batch."""

    settings: Settings
    store: HistoryStore
    publisher: Publisher
    losses: InputLosses
    emit: FactListener
    tracing: Tracing


class Labeller:
    """Applies batches of labels."""

    def __init__(self, deps: LabellerDeps) -> None:
        settings = deps.settings
        self._store = deps.store
        self._writer = PartitionWriter(deps.publisher, settings.topic(OUTCOMES.name), settings.topic(DEAD_LETTERS.name))
        self._input = deps.losses
        self._emit = deps.emit
        self._tracing = deps.tracing
        self._trouble: str | None = None

    def reasons(self) -> list[str]:
        """Return the reason why labels are not applied; empty while they are."""
        return [self._trouble] if self._trouble else []

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
        """Decode the labels, apply them and publish their outcomes.

        Raises:
            StoreError: the histories cannot be written.
            PublishError: not every output is known to be written.
            StaleBatchError: the partitions were revoked; nothing was published.
        """
        stopwatch = Stopwatch()
        size = size_of(*records)
        parsed, dead = await in_thread_if_large(size, _parse, records, self._input.log)
        stopwatch.lap("decode")
        labelled = await self._store.label([one.label for _, one in parsed])
        stopwatch.lap("observe")
        current = batch.current()
        if not current:
            raise StaleBatchError("its partitions were revoked before anything was written")
        outcomes = await in_thread_if_large(size, self._outcomes, parsed, labelled, trace)
        stopwatch.lap("encode")
        await self._write(batch, {partition: outcomes.get(partition, ()) for partition in current}, dead)
        stopwatch.lap("publish")
        for partition in batch.current():
            batch.acknowledge(partition, self._input.label_note)
        return LabelsApplied(
            [record for record, _ in parsed],
            [done.status for done in labelled],
            dead,
            sum(one.unknown for _, one in parsed),
            stopwatch.stages,
        )

    async def _write(self, batch: Batch, outputs: Mapping[int, Sequence[Outgoing]], dead: Sequence[DeadLetter]) -> None:
        """Write outcomes and dead letters; set the partitions aside whose outputs are not known to be written."""
        written = await self._writer.write(outputs, dead, batch.may_start)
        for partition, why in written.failed.items():
            batch.set_aside(partition, why)
            self._emit(Retried(batch.topic, "PublishError"))

    def _outcomes(
        self, parsed: Iterable[tuple[Record, ParsedLabel]], labelled: Iterable[LabelResult], trace: BatchTrace
    ) -> dict[int, list[Outgoing]]:
        outputs: dict[int, list[Outgoing]] = defaultdict(list)
        for (record, one), done in zip(parsed, labelled, strict=True):
            outcome = _encode(_outcome(record, one.label, done, self._input.log))
            headers = redact_headers(trace.headers(record))
            outputs[record.partition].append(Outgoing(record.offset, record.key, outcome, headers))
        return outputs

    def _set_trouble(self, trouble: str | None) -> None:
        self._trouble = trouble


def _parse(records: Iterable[Record], log: int) -> tuple[list[tuple[Record, ParsedLabel]], list[DeadLetter]]:
    """Return the valid labels, and a dead letter for each other record."""
    labels: list[tuple[Record, ParsedLabel]] = []
    dead: list[DeadLetter] = []
    for record in records:
        read = read_label_record(record, log)
        if isinstance(read, Rejection):
            dead.append(DeadLetter(record, read.code, read.detail))
        else:
            labels.append((without_impassable_headers(record)[0], read))
    return labels, dead


def _outcome(record: Record, label: Label, done: LabelResult, log: int = 0) -> Outcome:
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
        source=Source(record.topic, record.partition, record.offset, log),
    )
