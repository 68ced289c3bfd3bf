"""Isolates a record whose processing raises: the rest of its batch is decided, and that record is a dead letter.

This is the only place where an arbitrary exception becomes a dead letter; `stream.fates` says which do.
"""

import logging
import traceback
from collections.abc import Sequence

from stream.clock import now_ms
from stream.contract.codes import DeadLetterCode
from stream.fates import Phase, is_retried
from stream.kafka.batches import Record
from stream.kafka.dead_letters import DeadLetter
from stream.pipeline import DecisionTerms, Outputs, Pipeline
from stream.scoring.encode import Scored

log = logging.getLogger("fraudstream.isolation")


async def decide_isolating(pipeline: Pipeline, records: Sequence[Record], terms: DecisionTerms) -> Outputs:
    """Decide records together; if that raises, one by one, so that only the failing record becomes a dead letter.

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
            return Outputs(dead=[DeadLetter(records[0], DeadLetterCode.UNDECIDABLE, repr(error))])
    return _joined([await decide_isolating(pipeline, [record], terms) for record in records])


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


def _log_failure(record: Record, error: Exception) -> None:
    """Log the class of the error and its traceback, but not its text, which may quote the payment."""
    where = "".join(traceback.format_tb(error.__traceback__))
    kind = type(error).__name__
    log.error("partition %d offset %d cannot be decided: %s\n%s", record.partition, record.offset, kind, where)


def _joined(parts: Sequence[Outputs]) -> Outputs:
    """Join the outputs of several records, in their order."""
    return Outputs(
        Scored.concat(part.scored for part in parts),
        [letter for part in parts for letter in part.dead],
        sum(part.repeated for part in parts),
        sum(part.unknown_fields for part in parts),
        [stage for part in parts for stage in part.stages],
        any(part.stopgap for part in parts),
    )
