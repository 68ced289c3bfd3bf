"""What was fetched of partitions and not taken yet: packed batches, and one that is being unpacked.

A record takes up to forty times its bytes once it is unpacked, so no more is unpacked than is taken next. One thread
fetches, another one takes; what takes long to unpack a third one unpacks, so that whoever takes goes on with others.
`FetchQueues` stands where aiokafka keeps what it has fetched.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from threading import RLock

from aiokafka import TopicPartition

from stream.engine.decompression import LARGEST_UNPACKED_BYTES
from stream.engine.stalled import FailingPartitions
from stream.engine.unpacking import OBJECT_BYTES, AnyBatch, FetchedRecord, Piece, Unreadable
from stream.errors import UnpacksToMoreError

_FULL_PACKED_BYTES = 1024 * 1024
"""A partition with so many packed bytes in its queue is not fetched; at most one response more is held."""
_FULL_UNPACKED_BYTES = 4 * 1024 * 1024
"""A partition is not fetched either while the batch that is being unpacked is as large without compression."""
_TAKEN_BYTES = 1024 * 1024
"""So much is taken of a partition at once, and one record more: compressed records may be large when unpacked."""
_AT_ONCE_BYTES = 1024 * 1024
"""A batch that is larger without compression is unpacked aside, if that can be done."""
Aside = Callable[["PartitionQueue"], object]
"""Lets another thread call `unpack_next` of a queue, which then has something to take."""


class PartitionQueue:
    """The fetched batches of one partition, and the next one's records; large ones are unpacked `aside`, if given."""

    def __init__(self, tp: TopicPartition, aside: Aside | None = None) -> None:
        self.tp = tp
        self._aside = aside
        self._is_unpacked_aside = False
        # The fetching thread adds, the one that decides takes. Without the lock `add` could find the queue empty while
        # `take` has yet to set the position behind the last record, and that would overwrite the one that `add` sets.
        self._lock = RLock()
        self._packed: deque[AnyBatch] = deque()
        self._packed_bytes = 0
        self._pieces: Iterator[Piece] = iter(())
        self._next_piece: Piece = ()
        """Taken from `_pieces` beforehand, so that it is known whether there is one; empty if there is none."""
        self._unpacked_bytes = 0
        self._records: deque[FetchedRecord | Unreadable] = deque()
        self._position = 0
        self._fetched_to = 0

    def add(self, batches: Iterable[AnyBatch], first: int, fetched_to: int) -> None:
        """Add the batches of a response to a request for `first`; the next request is for `fetched_to`."""
        with self._lock:
            if not self:
                self._position = first
            self._packed.extend(batches)
            self._packed_bytes = sum(batch.size for batch in self._packed)
            self._fetched_to = fetched_to

    def __bool__(self) -> bool:
        """Tell whether something is queued, records or an unreadable range.

        Without the lock: what is added just now is seen at the next look, for which its arrival wakes whoever waits.
        """
        return bool(self._records or self._next_piece or self._packed)

    @property
    def full(self) -> bool:
        """Whether so much is queued that no more should be fetched."""
        unpacked_bytes = self._unpacked_bytes if self._records or self._next_piece else 0
        return self._packed_bytes >= _FULL_PACKED_BYTES or unpacked_bytes >= _FULL_UNPACKED_BYTES

    @property
    def position(self) -> int | None:
        """The offset of the next record to take; None if nothing is queued."""
        with self._lock:
            return self._position if self else None

    def take(self, limit: int, end: int | None = None) -> list[FetchedRecord]:
        """Return up to `limit` records in order, and about a MiB at most.

        None from the offset `end` on, nor behind an unreadable range.
        """
        taken: list[FetchedRecord] = []
        room = _TAKEN_BYTES
        with self._lock:
            while len(taken) < limit and room > 0 and (self._records or self._unpack()):
                first = self._records[0]
                if isinstance(first, Unreadable) or (end is not None and first.offset >= end):
                    break
                taken.append(first)
                self._records.popleft()
                self._position = first.offset + 1
                room -= len(first.value or b"") + OBJECT_BYTES * (1 + len(first.headers))
        return taken

    def unreadable(self) -> Unreadable | None:
        """Return the unreadable range that is next; None if a record or nothing is next."""
        with self._lock:
            return first if self._unpack() and isinstance(first := self._records[0], Unreadable) else None

    def skip_unreadable(self) -> None:
        """Pass over the unreadable range that is next."""
        with self._lock:
            unreadable = self.unreadable()
            if unreadable is not None:
                self._records.popleft()
                self._position = unreadable.end

    def _unpack(self) -> bool:
        """Unpack the next records if none is left; tell whether there is one now."""
        while not self._records and (self._next_piece or (self._packed and self._begin())):
            piece, self._next_piece = self._next_piece, next(self._pieces, ())
            if piece and _end_of(piece[0]) <= self._position:
                piece = [one for one in piece if _end_of(one) > self._position]
            self._records.extend(piece)
        if not self:
            self._position = max(self._position, self._fetched_to)
        return bool(self._records)

    def _begin(self) -> bool:
        """Begin to unpack the next batch; False if it is unpacked aside."""
        if self._is_unpacked_aside:
            return False
        batch, most = self._packed[0], LARGEST_UNPACKED_BYTES if self._aside is None else _AT_ONCE_BYTES
        try:
            pieces = iter(batch.unpack(self.tp, most))
        except UnpacksToMoreError:
            assert self._aside is not None  # noqa: S101 - else nothing that is read is too large
            self._is_unpacked_aside = True
            self._aside(self)
            return False
        self._begun(batch, pieces, next(pieces, ()))
        return True

    def unpack_next(self) -> None:
        """Unpack the next batch, whatever its size; in a thread of its own, while others fetch and take."""
        with self._lock:
            batch = self._packed[0]
        pieces = iter(batch.unpack(self.tp))  # the lock is not held: whoever takes meanwhile finds nothing
        first = next(pieces, ())
        with self._lock:
            self._begun(batch, pieces, first)
            self._is_unpacked_aside = False

    def _begun(self, batch: AnyBatch, pieces: Iterator[Piece], first: Piece) -> None:
        """Go on with the pieces of the next batch."""
        self._packed.popleft()
        self._packed_bytes -= batch.size
        self._pieces, self._next_piece = pieces, first
        self._unpacked_bytes = batch.unpacked_size


