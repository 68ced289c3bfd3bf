"""Applies each prediction from storage to its card's predictions, and publishes one outcome for it.

A worker whose features read no prediction has no handler, and so does not subscribe to their topic. Predictions that
come later than their delay are applied too, since another feature set may have a longer one; no row of this one's reads
them, and their outcome says `late`.
"""

from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from features.history.predictions import is_late
from features.history.store import HistoryStore, PredictionResult
from features.vector.sets import FeatureSets
from fraudstream_client.outputs import PredictionOutcome, PredictionPositions, PredictionStatus, Source
from models.times import format_time
from stream.clock import Stopwatch
from stream.contract.cloud_events import headers_of_outcome
from stream.contract.codes import Rejection
from stream.engine.batches import Batch, Record, in_thread_if_large, size_of
from stream.engine.publisher import Outgoing, Publisher
from stream.errors import StaleBatchError
from stream.id_rules import declared_ids
from stream.kafka.topics import DEAD_LETTERS, OUTCOMES, PREDICTIONS
from stream.positions.dead_letters import DeadLetter, LetterOrigin
from stream.redaction import redact_headers
from stream.scoring.decode import read_prediction_record, without_impassable_headers
from stream.scoring.facts import FactListener, PredictionsApplied, Retried
from stream.scoring.tracing import BatchTrace, Tracing
from stream.settings import Settings
from stream.worker.isolation import PredictionOutputs, ValidPrediction, predict_isolating, retry_until_done
from stream.worker.outputs import PartitionWriter, TopicOutputs

_encode = msgspec.json.Encoder().encode


class FactTelemetry(Protocol):
    """The part of `stream.telemetry.setup.Telemetry` that is needed here."""

    @property
    def emit(self) -> FactListener:
        """Receives a fact for each batch."""
        ...

    @property
    def tracing(self) -> Tracing:
        """Begins traces."""
        ...


class PredictionInput(Protocol):
    """What is known of the predictions' topic, as `stream.worker.losses.InputLosses` knows it."""

    def prediction_note(self, partition: int) -> str:
        """Return the metadata of a partition's commit."""
        ...


class PredictionApplier:
    """Applies batches of predictions, and sets the partitions aside whose outputs cannot be written.

    `features` say which names are read, and with which delay.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        store: HistoryStore,
        publisher: Publisher,
        features: FeatureSets,
        telemetry: FactTelemetry,
        source: PredictionInput,
    ) -> None:
        self._deployment = settings.deployment
        self._are_events = settings.cloud_events
        self._store = store
        self._delays_ms = features.prediction_delays_ms
        self._input = source
        self._emit = telemetry.emit
        self._tracing = telemetry.tracing
        self._topic = settings.topic(PREDICTIONS.name)
        self._skew_ms = round(settings.future_skew * 1000)
        self._ids = declared_ids(settings.id_shapes)
        self._letter_values = settings.dead_letter_values
        self._outcomes = settings.topic(OUTCOMES.name)
        self._writer = PartitionWriter(publisher, settings.topic(DEAD_LETTERS.name))
        self._trouble: str | None = None

    @property
    def handlers(self) -> Mapping[str, Callable[[Batch], Coroutine[Any, Any, None]]]:
        """The handler of the predictions topic, by its name; none if no feature reads a prediction."""
        return {self._topic: self.apply_batch} if self._delays_ms else {}

    def reasons(self) -> list[str]:
        """Return the reason why predictions are not applied; empty while they are."""
        return [self._trouble] if self._trouble else []

    async def apply_batch(self, batch: Batch) -> None:
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
        trace.predicted(fact)

    async def _apply(self, batch: Batch, records: Sequence[Record], trace: BatchTrace) -> PredictionsApplied:
        """Decode the predictions, apply them and publish their outcomes.

        Raises:
            StoreError: the histories cannot be written.
            StaleBatchError: the partitions were revoked; nothing was published.
        """
        stopwatch = Stopwatch()
        parsed, dead = await in_thread_if_large(size_of(*records), self._parse, records, trace)
        stopwatch.lap("decode")
        outputs = await predict_isolating(self._store, parsed)
        outputs.dead.extend(dead)
        outputs = self._with_late(outputs)
        stopwatch.lap("observe")
        current = batch.current()
        if not current:
            raise StaleBatchError("none of its partitions can go on; nothing was written")
        outputs = outputs.of(current)
        outcomes: dict[int, list[Outgoing]] = defaultdict(list)
        for one, done in outputs.done:
            outcome = _outcome(self._deployment, one, done)
            headers = headers_of_outcome(outcome, one.headers) if self._are_events else one.headers
            outgoing = Outgoing(one.record.offset, one.record.key, _encode(outcome), headers)
            outcomes[one.record.partition].append(outgoing)
        stopwatch.lap("encode")
        origin = LetterOrigin(self._deployment, values=self._letter_values)
        written = await self._writer.write(
            TopicOutputs(self._outcomes, outcomes), outputs.dead, batch.may_start, origin
        )
        stopwatch.lap("publish")
        for partition, why in written.failed.items():
            batch.set_aside(partition, why)
            self._emit(Retried(batch.topic, "PublishError"))
        for partition in batch.current():
            batch.acknowledge(partition, self._input.prediction_note(partition))
        published = outputs.of(set(current) - written.failed.keys())
        return PredictionsApplied(
            [one.record for one, _ in published.done],
            [done.status for _, done in published.done],
            published.dead,
            sum(one.parsed.unknown for one, _ in published.done),
            stopwatch.stages,
        )

    def _parse(self, records: Sequence[Record], trace: BatchTrace) -> tuple[list[ValidPrediction], list[DeadLetter]]:
        """Return the valid predictions, and a dead letter for each other record."""
        valid: list[ValidPrediction] = []
        dead: list[DeadLetter] = []
        for record in records:
            read = read_prediction_record(record, self._skew_ms, ids=self._ids)
            if isinstance(read, Rejection):
                dead.append(DeadLetter(record, read.code, read.detail))
            else:
                passable, _ = without_impassable_headers(record)
                valid.append(ValidPrediction(record, read, redact_headers(trace.headers(passable))))
        return valid, dead

    def _with_late(self, outputs: PredictionOutputs) -> PredictionOutputs:
        """Mark those that came later than their delay; the record alone says so, so that it is the same each time."""
        return outputs._replace(
            done=[
                (one, done._replace(status=PredictionStatus.LATE))
                if is_late(one.parsed.prediction, self._delays_ms)
                else (one, done)
                for one, done in outputs.done
            ]
        )

    def _set_trouble(self, trouble: str | None) -> None:
        self._trouble = trouble


def _outcome(deployment: str, one: ValidPrediction, done: PredictionResult) -> PredictionOutcome:
    prediction, record = one.parsed.prediction, one.record
    return PredictionOutcome(
        deployment=deployment,
        card_id=prediction.card_id,
        name=prediction.name,
        computed_at=format_time(prediction.computed_ms),
        positions=PredictionPositions(done.history_epoch, done.position),
        status=done.status,
        source=Source(record.topic, record.partition, record.offset),
    )
