"""Isolates a record whose processing raises: the rest of its batch is decided, and that payment is decided by rules.

A payment that cannot even be appended to its histories is a dead letter. Labels are isolated likewise; one whose card's
history was damaged waits for it.

This is the only place where an arbitrary exception becomes a decision or a dead letter; `stream.fates` says which do,
and which errors have the whole batch tried again, while Kafka or Redis is unavailable (`retry_until_done`).
"""

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

from features.errors import FormulaError, HistoryDamagedError
from features.history.store import HistoryStore, LabelResult, PredictionResult
from stream.clock import now_ms
from stream.contract.codes import DeadLetterCode
from stream.contract.label import ParsedLabel
from stream.contract.prediction import ParsedPrediction
from stream.engine.batches import Batch, Record
from stream.engine.publisher import Headers
from stream.fates import Handling, Phase, fate_of, is_retried
from stream.pipeline import DecisionTerms, Outputs, Pipeline
from stream.positions.dead_letters import DeadLetter
from stream.scoring.facts import FactListener, Retried

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0

SetTrouble = Callable[[str | None], None]
"""Receives the error's text at each failure, and None when the work is done."""
log = logging.getLogger("fraudstream.isolation")
_retry_log = logging.getLogger("fraudstream.retry")

_WAYS_TO_DECIDE = ((True, False), (False, False), (False, True))
"""Whether features are computed for the rules, and whether nothing else is: each way depends on less."""


async def retry_until_done(
    batch: Batch, work: Callable[[], Awaitable[None]], set_trouble: SetTrouble, emit: FactListener
) -> None:
    """Call `work` until it succeeds, with growing pauses, or its partitions are being revoked."""
    pause = _FIRST_PAUSE_SECONDS
    while batch.start():
        try:
            await work()
        except Exception as error:
            handling = fate_of(error).during(Phase.BATCH)
            if handling is Handling.DROP:
                if not batch.aside:  # otherwise each partition's own reason is logged, once
                    _retry_log.info("dropped a batch of %s: %s", batch.topic, error)
                return
            if handling is not Handling.RETRY:
                raise
            _retry_log.warning("%s: retrying in %.2f s: %s", batch.topic, pause, error)
            set_trouble(str(error))
            emit(Retried(batch.topic, type(error).__name__))
        else:
            set_trouble(None)
            return
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


class WaitableLabel(NamedTuple):
    """A valid label, with its record and the headers of its outcome."""

    record: Record
    parsed: ParsedLabel
    headers: Headers


class LabelOutputs(NamedTuple):
    """What became of labels: applied, or waiting for their card's history, or dead."""

    done: list[tuple[WaitableLabel, LabelResult]]
    waiting: list[WaitableLabel]
    dead: list[DeadLetter]

    def of(self, partitions: Collection[int]) -> "LabelOutputs":
        """Return what became of the labels of some partitions."""
        return LabelOutputs(
            [(one, done) for one, done in self.done if one.record.partition in partitions],
            [one for one in self.waiting if one.record.partition in partitions],
            [letter for letter in self.dead if letter.record.partition in partitions],
        )

    def without(self, partitions: Collection[int]) -> "LabelOutputs":
        """Return what became of the labels of all other partitions."""
        records = (one.record for some in ([one for one, _ in self.done], self.waiting, self.dead) for one in some)
        return self.of({record.partition for record in records} - set(partitions))


class ValidPrediction(NamedTuple):
    """A valid prediction from storage, with its record and the headers of its outcome."""

    record: Record
    parsed: ParsedPrediction
    headers: Headers


class PredictionOutputs(NamedTuple):
    """What became of predictions: applied, or dead."""

    done: list[tuple[ValidPrediction, PredictionResult]]
    dead: list[DeadLetter]

    def of(self, partitions: Collection[int]) -> "PredictionOutputs":
        """Return what became of the predictions of some partitions."""
        return PredictionOutputs(
            [(one, done) for one, done in self.done if one.record.partition in partitions],
            [letter for letter in self.dead if letter.record.partition in partitions],
        )


async def decide_isolating(pipeline: Pipeline, records: Sequence[Record], terms: DecisionTerms) -> Outputs:
    """Decide records together; if that raises, one by one, so that only the failing one is decided by rules.

    Raises:
        StoreError: Redis failed, not a record; retry the batch.
    """
    try:
        return await pipeline.decide(records, terms, now_ms)
    except Exception as error:
        if is_retried(error, Phase.RECORD):
            raise
        if len(records) == 1:
            _log_failure(records[0], error)
            return await _decide_by_rules(pipeline, records[0], terms, error)
        parts = _parts(records, error)
    return Outputs.concat([await decide_isolating(pipeline, part, terms) for part in parts])


