"""Count what a guard's state needs from the topics: scores or comparisons, and outcomes, step by step.

Records are fetched first; then the caller reads `model-events` to its end, so that the share of every revision that the
records carry is known; then they are counted.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar

from aiokafka import TopicPartition

from fraudstream.ops.folds.tail import SharedTail
from fraudstream.ops.folds.topics import FetchedPart, FollowedTopics, ReadTopic
from fraudstream_client.validity import Standing
from guards.paired import Pair, paired_scores, read_comparison
from guards.state import GuardState, PartitionCounts
from stream.kafka.topics import OUTCOMES, SCORES, SHADOW_SCORES
from stream.readers import UNREADABLE, ValidViews, ViewedRecord, read_label_view
from stream.scan import EARLIER_SCORES, FetchedRecord
from stream.settings import Settings

Refresh = Callable[[], Awaitable[object]]
"""Reads `model-events` to its end, and states the shares of new revisions to the guard's state."""
Read = TypeVar("Read")

MARGIN_MS = 60_000
"""The clocks of the workers and of the judge, who says when a rollout began, may differ by this much."""


class GuardReader:
    """Reads `scores`, or for a watch `shadow-scores`, and `outcomes` if the state's guards need them, into the state.

    It goes on from the state's own positions; a partition without one is read from `since_ms`, a minute earlier. Use it
    as an asynchronous context, or `close` it.

    Attributes:
        state: what was counted, with the positions that it reaches.
        void: scores that are not valid.
        undecodable: records that are no score, comparison or outcome.

    Args:
        settings: the brokers and the topic prefix.
        state: the counts to go on from.
        since_ms: when the rollout or the watch began.
        pair: the models of a watch; None for a rollout.
        topic_ids: the ids of the topics that the state's positions are of, as `topic_ids` had them.
        tail: what is new, read for all folds of this process.
        watches_events: whether each change of `model-events` is a reason to refresh.
    """

    def __init__(
        self,
        settings: Settings,
        state: GuardState,
        since_ms: int,
        pair: Pair | None = None,
        topic_ids: Mapping[str, str] | None = None,
        *,
        tail: SharedTail | None = None,
        watches_events: bool = False,
    ) -> None:
        self.state = state
        self.void = 0
        self.undecodable = 0
        self._pair = pair
        self._scores = settings.topic((SCORES if pair is None else SHADOW_SCORES).name)
        self._outcomes = settings.topic(OUTCOMES.name)
        self._fetched: FetchedPart | None = None
        self._until_ms: dict[TopicPartition, int | None] = {}
        since, ids = max(since_ms - MARGIN_MS, 0), topic_ids or {}
        wanted = {self._scores: (state.partitions, EARLIER_SCORES if pair is None else 0)}
        if state.reads_labels:
            wanted[self._outcomes] = (state.outcomes, 0)  # type: ignore[assignment] # both have positions
        self.topics = FollowedTopics(
            settings,
            [
                ReadTopic(name, since, before, {at: one.position for at, one in known.items()}, ids.get(name, ""))
                for name, (known, before) in wanted.items()
            ],
            tail,
            watches_events=watches_events,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Disconnect from the brokers."""
        await self.topics.close()

    @property
    def read_until_ms(self) -> int | None:
        """The time up to which all partitions were read and counted; None until each was read once."""
        times = list(self._until_ms.values())
        return None if not times or None in times else min(time for time in times if time is not None)

    @property
    def lost(self) -> Mapping[TopicPartition, int | None]:
        """The records that retention removed before they were read, at most; None if nobody can count them."""
        return self.topics.lost.copy()

    @property
    def unreadable(self) -> int:
        """The records that could not be unpacked, at most, or decoded."""
        return self.topics.unreadable + self.undecodable

    @property
    def topic_ids(self) -> Mapping[str, str]:
        """The ids of the topics that are read, to keep with the state; empty where the brokers have none."""
        return self.topics.topic_ids.copy()

    def ends_of(self, positions: Mapping[str, Sequence[int]]) -> dict[TopicPartition, int]:
        """Return by partition the positions that some evidence states, those of topics that are read."""
        names = {"scores": self._scores, "outcomes": self._outcomes}
        return {
            TopicPartition(names[key], number): position
            for key, listed in positions.items()
            if names.get(key) in self.topics.topic_ids
            for number, position in enumerate(listed)
        }

    async def step(self, refresh: Refresh) -> int:
        """Fetch what there is, refresh the shares if that may tell more, and count; return how many records were read.

        What was fetched before an error of `refresh` is counted by the next step, after a new refresh.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not respond, or a topic is missing. The next step goes on.
        """
        if self._fetched is None:
            self._fetched = await self.topics.fetch()
        if self._fetched.events or self._names_new_revision(self._fetched):
            await refresh()
        fetched, self._fetched = self._fetched, None
        self.count(fetched)
        return fetched.size

    def _names_new_revision(self, fetched: FetchedPart) -> bool:
        """Tell whether records may be of a revision whose share is not known; of comparisons that is not looked at."""
        known = max(self.state.shares, default=-1)
        newest = max((one.view.revision for some in fetched.scores.values() for one in some if one.view), default=-1)
        return newest > known or any(tp.topic == self._scores for tp in fetched.records)

    def count(self, fetched: FetchedPart) -> None:
        """Count what was fetched."""
        for tp in fetched.anew:
            forget = self.state.forget if tp.topic == self._scores else self.state.forget_outcomes
            forget(tp.partition)
        for tp, position in fetched.positions.items():
            known, scores, records = self._known(tp), fetched.scores.get(tp, ()), fetched.records.get(tp, ())
            if known is not None and known.position == position and not scores and not records:
                continue
            if tp.topic == self._scores and self._pair is None:
                self._count_scores(tp.partition, scores, position)
            else:
                self._count(tp, records, position)
        self._until_ms = {tp: fetched.until_ms.get(tp) for tp in fetched.positions}

    def _known(self, tp: TopicPartition) -> Any:  # noqa: ANN401 - counts of either topic
        partitions: Mapping[int, Any] = self.state.partitions if tp.topic == self._scores else self.state.outcomes
        return partitions.get(tp.partition)

    def _count(self, tp: TopicPartition, records: Sequence[FetchedRecord], position: int) -> None:
        if tp.topic == self._outcomes:
            labels = filter(None, self._decoded(records, read_label_view))
            self.state.count_outcomes(tp.partition, labels, position)
        elif self._pair is not None:
            comparisons = self._decoded(records, read_comparison)
            self.state.count(tp.partition, paired_scores(comparisons, self._pair), position)

    def _count_scores(self, partition: int, records: Sequence[ViewedRecord], position: int) -> None:
        before = Standing(*self.state.partitions.get(partition, PartitionCounts()).standing)
        valid = ValidViews({partition: before})
        views = [view for _, view in valid.of(records)]
        self.void += valid.all_void
        self.undecodable += valid.unreadable
        self.state.count(partition, views, position, valid.standings[partition])

    def _decoded(self, records: Sequence[FetchedRecord], read: Callable[[bytes], Read]) -> Iterator[Read]:
        for record in records:
            try:
                yield read(record.value or b"")
            except UNREADABLE:
                self.undecodable += 1
