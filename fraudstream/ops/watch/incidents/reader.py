"""Read `scores` and `dead-letters` into the fold of incidents: valid scores, and each dead letter once."""

from collections.abc import Mapping, Sequence

from aiokafka import TopicPartition

from fraudstream.ops.folds.tail import SharedTail
from fraudstream.ops.folds.topics import FetchedPart, FollowedTopics, ReadTopic
from fraudstream.ops.repair.kept_letters import KeptLetter, read_letter
from fraudstream.ops.watch.incidents.facts import is_redriven
from fraudstream.ops.watch.incidents.fold import FoldState, FoldTerms, IncidentFold, ReadPartition
from stream.contract.transaction import backfill_mark
from stream.kafka.topics import DEAD_LETTERS, SCORES, TRANSACTIONS
from stream.readers import ValidViews, ViewedRecord
from stream.scan import EARLIER_SCORES, FetchedRecord
from stream.settings import Settings

LATENESS_MS = 5_000
"""A second is looked at so long after it is over: a record reaches its topic later than its timestamp says.

The clocks of workers and guards may differ by as much.
"""


class IncidentReader:
    """Reads into a fold, from the positions in its state on; a partition without one from a time on.

    Attributes:
        fold: the incidents.
        topics: the topics that are read.
        void: scores that are not valid.
        unreadable: records that are no score.
    """

    def __init__(
        self,
        settings: Settings,
        state: FoldState,
        since_ms: int,
        topic_ids: Mapping[str, str],
        tail: SharedTail | None = None,
    ) -> None:
        transactions = settings.topic(TRANSACTIONS.name)
        self.fold = IncidentFold(FoldTerms(settings.deployment, transactions, settings.deadline_ms), state)
        self.void = 0
        self.unreadable = 0
        self._deployment = settings.deployment
        self._scores, self._letters = settings.topic(SCORES.name), settings.topic(DEAD_LETTERS.name)
        self._until_ms: dict[TopicPartition, int | None] = {}
        read = {number: one.position for number, one in state.partitions.items()}
        letters = {} if state.letters_position is None else {0: state.letters_position}
        self.topics = FollowedTopics(
            settings,
            [
                ReadTopic(self._scores, since_ms, EARLIER_SCORES, read, topic_ids.get(self._scores, "")),
                ReadTopic(self._letters, since_ms, 0, letters, topic_ids.get(self._letters, "")),
            ],
            tail,
            watches_events=True,
        )

    @property
    def read_until_ms(self) -> int | None:
        """The time up to which all partitions were read; None until each was read once."""
        times = [time for time in self._until_ms.values() if time is not None]
        return min(times) if times and len(times) == len(self._until_ms) else None

    @property
    def complete_ms(self) -> int:
        """The time of all records before which it is certain that they were read."""
        return 0 if self.read_until_ms is None else self.read_until_ms - LATENESS_MS

    def is_at_end(self, partition: int, since_ms: int) -> bool:
        """Tell whether a partition of scores was read to its end at a time or later."""
        return (self._until_ms.get(TopicPartition(self._scores, partition)) or 0) >= since_ms

    def count(self, fetched: FetchedPart) -> None:
        """Count what was fetched; the event log must have been read since."""
        for tp in fetched.anew:
            self._forget(tp)
        for tp, position in fetched.positions.items():
            if tp.topic == self._scores:
                self._count_scores(tp.partition, fetched.scores.get(tp, ()), position)
            else:
                self._count_letters(fetched.records.get(tp, ()), position)
        self._until_ms = {tp: fetched.until_ms.get(tp) for tp in fetched.positions}

    def _forget(self, tp: TopicPartition) -> None:
        state = self.fold.state
        if tp.topic == self._scores:
            state.partitions.pop(tp.partition, None)
            state.decided_to.pop(tp.partition, None)

    def _count_scores(self, partition: int, records: Sequence[ViewedRecord], position: int) -> None:
        read = self.fold.state.partitions.setdefault(partition, ReadPartition(position))
        valid = ValidViews({partition: read.standing})
        for record, score in valid.of(records):
            self.fold.add_score(partition, record.timestamp, score, redriven=is_redriven(record))
        self.void += valid.all_void
        self.unreadable += valid.unreadable
        read.highest_epoch, read.last_place = valid.standings[partition]
        read.position = position

    def _count_letters(self, records: Sequence[FetchedRecord], position: int) -> None:
        counts = self.fold.commands.publisher in (None, self._deployment)
        for letter in filter(None, map(read_letter, records)):
            is_own = letter.deployment == self._deployment and counts
            if is_own and backfill_mark(letter.record.headers) is None and self._is_new(letter):
                self.fold.add_letter(letter)
        self.fold.state.letters_position = position

    def _is_new(self, letter: KeptLetter) -> bool:
        """Tell whether a dead letter is the first of its record: a worker that takes over may write some again.

        The records of a topic that was made anew have lower offsets, and later timestamps.
        """
        seen, source = self.fold.state.letters_seen, letter.source
        key, place = f"{source.topic} {source.partition}", (source.offset, letter.timestamp_ms)
        known = seen.get(key)
        if known is not None and place[0] <= known[0] and place[1] <= known[1]:
            return False
        seen[key] = place if known is None else (place[0], max(place[1], known[1]))
        return True
