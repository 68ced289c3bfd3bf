"""Where a partition of `transactions` is read on, and why one waits that Kafka has lost something of."""

import logging
from collections.abc import Callable

from aiokafka import TopicPartition
from aiokafka.errors import RebalanceInProgressError

from fraudstream_client.validity import Standing, log_and_offset
from models.judge import InputTopic
from stream.control.follower import Follower
from stream.kafka.topics import TRANSACTIONS
from stream.positions.inputs import InputReader
from stream.positions.losses import Start, find_start, progress_of_transactions
from stream.positions.offsets import ResumePoint
from stream.positions.score_tails import TailReader
from stream.scoring.facts import FactListener, LossFound
from stream.settings import Settings
from stream.worker.role import PublishedScores

log = logging.getLogger("fraudstream.positions")

Readers = tuple[TailReader, InputReader]
_RETRY_SECONDS = 0.5


class PartitionStarts:
    """Finds out where partitions go on; `losses` says why each waits that lost what nobody has accepted yet."""

    def __init__(self, settings: Settings, follower: Follower, published: PublishedScores, emit: FactListener) -> None:
        self.losses: dict[int, str] = {}
        self._deployment = settings.deployment
        self._topic = settings.topic(TRANSACTIONS.name)
        self._follower = follower
        self._published = published
        self._emit = emit

    def standing_of(self, partition: int, point: ResumePoint, *, publishes: bool) -> Standing:
        """Return up to where the partition counts as decided.

        A silent deployment that never decided it begins behind what is decided on `scores` now: what is older is
        applied to its histories. It has read nothing of that yet, so it has lost nothing either.

        Raises:
            RebalanceInProgressError: `scores` has not been read to its end, or names a log that is not known here yet;
                read the position again.
        """
        standing = point.position.standing
        if publishes or point.applied is not None or standing.last_place >= 0:
            return standing
        place = self._published.last_place(partition)
        if place is None:
            raise RebalanceInProgressError("the published scores are being read")
        if (published := log_and_offset(place)[0]) > self._follower.logs.last(self._topic):
            raise RebalanceInProgressError(f"it was decided in log {published}, which is not known here yet")
        return standing._replace(last_place=place)

    async def find(
        self, readers: Readers, tp: TopicPartition, point: ResumePoint, holds: Callable[[], bool]
    ) -> tuple[Start, InputTopic] | None:
        """Return where a partition is read on, once it can be, and what its topic is then.

        None if the reading no longer `holds` by then.
        """
        reader, inputs = readers
        where = (self._deployment, *tp)
        while holds():
            # A tricky part: a topic that was made anew may end before the last decided offset now and behind it a
            # moment later. Only the record that is there then tells that it is another one.
            (state,) = (await inputs.states([tp])).values()
            same = await inputs.is_same_record(reader.consumer, tp, state, point.position)
            progress = progress_of_transactions(point, same_record=same)
            found = find_start(self._follower.logs, where, state, progress)
            if isinstance(found, Start):
                self.losses.pop(tp.partition, None)
                return found, state
            why = found if isinstance(found, str) else found.text
            if self.losses.get(tp.partition) != why:
                log.error("%s partition %d does not go on: %s", *tp, why)
                self._emit(LossFound(tp.topic, tp.partition, 0 if isinstance(found, str) else found.lost))
            self.losses[tp.partition] = why
            await self._follower.wait_for_change(_RETRY_SECONDS)
        return None
