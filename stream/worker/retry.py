"""Do a batch's work until it is done: infrastructure that is away is asked again, with longer and longer pauses.

What stops it is the batch itself: once its partitions are being taken away, nothing more may begin.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiokafka.errors import KafkaError

from features.errors import StoreError
from stream.errors import PublishError, StaleBatchError
from stream.kafka.batches import Batch
from stream.scoring.facts import FactListener, Retried

log = logging.getLogger("fraudstream.insisting")

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0

Complain = Callable[[str | None], None]
"""Told what is away, and None when the work is done."""


async def insist(batch: Batch, work: Callable[[], Awaitable[None]], complain: Complain, emit: FactListener) -> None:
    """Call `work` until it comes through or the batch is no longer ours to work on."""
    pause = _FIRST_PAUSE_SECONDS
    while batch.start():
        try:
            await work()
        except StaleBatchError as error:
            log.info("dropped a batch of %s: %s", batch.topic, error)
            return
        except (StoreError, PublishError, KafkaError) as error:
            log.warning("%s: trying again in %.2f s: %s", batch.topic, pause, error)
            complain(str(error))
            emit(Retried(batch.topic, type(error).__name__))
        else:
            complain(None)
            return
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
