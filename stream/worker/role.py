"""Whether this deployment publishes, and how far the one that publishes has decided, which a silent one follows.

Of all deployments on the same topics one writes its decisions to `scores`; each other decides silently to a topic of
its own, and only up to the last valid decision on `scores`.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from models.terms import Term
from stream.consumer import log_and_offset
from stream.control.follower import Follower
from stream.kafka.fetcher import LogConsumer, open_consumer
from stream.kafka.offsets import Position, folded
from stream.kafka.stray import given_up_as_error
from stream.kafka.topics import SCORES, own_scores
from stream.settings import Settings

log = logging.getLogger("fraudstream.role")

_POLL_SECONDS = 0.2
_RETRY_SECONDS = 1.0
_FETCH_MS = 200


class Role(NamedTuple):
    """The term's number, whether this deployment publishes in it, and the topic of its scores."""

    term: Term
    publishes: bool
    scores: str


def role_of(settings: Settings, follower: Follower) -> Role:
    """Return the present role of the settings' deployment."""
    layout = own_scores(settings, follower.term)
    return Role(Term(follower.term.number), layout is SCORES, settings.topic(layout.name))


class PublishedScores:
    """The last valid decisions on `scores`, in the own partitions, while another deployment publishes them."""

    def __init__(self, settings: Settings, follower: Follower) -> None:
        self._settings = settings
        self._follower = follower
        self._partitions: frozenset[int] = frozenset()
        self._positions: dict[int, Position] = {}
        self._ends: dict[int, int] = {}

    def assigned(self, partitions: Iterable[int]) -> None:
        """Follow the partitions of a new assignment."""
        self._partitions = frozenset(partitions)
        self._positions, self._ends = {}, {}

    def last_place(self, partition: int) -> int | None:
        """Return the place of the last valid decision; None until `scores` was read to its end."""
        position = self._positions.get(partition)
        if position is None or position.scores_offset < self._ends[partition]:
            return None
        return position.standing.last_place

    def bound(self, partition: int) -> int | None:
        """Return the offset up to which a silent deployment may read; None where it may read everything."""
        if role_of(self._settings, self._follower).publishes:
            return None
        place = self.last_place(partition)
        return 0 if place is None else log_and_offset(place)[1] + 1

    def reasons(self) -> list[str]:
        """Return how far `scores` still has to be read."""
        left = {one: self._ends[one] - at.scores_offset for one, at in self._positions.items()}
        behind = sum(count for count in left.values() if count > 0)
        return [f"the published scores are being read ({behind} left)"] if behind else []

    async def run(self) -> None:
        """Follow `scores` whenever this deployment is silent, for ever."""
        while True:
            partitions = self._partitions
            if partitions and not role_of(self._settings, self._follower).publishes:
                try:
                    with given_up_as_error():
                        await self._follow(partitions)
                except KafkaError as error:
                    log.warning("the published scores cannot be read, retrying: %s", error)
                    await asyncio.sleep(_RETRY_SECONDS)
            await asyncio.sleep(_POLL_SECONDS)

    async def _follow(self, partitions: frozenset[int]) -> None:
        """Fold the scores of an assignment's partitions until it changes."""
        consumer = open_consumer(self._settings, fetch_max_wait_ms=self._settings.fetch_wait_ms)
        try:
            await consumer.start()
            await self._begin(consumer, partitions)
            while partitions is self._partitions and not role_of(self._settings, self._follower).publishes:
                fetched = await consumer.getmany(timeout_ms=_FETCH_MS)
                if partitions is not self._partitions:
                    return
                for tp, records in fetched.items():
                    position = self._positions[tp.partition]
                    for record in records:
                        position = folded(position, record)
                    self._positions[tp.partition] = position
        finally:
            await consumer.stop()

    async def _begin(self, consumer: LogConsumer, partitions: frozenset[int]) -> None:
        tps = [TopicPartition(self._settings.topic(SCORES.name), partition) for partition in sorted(partitions)]
        consumer.assign(tps)
        begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        for tp in tps:
            consumer.seek(tp, begins[tp])
        if partitions is self._partitions:
            self._positions = {tp.partition: Position(scores_offset=begins[tp]) for tp in tps}
            self._ends = {tp.partition: ends[tp] for tp in tps}