async def _decide_by_rules(pipeline: Pipeline, record: Record, terms: DecisionTerms, error: Exception) -> Outputs:
    """Decide one record by rules, because of an error; it becomes a dead letter if it cannot be appended to a history.

    The record may be in its histories: sent again it would count as repeated, and never be decided. Appending it again
    changes nothing. Features of a damaged history would be wrong, so none is used. Where what is computed beside the
    features raises, the barest decision is left.

    Raises:
        StoreError: Redis failed, not a record; retry the batch.
    """
    ways = _WAYS_TO_DECIDE[1:] if isinstance(error, HistoryDamagedError) else _WAYS_TO_DECIDE
    for features, bare in ways:
        try:
            return await pipeline.decide_by_rules([record], terms, now_ms, features=features, bare=bare)
        except Exception as another:
            if is_retried(another, Phase.RECORD):
                raise
            _log_failure(record, another)
    return Outputs(dead=[DeadLetter(record, DeadLetterCode.UNDECIDABLE, repr(error))])


async def apply_isolating(pipeline: Pipeline, records: Sequence[Record], log_number: int) -> None:
    """Write records that have a score already to the histories; skip a record that raises.

    Raises:
        StoreError: Redis failed, not a record; retry the batch.
    """
    try:
        if records:
            await pipeline.apply(records, log_number)
    except Exception as error:
        if is_retried(error, Phase.RECORD):
            raise
        if len(records) == 1:
            _log_failure(records[0], error)
            return
        for record in records:
            await apply_isolating(pipeline, [record], log_number)


async def label_isolating(store: HistoryStore, labels: Sequence[WaitableLabel]) -> LabelOutputs:
    """Apply labels together; if that raises, those with which the error is concerned wait, or become dead letters.

    Raises:
        StoreError: Redis failed, not a label; retry the batch.
    """
    try:
        results = await store.label([one.parsed.label for one in labels])
        return LabelOutputs(list(zip(labels, results, strict=True)), [], [])
    except HistoryDamagedError as error:
        waiting = [labels[place] for place in sorted(error.places)]
        others = [one for place, one in enumerate(labels) if place not in error.places]
        outputs = await label_isolating(store, others)
        return outputs._replace(waiting=[*waiting, *outputs.waiting])
    except Exception as error:
        if is_retried(error, Phase.RECORD):
            raise
        if len(labels) == 1:
            _log_failure(labels[0].record, error)
            letter = DeadLetter(labels[0].record, DeadLetterCode.UNDECIDABLE, repr(error))
            return LabelOutputs([], [], [letter])
    parts = [await label_isolating(store, [label]) for label in labels]
    return LabelOutputs(
        [one for part in parts for one in part.done],
        [one for part in parts for one in part.waiting],
        [one for part in parts for one in part.dead],
    )


async def predict_isolating(store: HistoryStore, predictions: Sequence[ValidPrediction]) -> PredictionOutputs:
    """Apply predictions together; if that raises, one by one, so that only the failing one becomes a dead letter.

    Raises:
        StoreError: Redis failed, not a prediction; retry the batch.
    """
    if not predictions:
        return PredictionOutputs([], [])
    try:
        results = await store.predict([one.parsed.prediction for one in predictions])
        return PredictionOutputs(list(zip(predictions, results, strict=True)), [])
    except Exception as error:
        if is_retried(error, Phase.RECORD):
            raise
        if len(predictions) == 1:
            _log_failure(predictions[0].record, error)
            return PredictionOutputs([], [DeadLetter(predictions[0].record, DeadLetterCode.UNDECIDABLE, repr(error))])
    parts = [await predict_isolating(store, [one]) for one in predictions]
    return PredictionOutputs([one for part in parts for one in part.done], [one for part in parts for one in part.dead])


def _parts(records: Sequence[Record], error: Exception) -> list[Sequence[Record]]:
    """Divide records in their order, so that each one with which an error is concerned is alone: all, if unknown."""
    alone = error.places if isinstance(error, HistoryDamagedError) else range(len(records))
    edges = sorted({0, len(records), *alone, *(place + 1 for place in alone)})
    return [records[first:behind] for first, behind in pairwise(edges)]


def _log_failure(record: Record, error: Exception) -> None:
    """Log the class of the error and its traceback, but not its text, which may quote the payment.

    A damaged history is logged where it is found, once for all of its payments.
    """
    if isinstance(error, HistoryDamagedError):
        return
    where = "".join(traceback.format_tb(error.__traceback__))
    kind = type(error).__name__
    if isinstance(error, FormulaError):
        kind = f"{kind} of the feature {error.feature}"
    log.error(
        "%s partition %d offset %d cannot be decided: %s\n%s",
        *(record.topic, record.partition, record.offset, kind, where),
        extra={"burst": f"{record.topic} {kind}"},
    )
