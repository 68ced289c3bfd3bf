"""Keep one record's fault from the others: the one place where any error becomes a dead letter."""

import logging
from collections.abc import Mapping, Sequence

from features.errors import StoreUnavailableError
from stream.batches import Record
from stream.clock import now_ms
from stream.contract.codes import DeadLetterCode
from stream.dead_letters import DeadLetter
from stream.pipeline import Outputs, Pipeline
from stream.shelf import Serving

log = logging.getLogger("fraudstream.isolating")


async def decide_isolating(
    pipeline: Pipeline, records: Sequence[Record], serving: Serving, epochs: Mapping[int, int]
) -> Outputs:
    """Decide records together; where that fails for a reason of ours, one by one, so that only the guilty one is lost.

    Raises:
        StoreUnavailableError: that is no record's fault; ask again.
    """
    try:
        return await pipeline.decide(records, serving, epochs, now_ms())
    except StoreUnavailableError:
        raise
    except Exception as error:  # this is that place
        if len(records) == 1:
            log.exception("partition %d offset %d cannot be decided", records[0].partition, records[0].offset)
            return Outputs(dead=[DeadLetter(records[0], DeadLetterCode.UNDECIDABLE, repr(error))])
    merged = Outputs()
    for record in records:
        alone = await decide_isolating(pipeline, [record], serving, epochs)
        for partition, scores in alone.scores.items():
            merged.scores.setdefault(partition, []).extend(scores)
        merged.dead.extend(alone.dead)
    return merged
