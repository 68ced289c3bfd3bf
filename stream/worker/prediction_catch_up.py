"""Hold payments of a new assignment until the predictions from storage that were there before it are applied.

A worker that was down during a nightly job finds payments and predictions waiting, and reads two topics in no order.
Its payments would be decided without predictions that had come hours before them. While a worker runs it holds nothing:
the delay of a feature gives predictions far more time than they wait for.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Protocol

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from stream.kafka.stray import given_up_as_error
from stream.kafka.topics import PREDICTIONS, TRANSACTIONS
from stream.settings import Settings
from stream.watchdog import end_on_error

log = logging.getLogger("fraudstream.predictions")

STILL_SECONDS = 5.0
"""After so long in which none of its predictions was applied, a partition's payments go on."""
LONGEST_SECONDS = 30.0
"""After so long they go on in any case: with older predictions, as their positions say."""
_POLL_SECONDS = 0.05
_Ranges = Mapping[int, tuple[int, int]]


class PredictionProgress(Protocol):
    """What is known of own partitions, as `stream.engine.transport.BatchConsumer` knows it."""

    async def offset_ranges(self, topic: str) -> _Ranges:
        """Return the first offset and the end of each own partition of a topic."""
        ...

    def finished_offsets(self, topic: str) -> Mapping[int, int]:
        """Return the offset after the last finished record of each own partition of a topic."""
        ...


class HeldInput(Protocol):
    """Which partitions wait, as `stream.worker.losses.InputLosses` knows it."""

    @property
    def held(self) -> AbstractSet[TopicPartition]:
        """The partitions of which it is not known yet where they are read on."""
        ...


class PredictionCatchUp:
    """Tells which partitions of transactions wait for predictions.

    Args:
        settings: the names of the topics.
        consumer: returns the consumer that Faust has created.
        losses: tells of which partitions it is not known yet where they are read on.
        reads_predictions: whether some feature reads predictions; nothing waits if none does.
    """

    def __init__(
        self,
        settings: Settings,
        consumer: Callable[[], PredictionProgress],
        losses: HeldInput,
        *,
        reads_predictions: bool,
    ) -> None:
        self._transactions = settings.topic(TRANSACTIONS.name)
        self._predictions = settings.topic(PREDICTIONS.name)
        self._consumer = consumer
        self._losses = losses
        self._reads_predictions = reads_predictions
        self._held: set[TopicPartition] = set()
        self._task: asyncio.Task[None] | None = None

    @property
    def held(self) -> AbstractSet[TopicPartition]:
        """The partitions that must not be read now."""
        return self._held

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Hold the payments of a new assignment whose predictions are read here, too."""
        self.revoked()
        if not self._reads_predictions:
            return
        own = set(partitions)
        numbers = {tp.partition for tp in own if tp.topic == self._predictions}
        self._held = {tp for tp in own if tp.topic == self._transactions and tp.partition in numbers}
        if self._held:
            self._task = asyncio.create_task(self._release())
            self._task.add_done_callback(end_on_error)

    def revoked(self) -> None:
        """Hold nothing more: another worker may own the partitions now."""
        if self._task is not None:
            self._task.cancel()
        self._task, self._held = None, set()

    async def _release(self) -> None:
        """Release each partition when its predictions are applied, or none of them goes on."""
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                with given_up_as_error():
                    ranges = await self._consumer().offset_ranges(self._predictions)
                await self._follow(ranges)
        except TimeoutError:
            self._give_up(f"{LONGEST_SECONDS:g} s have passed")
        except KafkaError as error:
            self._give_up(str(error))
        self._held = set()

    async def _follow(self, ranges: _Ranges) -> None:
        loop, seen = asyncio.get_running_loop(), dict[int, int]()
        moved_at = loop.time()
        while self._held:
            # Before a partition's place is known, what counts as finished may be a commit that no worker has made.
            unplaced = {tp.partition for tp in self._losses.held if tp.topic == self._predictions}
            finished = self._consumer().finished_offsets(self._predictions)
            self._held = {
                tp for tp in self._held if tp.partition in unplaced or _is_behind(ranges, finished, tp.partition)
            }
            if finished != seen:
                seen, moved_at = dict(finished), loop.time()
            elif loop.time() > moved_at + STILL_SECONDS:
                self._give_up("they do not go on")
                return
            await asyncio.sleep(_POLL_SECONDS)

    def _give_up(self, why: str) -> None:
        numbers = ", ".join(str(tp.partition) for tp in sorted(self._held))
        log.warning("payments of partitions %s are decided before all predictions that came earlier: %s", numbers, why)


def _is_behind(ranges: _Ranges, finished: Mapping[int, int], partition: int) -> bool:
    """Tell whether predictions are left that were there when the payments were held."""
    begin, end = ranges.get(partition, (0, 0))
    return max(begin, finished.get(partition, 0)) < end
