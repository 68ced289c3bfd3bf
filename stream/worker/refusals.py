"""Which offsets of the own partitions are refused or passed over, so that no worker judges them again.

Read from `dead-letters` whenever a partition's position is read, behind the end of its scores: a letter is acknowledged
before the scores of its batch, so none is missing of what these say is decided.
"""

import asyncio
import logging
from collections.abc import Container, Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from fraudstream_client.validity import Standing, place_of
from stream.control.follower import Follower
from stream.positions.letters import LETTERS_READ, SCORES_LOST, first_needed
from stream.positions.offsets import Position, ResumePoint
from stream.positions.refused import LettersTail
from stream.positions.score_tails import TailReader
from stream.scoring.facts import FactListener, LateLetters

log = logging.getLogger("fraudstream.refusals")

_NONE: Mapping[int, int] = {}
_MOST_REPEATS, _AGAIN_SECONDS = 50, 0.2
"""So often a broker that may have hung is asked again, since it knows less than it should for a moment."""


class _Known(NamedTuple):
    """The letters of undecided offsets by offset, each by its own place; and up to where all letters are known."""

    places: Mapping[int, int]
    read_to: int


class _Resumed(NamedTuple):
    """Where a partition is read on, its last decided place, and what was passed over before that, undecided."""

    first: int
    last_place: int
    passed_over: frozenset[int]


_NOT_RESUMED = _Resumed(0, -1, frozenset())


class SettledOffsets(NamedTuple):
    """The offsets of a partition that get no verdict any more: those refused, or passed over, from `first` on.

    What lies before `first`, where the partition is read on, was decided and applied, or refused; letters about it are
    not read any more.
    """

    first: int
    refused: Container[int]
    skipped: Container[int]

    def has(self, offset: int) -> bool:
        """Tell whether an offset from `first` on is one of them."""
        return offset in self.refused or offset in self.skipped


