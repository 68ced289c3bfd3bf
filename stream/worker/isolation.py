"""Keep one record's fault from the others: the one place where any error becomes a dead letter."""

import logging
import traceback
from collections.abc import Sequence

from features.errors import StoreError
from stream.clock import now_ms
from stream.contract.codes import DeadLetterCode
from stream.kafka.batches import Record
from stream.kafka.dead_letters import DeadLetter
from stream.pipeline import DecisionTerms, Outputs, Pipeline
from stream.scoring.encode import Scored

log = logging.getLogger("fraudstream.isolating")


async def decide_isolating(pipeline: Pipeline, records: Sequence[Record], terms: DecisionTerms) -> Outputs:
    """Decide records together; where that fails for a reason of ours, one by one, so that only the guilty one is lost.

    Raises:
        StoreError: that is no record's fault; ask again, or mend the store first.
    """
    try:
        return await pipeline.decide(records, terms, now_ms)
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 - this is that place
        if len(records) == 1:
            _complain(records[0], error)
            return Outputs(dead=[DeadLetter(records[0], DeadLetterCode.UNDECIDABLE, repr(error))])
    return _merged([await decide_isolating(pipeline, [record], terms) for record in records])


async def apply_isolating(pipeline: Pipeline, records: Sequence[Record]) -> None:
    """Apply records that were decided before to their histories, but for one that fails for a reason of ours.

    Raises:
        StoreError: as above.
    """
    try:
        if records:
            await pipeline.apply(records)
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 - this is that place
        if len(records) == 1:
            _complain(records[0], error)
            return
        for record in records:
            await apply_isolating(pipeline, [record])


def _complain(record: Record, error: Exception) -> None:
    """Log where it failed; not the error's text, which may quote the payment."""
    where = "".join(traceback.format_tb(error.__traceback__))
    kind = type(error).__name__
    log.error("partition %d offset %d cannot be decided: %s\n%s", record.partition, record.offset, kind, where)


def _merged(parts: Sequence[Outputs]) -> Outputs:
    """Join what some records came to, in their order."""
    return Outputs(
        Scored.concat(part.scored for part in parts),
        [letter for part in parts for letter in part.dead],
        sum(part.repeated for part in parts),
        sum(part.unknown_fields for part in parts),
        [stage for part in parts for stage in part.stages],
        any(part.stopgap for part in parts),
    )