def _end_of(one: FetchedRecord | Unreadable) -> int:
    return one.end if isinstance(one, Unreadable) else one.offset + 1


class FetchQueues:
    """The queues of all partitions, in the place where aiokafka's fetcher keeps fetched records.

    To its routine a partition is "contained" while its queue is full, its next offset does not exist, or it pauses
    after an error, and then needs no back-off; so it is left out of requests, and no other partition waits for it.
    """

    def __init__(self) -> None:
        self._queues: dict[TopicPartition, PartitionQueue] = {}
        self.out_of_range: dict[TopicPartition, int] = {}
        """The partitions whose next offset the broker does not have, by that offset, until another is sought."""
        self.failing = FailingPartitions()
        self.aside: Aside | None = None
        """Unpacks large batches of queues that are made from now on; without, whoever takes does."""

    def __contains__(self, tp: TopicPartition) -> bool:
        if tp in self.out_of_range or self.failing.pauses(tp):
            return True
        return tp in self._queues and self._queues[tp].full

    def __getitem__(self, tp: TopicPartition) -> "FetchQueues":
        return self

    def __delitem__(self, tp: TopicPartition) -> None:
        self._queues.pop(tp, None)
        self.out_of_range.pop(tp, None)
        self.failing.forget(tp)

    def calculate_backoff(self) -> float:
        """Return 0: a full queue delays no other partition."""
        return 0

    def clear(self) -> None:
        """Drop everything: the assignment was lost."""
        self._queues.clear()
        self.out_of_range.clear()
        self.failing.clear()

    def of(self, tp: TopicPartition) -> PartitionQueue:
        """Return the queue of a partition."""
        queue = self._queues.get(tp)
        return self._queues.setdefault(tp, PartitionQueue(tp, self.aside)) if queue is None else queue

    def unreadable(self, tp: TopicPartition) -> Unreadable | None:
        """Return the unreadable range that is next in a partition; None if a record or nothing is."""
        queue = self._queues.get(tp)
        return queue.unreadable() if queue else None

    def filled(self, partitions: Collection[TopicPartition] | None) -> list[TopicPartition]:
        """Return which of these partitions (None: of all) have something queued; callable from any thread."""
        return [tp for tp, queue in tuple(self._queues.items()) if queue and (not partitions or tp in partitions)]
