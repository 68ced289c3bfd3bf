"""Keep one record's fault from the others: the one place where any error becomes a dead letter."""

import logging
from collections.abc import Iterable, Mapping, Sequence

from features.errors import StoreError
from stream.batches import Record
from stream.clock import now_ms
from stream.contract.codes import DeadLetterCode
from stream.dead_letters import DeadLetter
from stream.pipeline import Outputs, Pipeline
from stream.publishing import Outgoing
from stream.shelf import Serving

log = logging.getLogger("fraudstream.isolating")


async def decide_isolating(
    pipeline: Pipeline, records: Sequence[Record], serving: Serving, epochs: Mapping[int, int]
) -> Outputs:
    """Decide records together; where that fails for a reason of ours, one by one, so that only the guilty one is lost.

    Raises:
        StoreError: that is no record's fault; ask again, or mend the store first.
    """
    try:
        return await pipeline.decide(records, serving, epochs, now_ms())
    except StoreError:
        raise
    except Exception as error:  # this is that place
        if len(records) == 1:
            log.exception("partition %d offset %d cannot be decided", records[0].partition, records[0].offset)
            return Outputs(dead=[DeadLetter(records[0], DeadLetterCode.UNDECIDABLE, repr(error))])
    return _merged([await decide_isolating(pipeline, [record], serving, epochs) for record in records])


def _merged(parts: Iterable[Outputs]) -> Outputs:
    """Join what some records came to, in their order."""
    scores: dict[int, list[Outgoing]] = {}
    dead: list[DeadLetter] = []
    repeated = unknown_fields = 0
    for part in parts:
        for partition, written in part.scores.items():
            scores.setdefault(partition, []).extend(written)
        dead.extend(part.dead)
        repeated += part.repeated
        unknown_fields += part.unknown_fields
    return Outputs(scores, dead, repeated, unknown_fields)
