"""Applies each label to its card's history, and publishes one outcome for it.

Labels wait until the payments of their partition that have a decision are in the histories: a worker that takes the
partition over applies those again that were decided without Redis. Labels whose card's history is being rebuilt wait
beside the others, which are applied.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol, cast

import msgspec

from features.history.store import HistoryStore, LabelResult
from fraudstream_client.field_types import LONGEST_FRAUD_TYPE
from fraudstream_client.inputs import Reporter
from fraudstream_client.outputs import Outcome, Positions, Source
from models.times import format_time
from stream.clock import Stopwatch
from stream.contract.cloud_events import headers_of_outcome
from stream.contract.codes import Rejection
from stream.contract.label import ParsedLabel
from stream.engine.batches import Batch, Record, in_thread_if_large, size_of
from stream.engine.publisher import Outgoing, Publisher
from stream.errors import StaleBatchError
from stream.fates import Phase, is_retried
from stream.id_rules import IdRules, declared_ids
from stream.kafka.topics import DEAD_LETTERS, OUTCOMES
from stream.positions.dead_letters import DeadLetter, LetterOrigin
from stream.redaction import redact_headers, redact_thoroughly, shorten
from stream.scoring.decode import read_label_record, without_impassable_headers
from stream.scoring.facts import FactListener, LabelsApplied, Retried
from stream.scoring.tracing import BatchTrace, Tracing
from stream.settings import Settings
from stream.watchdog import end_on_error
from stream.worker.isolation import LabelOutputs, WaitableLabel, label_isolating, retry_until_done
from stream.worker.outputs import PartitionWriter, TopicOutputs, Written

log = logging.getLogger("fraudstream.waiting_labels")

MOST_SLICES = 64
"""Batches of one partition with labels that wait; with more, labels are not applied beside them."""
_RETRY_WAITING_SECONDS = 1.0

ApplyLabels = Callable[[Sequence[WaitableLabel]], Awaitable[Sequence[WaitableLabel]]]
"""Applies labels, publishes their outcomes, and returns those that still wait."""
_POLL_SECONDS = 0.05
_POLLS = 40
"""After so many polls a batch goes on without the partitions whose payments are not applied yet."""
_encode = msgspec.json.Encoder().encode


class _WaitingSlice(NamedTuple):
    """One partition's part of a batch, and the metadata of its commit."""

    batch: Batch
    partition: int
    note: str


class WaitingLabels:
    """Tries the waiting labels again, once a second, until they are done or their partitions are revoked.

    Their partition's offset is not committed beyond their batch until they are done. A worker that takes over the
    partition so reads them again, and the labels behind them, whose outcomes it then says again.
    """

    def __init__(self, apply: ApplyLabels) -> None:
        self._apply = apply
        self._slices: dict[_WaitingSlice, Sequence[WaitableLabel]] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Return the number of labels that wait."""
        return sum(map(len, self._slices.values()))

    @property
    def is_full(self) -> bool:
        """Whether no more may wait."""
        return len(self._slices) >= MOST_SLICES

    def add(self, batch: Batch, partition: int, labels: Sequence[WaitableLabel], note: str) -> None:
        """Let labels of one partition of a batch wait; it is acknowledged with `note` when they are done."""
        self._slices[_WaitingSlice(batch, partition, note)] = labels
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(end_on_error)

    async def _run(self) -> None:
        while self._slices:
            await asyncio.sleep(_RETRY_WAITING_SECONDS)
            self._slices = {key: labels for key, labels in self._slices.items() if key.batch.is_current(key.partition)}
            try:
                await self._try_all()
            except Exception as error:
                if not is_retried(error, Phase.BATCH):
                    raise
                log.info("labels go on waiting: %s", error)

    async def _try_all(self) -> None:
        """Try all of them together, in the order of their offsets."""
        tried = {key: labels for key, labels in self._slices.items() if key.batch.may_start()}
        labels = sorted((one for some in tried.values() for one in some), key=lambda one: one.record.offset)
        left = {id(one) for one in await self._apply(labels)} if labels else set()
        for key, some in tried.items():
            waiting = [one for one in some if id(one) in left]
            if waiting:
                self._slices[key] = waiting
            else:
                del self._slices[key]
                key.batch.acknowledge(key.partition, key.note)


class LabelInput(Protocol):
    """What is known of the labels' topic, as `stream.worker.losses.InputLosses` knows it."""

    @property
    def log(self) -> int:
        """The number of the log that is read now."""
        ...

    def label_note(self, partition: int) -> str:
        """Return the metadata of a partition's commit."""
        ...

    def awaits_payments(self, partition: int) -> bool:
        """Tell whether payments of the partition that have a decision may not be in the histories yet."""
        ...


