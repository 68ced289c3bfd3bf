"""Labels that wait until their card's history is rebuilt, beside the others, which are applied.

Their partition's offset is not committed beyond their batch until they are done. A worker that takes over the partition
so reads them again, and the labels behind them, whose outcomes it then says again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from stream.engine.batches import Batch
from stream.fates import Phase, is_retried
from stream.watchdog import end_on_error
from stream.worker.isolation import WaitableLabel

log = logging.getLogger("fraudstream.waiting_labels")

MOST_SLICES = 64
"""Batches of one partition with labels that wait; with more, labels are not applied beside them."""
_PAUSE_SECONDS = 1.0

ApplyLabels = Callable[[Sequence[WaitableLabel]], Awaitable[Sequence[WaitableLabel]]]
"""Applies labels, publishes their outcomes, and returns those that still wait."""


class _WaitingSlice(NamedTuple):
    """One partition's part of a batch, and the metadata of its commit."""

    batch: Batch
    partition: int
    note: str


class WaitingLabels:
    """Tries the waiting labels again, once a second, until they are done or their partitions are revoked."""

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
            await asyncio.sleep(_PAUSE_SECONDS)
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
