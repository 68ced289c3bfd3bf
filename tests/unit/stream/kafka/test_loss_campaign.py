"""Whatever happens to a topic, no unread record is passed over without a person, and nothing read is called lost."""

from collections.abc import Callable
from types import MappingProxyType

from hypothesis import example, given
from hypothesis import strategies as st

from fraudstream_client.validity import place_of
from models.judge import InputTopic
from models.logs import AcceptedLoss, Logs, TopicLogs
from stream.positions.losses import Loss, Progress, Start, find_start

WHERE = ("default", "transactions", 3)


class Partition:
    """A partition with what was truly read and decided of it, and a worker that follows `find_start`."""

    def __init__(self) -> None:
        self.incarnation, self.begin, self.end = 0, 0, 9
        self.settled: set[int] = set()
        """The offsets of this incarnation that were read, or accepted as lost."""
        self.taken: set[int] = set()
        """Those that were accepted as lost."""
        self.foreign = False
        """Whether records of an earlier incarnation were read, and this one is not accepted."""
        self.progress = Progress(None)
        self.moved: int | None = None
        """The commit, where no worker has made it; `progress` is then that of the copy, if there is one."""
        self.copied = True
        """Whether there is one."""
        self.decided_in = 0
        self.accepted = False
        """Whether a person has accepted what was lost of a topic, of which nothing may have been read."""
        self.logs = Logs()

    @property
    def has_read(self) -> bool:
        """Whether the group ever read the partition: else it has lost nothing."""
        return self.progress.committed is not None or self.progress.decided >= 0

    def found(self) -> Start | Loss | str:
        state = InputTopic(f"id-{self.incarnation}", self.begin, self.end)
        _, decided = divmod(self.progress.decided, place_of(1, 0))
        same = None
        if self.progress.decided >= 0 and self.begin <= decided < self.end:
            same = self.decided_in == self.incarnation
        progress = self.progress._replace(same_record=same)
        if self.moved is not None and not self.copied:
            progress = progress._replace(committed=None, topic_id="", log=0, moved=self.moved)
        return find_start(self.logs, WHERE, state, progress)

    def append(self, count: int) -> None:
        self.end += count

    def remove(self, count: int) -> None:
        self.begin = min(self.end, self.begin + count)

    def make_anew(self, count: int) -> None:
        self.incarnation, self.begin, self.end = self.incarnation + 1, 0, count
        self.settled, self.taken = set(), set()
        self.foreign = self.has_read or self.accepted
        self.moved = None  # Kafka deletes the commits with the topic

    def move(self, offset: int) -> None:
        """Move the commit, while its copy is there."""
        self.moved, self.copied = offset, True

    def move_and_forget(self, offset: int) -> None:
        self.moved, self.copied = offset, False

    def decide(self, count: int) -> None:
        self._read(count, decided=True, committed=True)

    def decide_and_end(self, count: int) -> None:
        """Decide without a commit; the first commit was made before, or nothing would name the topic."""
        self._read(count, decided=True, committed=self.progress.committed is None)

    def read_dead_letters(self, count: int) -> None:
        self._read(count, decided=False, committed=True)

    def _read(self, count: int, *, decided: bool, committed: bool) -> None:
        start = self.found()
        if not isinstance(start, Start):
            return
        if self.moved is not None and not self.copied:  # what was read without a decision is known to nobody any more
            _, decided = divmod(self.progress.decided, place_of(1, 0))
            here = self.progress.decided >= 0 and self.decided_in == self.incarnation
            # What lies behind is read again, except for what was accepted.
            self.settled = set(range(max(start.offset, decided + 1 if here else 0))) | self.taken
            self.foreign = False
        stop = min(self.end, start.offset + count)
        self.settled |= set(range(start.offset if self.has_read else 0, stop))
        if decided and stop > start.offset and place_of(start.log, stop - 1) > self.progress.decided:
            self.progress = self.progress._replace(decided=place_of(start.log, stop - 1))
            self.decided_in = self.incarnation
        if committed or self.moved is not None:  # a worker replaces at once what it has not made
            position = max(stop, start.committed or 0)  # a worker never commits less than before
            self.moved = None
            self.progress = self.progress._replace(committed=position, topic_id=f"id-{self.incarnation}", log=start.log)

    def accept(self, _: int) -> None:
        loss = self.found()
        if not isinstance(loss, Loss):
            return
        name = f"id-{self.incarnation}"
        assert self.logs.may_be(WHERE[1], name, loss.log), "the judge takes what was reported"
        before = self.logs.topics.get(WHERE[1], TopicLogs())
        numbers = TopicLogs(MappingProxyType({**before.numbers, name: loss.log}), max(before.last, loss.log))
        accepted = MappingProxyType({WHERE: AcceptedLoss(loss.log, loss.up_to, loss.first)})
        self.logs = Logs(MappingProxyType({WHERE[1]: numbers}), accepted)
        self.taken |= set(range(loss.up_to))
        self.settled |= self.taken
        self.foreign, self.accepted = False, True

    def check(self) -> None:
        found = self.found()
        if self.moved is not None and not self.copied:
            self._check_without_commit(found)
            return
        unread = set(range(self.begin)) - self.settled if self.has_read or self.accepted else set()
        if isinstance(found, Start):
            assert not self.foreign, "another topic is read as if it were the one that was"
            assert not unread, "removed records are passed over in silence"
            assert set(range(self.begin, found.offset)) <= self.settled, "unread records are passed over"
        else:
            assert isinstance(found, Loss), found
            assert self.foreign or unread, f"nothing was lost: {found.text}"
            assert found.lost is None or found.lost >= len(unread)

    def _check_without_commit(self, found: Start | Loss | str) -> None:
        """Check what is found where only decisions tell what was read: no offset that is there is passed over."""
        if isinstance(found, Start):
            assert set(range(self.begin, found.offset)) <= self.settled, "unread records are passed over"
            _, decided = divmod(self.progress.decided, place_of(1, 0))
            last_is_there = self.progress.decided >= 0 and self.begin <= decided < self.end
            if last_is_there:
                assert not self.foreign, "another topic is read as if it were the one that was decided"
            if self.progress.decided >= 0 and not self.foreign:
                assert set(range(self.begin)) <= self.settled, "removed records are passed over in silence"
        else:
            assert isinstance(found, Loss), found
            assert found.lost is None or found.lost == found.up_to - found.first > 0
            assert found.lost is None or set(range(self.begin, found.first)) <= self.settled, "more would be lost"


OPERATIONS = [
    Partition.append,
    Partition.remove,
    Partition.make_anew,
    Partition.decide,
    Partition.decide_and_end,
    Partition.read_dead_letters,
    Partition.accept,
    Partition.move,
    Partition.move_and_forget,
]


@example([(Partition.decide, 0), (Partition.make_anew, 0), (Partition.move_and_forget, 0), (Partition.decide, 0)])
@example([(Partition.decide, 0), (Partition.remove, 1), (Partition.move_and_forget, 0), (Partition.decide, 0)])
@example([(Partition.move_and_forget, 1), (Partition.accept, 0), (Partition.make_anew, 0)])
@example([(Partition.decide, 1), (Partition.read_dead_letters, 1), (Partition.decide, 0), (Partition.remove, 2)])
@given(st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 15)), min_size=3, max_size=20))
def test_a_partition_goes_on_exactly_where_nothing_unread_is_passed_over(
    steps: list[tuple[Callable[[Partition, int], None], int]],
) -> None:
    partition = Partition()
    for operation, count in steps:
        operation(partition, count)
        partition.check()