class PartitionRefusals:
    """What is known of the letters about each own partition of `transactions`."""

    def __init__(self, follower: Follower, topic: str, emit: FactListener) -> None:
        self._follower = follower
        self._topic = topic
        self._emit = emit
        self._known: dict[int, _Known] = {}
        self._counted_to: dict[int, int] = {}
        self._resumed: dict[int, _Resumed] = {}
        self._lost: dict[int, int] = {}
        self._written_to: dict[int, int] = {}
        self._letters_end = 0

    def begin_assignment(self) -> None:
        """Forget how far scores were written: from now on others may write, and note what is gone, too."""
        self._written_to.clear()

    def expect(self, partition: int, scores_offset: int) -> None:
        """Note how far the scores of an own partition were written that is read again: none of them may be missing."""
        self._written_to[partition] = scores_offset

    def written(self, letters_end: int) -> None:
        """Note where `dead-letters` ended at least, once the broker had acknowledged letters."""
        self._letters_end = max(self._letters_end, letters_end)

    async def read(self, tail: LettersTail, position: Position) -> None:
        """Read all letters, up to no earlier an end than this worker, or the partition's last owner, has known before.

        A leader that hung, and wakes when another one leads already, tells for a moment the end that it knew. Letters
        would be missing then, and what they refuse would count as accepted. Where the end stays below, the topic was
        made anew.

        Raises:
            RebalanceInProgressError: a letter is of a term that is not known here yet; read again.
            aiokafka.errors.KafkaError: the broker does not respond.
        """
        least = max([self._letters_end, *(one.letters_read for one in position.claims[-1:])])
        end = await tail.read()
        for _ in range(_MOST_REPEATS if end < least else 0):
            await asyncio.sleep(_AGAIN_SECONDS)
            if (end := await tail.read()) >= least:
                break
        if end < least:
            log.warning("dead letters end at %d, and ended at %d before: those from there on are gone", end, least)
            self._letters_end = 0
        self.written(end)

    def settle(self, partition: int, position: Position, tail: LettersTail, first: int) -> Position:
        """Take what was read for a partition that goes on at offset `first`; return its position with what matters.

        Those are the claims without which a letter that is late would count.
        """
        columns = tail.letters[partition, position.log]
        late = columns.late_places(position.claims, self._counted_to.get(partition, 0))
        if late:
            self._counted_to[partition] = max(late) + 1
            self._emit(LateLetters(partition, len(late)))
        self._known[partition] = _Known(columns.refused(position.claims, first), tail.read_to)
        return position._replace(claims=columns.needed(position.claims, tail.first))

    def refused(self, partition: int) -> Mapping[int, int]:
        """Return the refused offsets of a partition from where it went on."""
        return self._known[partition].places if partition in self._known else _NONE

    def settled(self, partition: int, log: int, of_publisher: Container[int] | None) -> SettledOffsets:
        """Return which offsets get no verdict any more; `of_publisher` are those that another deployment refused."""
        refused = self.refused(partition) if of_publisher is None else of_publisher
        first = self._resumed.get(partition, _NOT_RESUMED).first
        return SettledOffsets(first, refused, self.skipped(partition, log))

    async def resume(self, reader: TailReader, partition: int, point: ResumePoint, first: int) -> None:
        """Note that a partition is read on at `first`, and find out which skips from there on came after a decision.

        What is gone of its scores is told by the next one, unless one that was written since has told of it.

        Raises:
            aiokafka.errors.KafkaError: the broker does not respond.
        """
        position, topic_log = point.position, point.position.log
        skipped = self._follower.logs.skipped_in(self._topic, partition, position.log)
        past = [offset for offset in skipped if first <= offset < position.decided_to(topic_log)]
        passed_over = await reader.undecided(partition, topic_log, past) if past else frozenset()
        before, last_place = self._resumed.get(partition, _NOT_RESUMED), position.standing.last_place
        self._resumed[partition] = _Resumed(first, last_place, passed_over)
        if lost := self._count_lost(partition, point):
            self._lost[partition] = lost
        elif last_place != before.last_place:
            # A valid score was written since: ours with the header, though its write seemed to fail, or another
            # owner's, who has told of the loss. The same number again would be counted twice.
            self._lost.pop(partition, None)

    def _count_lost(self, partition: int, point: ResumePoint) -> int:
        """Return how many scores are gone; what this assignment has written to is later than what a commit notes."""
        written_to, end = self._written_to.get(partition), point.position.scores_offset
        if written_to is None:
            return point.scores_lost
        if written_to > end:
            log.warning(
                "the scores of partition %d end at %d, and this worker has written to %d: up to %d that Kafka had "
                "acknowledged are gone; payments that have none now are decided again",
                *(partition, end, written_to, written_to - end),
            )
        return max(0, written_to - end)

    def skipped(self, partition: int, log: int) -> AbstractSet[int]:
        """Return the offsets of a partition's log that operators let workers pass over, of whichever deployment.

        Those that were decided all the same are not among them.
        """
        skipped = self._follower.logs.skipped_in(self._topic, partition, log)
        if not skipped:
            return skipped
        _, last_place, passed_over = self._resumed.get(partition, _NOT_RESUMED)
        return {offset for offset in skipped if place_of(log, offset) > last_place} | passed_over

    def claim_headers(self, partition: int, standing: Standing, epoch: int) -> list[tuple[str, bytes]]:
        """Return the headers of a partition's next score: how far letters were read, if it is the first of its epoch.

        And how many scores are gone, if that was found out since the last one.
        """
        lost = self._lost.get(partition)
        headers = [] if lost is None else [(SCORES_LOST, str(lost).encode())]
        if partition in self._known and standing.highest_epoch < epoch:
            headers.append((LETTERS_READ, str(self._known[partition].read_to).encode()))
        return headers

    def claimed(self, partition: int) -> None:
        """Note that the broker has acknowledged a score with the headers."""
        self._lost.pop(partition, None)

    def noted(self, partition: int, position: Position, behind: int) -> Position:
        """Return a position with what a commit of offset `behind` notes: where the next owner reads letters from.

        No letter before that place is about an offset from `behind` on. A claim is noted once a score tells of it: what
        makes a letter late must be the same for all who read the topics.
        """
        if (known := self._known.get(partition)) is None:
            return position
        return position._replace(letters_from=first_needed(known.places, behind, known.read_to))
