"""Retries the work on a batch until it succeeds, with growing pauses, while Kafka or Redis is unavailable.

It stops early when the partitions of the batch are being revoked: then no new work may begin.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from stream.engine.batches import Batch
from stream.fates import Handling, Phase, fate_of
from stream.scoring.facts import FactListener, Retried

log = logging.getLogger("fraudstream.retry")

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0

SetTrouble = Callable[[str | None], None]
"""Receives the error's text at each failure, and None when the work is done."""


async def retry_until_done(
    batch: Batch, work: Callable[[], Awaitable[None]], set_trouble: SetTrouble, emit: FactListener
) -> None:
    """Call `work` until it succeeds or the batch is no longer ours."""
    pause = _FIRST_PAUSE_SECONDS
    while batch.start():
        try:
            await work()
        except Exception as error:
            handling = fate_of(error).during(Phase.BATCH)
            if handling is Handling.DROP:
                if not batch.aside:  # otherwise each partition's own reason is logged, once
                    log.info("dropped a batch of %s: %s", batch.topic, error)
                return
            if handling is not Handling.RETRY:
                raise
            log.warning("%s: retrying in %.2f s: %s", batch.topic, pause, error)
            set_trouble(str(error))
            emit(Retried(batch.topic, type(error).__name__))
        else:
            set_trouble(None)
            return
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