class Labeller:
    """Applies batches of labels, and sets the partitions aside whose outputs cannot be written.

    `emit` receives a fact for each batch.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        store: HistoryStore,
        publisher: Publisher,
        source: LabelInput,
        emit: FactListener,
        tracing: Tracing,
    ) -> None:
        self._deployment = settings.deployment
        self._are_events = settings.cloud_events
        self._store = store
        self._ids = declared_ids(settings.id_shapes)
        self._letter_values = settings.dead_letter_values
        self._outcomes = settings.topic(OUTCOMES.name)
        self._writer = PartitionWriter(publisher, settings.topic(DEAD_LETTERS.name))
        self._input = source
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

    async def apply_batch(self, batch: Batch) -> None:
        """Apply a batch, and acknowledge it when its outcomes and dead letters are written."""
        try:
            await retry_until_done(batch, lambda: self._attempt(batch), self._set_trouble, self._emit)
        finally:
            batch.finish()

    async def _attempt(self, batch: Batch) -> None:
        """Apply and publish a batch once; every step may be repeated by the next attempt."""
        await self._await_payments(batch)
        records = [record for partition in batch.current() for record in batch.records[partition]]
        trace = self._tracing.begin(records)
        try:
            fact = await self._apply(batch, records, trace)
        except BaseException as error:
            trace.failed(error)
            raise
        self._emit(fact)
        trace.labelled(fact)

    async def _await_payments(self, batch: Batch) -> None:
        """Wait for the payments that the labels may be about, and set partitions aside for which that takes long.

        Raises:
            StaleBatchError: no partition can go on.
        """
        for _ in range(_POLLS):
            if not any(map(self._input.awaits_payments, batch.current())):
                break
            await asyncio.sleep(_POLL_SECONDS)
        for partition in batch.current():
            if self._input.awaits_payments(partition):
                batch.set_aside(partition, "payments that were decided before are applied to the histories first")
        if not batch.current():
            raise StaleBatchError("none of its partitions can go on yet")

    async def _apply(self, batch: Batch, records: Sequence[Record], trace: BatchTrace) -> LabelsApplied:
        """Decode the labels, apply them and publish their outcomes; leave those that wait to a background task.

        Raises:
            StoreError: the histories cannot be written.
            StaleBatchError: the partitions were revoked; nothing was published.
        """
        stopwatch = Stopwatch()
        parsed, dead = await in_thread_if_large(size_of(*records), _parse, records, trace, self._input.log, self._ids)
        stopwatch.lap("decode")
        outputs = await label_isolating(self._store, parsed)
        outputs.dead.extend(dead)
        stopwatch.lap("observe")
        if self._waiting.is_full:
            for one in outputs.waiting:
                batch.set_aside(one.record.partition, f"{self.waiting} labels wait already for damaged histories")
        current = batch.current()
        if not current:
            raise StaleBatchError("none of its partitions can go on; nothing was written")
        written, fact = await self._publish(outputs.of(current), batch.may_start, stopwatch)
        for partition, why in written.failed.items():
            batch.set_aside(partition, why)
            self._emit(Retried(batch.topic, "PublishError"))
        for partition in batch.current():
            waiting = [one for one in outputs.waiting if one.record.partition == partition]
            if waiting:
                self._waiting.add(batch, partition, waiting, self._input.label_note(partition))
            else:
                batch.acknowledge(partition, self._input.label_note(partition))
        return fact

    async def _apply_waiting(self, labels: Sequence[WaitableLabel]) -> Sequence[WaitableLabel]:
        """Apply labels that wait, and return those that still do, or whose outcomes cannot be written.

        Raises:
            StoreError: the histories cannot be written.
        """
        outputs = await label_isolating(self._store, labels)
        if not outputs.done and not outputs.dead:
            return outputs.waiting
        written, fact = await self._publish(outputs, lambda: True, Stopwatch())
        self._emit(fact)
        again = {id(one) for one in outputs.waiting}
        return [one for one in labels if id(one) in again or one.record.partition in written.failed]

    async def _publish(
        self, outputs: LabelOutputs, may_go_on: Callable[[], bool], stopwatch: Stopwatch
    ) -> tuple[Written, LabelsApplied]:
        """Publish outcomes and dead letters; return what became of each partition, and what was published."""
        outcomes: dict[int, list[Outgoing]] = defaultdict(list)
        for one, done in outputs.done:
            outcome = _outcome(one.record, one.parsed, done, (self._deployment, self._input.log))
            headers = headers_of_outcome(outcome, one.headers) if self._are_events else one.headers
            outgoing = Outgoing(one.record.offset, one.record.key, _encode(outcome), headers)
            outcomes[one.record.partition].append(outgoing)
        stopwatch.lap("encode")
        origin = LetterOrigin(self._deployment, self._input.log, values=self._letter_values)
        written = await self._writer.write(TopicOutputs(self._outcomes, outcomes), outputs.dead, may_go_on, origin)
        stopwatch.lap("publish")
        published = outputs.without(written.failed)
        fact = LabelsApplied(
            [one.record for one, _ in published.done],
            [done.status for _, done in published.done],
            published.dead,
            sum(one.parsed.unknown for one, _ in published.done),
            stopwatch.stages,
        )
        return written, fact

    def _set_trouble(self, trouble: str | None) -> None:
        self._trouble = trouble


def _parse(
    records: Sequence[Record], trace: BatchTrace, log: int, ids: IdRules
) -> tuple[list[WaitableLabel], list[DeadLetter]]:
    """Return the valid labels, and a dead letter for each other record."""
    labels: list[WaitableLabel] = []
    dead: list[DeadLetter] = []
    for record in records:
        read = read_label_record(record, log, ids=ids)
        if isinstance(read, Rejection):
            dead.append(DeadLetter(record, read.code, read.detail))
        else:
            passable, _ = without_impassable_headers(record)
            labels.append(WaitableLabel(record, read, redact_headers(trace.headers(passable))))
    return labels, dead


def _outcome(record: Record, parsed: ParsedLabel, done: LabelResult, where: tuple[str, int] = ("", 0)) -> Outcome:
    (deployment, log), label, kind = where, parsed.label, parsed.fraud_type
    return Outcome(
        deployment=deployment,
        transaction_id=label.transaction_id,
        card_id=label.card_id,
        merchant_id=done.merchant_id,
        occurred_at=None if done.occurred_ms is None else format_time(done.occurred_ms),
        fraud=label.fraud,
        labelled_at=format_time(label.labelled_ms),
        reported_by=cast("Reporter", label.reported_by),
        fraud_type=msgspec.UNSET if kind is None else _shown_kind(kind),
        positions=Positions(done.history_epoch, done.card_position, done.merchant_position),
        status=done.status,
        source=Source(record.topic, record.partition, record.offset, log),
    )


def _shown_kind(kind: str) -> str:
    """Return a label's kind of fraud without card numbers, in whatever dress: it is the producer's text."""
    return shorten(redact_thoroughly(kind.encode("utf-8", "replace")).decode(), LONGEST_FRAUD_TYPE)
