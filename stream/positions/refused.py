"""Reads `dead-letters`: at a claim from where the last commit says, for a repair or a comparison as a whole."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from aiokafka import TopicPartition
from aiokafka.errors import RebalanceInProgressError

from models.terms import Term
from stream.engine.fetcher import LogConsumer, open_consumer
from stream.engine.unpacking import FetchedRecord
from stream.kafka.bounds import OffsetBounds, ends_of_all
from stream.kafka.client import require_topic
from stream.kafka.topics import DEAD_LETTERS, TRANSACTIONS
from stream.positions.letters import NO_OFFSETS, Claim, Letter, LetterColumns, OffsetSet, read_letter_place
from stream.settings import Settings

log = logging.getLogger("fraudstream.refused")

_FETCH_MS = 500
_FETCH_BYTES = 8 * 1024 * 1024
_LASTING_SECONDS = 2.0
"""A transaction that is open for longer is told of."""

_Source = tuple[str, int, int]
"""Topic, partition and log."""


def counts(settings: Settings, term: Term) -> Callable[[Letter], bool]:
    """Return which letters are verdicts for a deployment.

    Of transactions those of the deployment that publishes; of labels and predictions, which each deployment reads for
    itself, its own.
    """
    transactions, own = settings.topic(TRANSACTIONS.name), (settings.deployment, "")
    return lambda one: one.is_published(term) if one.topic == transactions else one.deployment in own


class LettersTail:
    """The letters about `transactions` from an offset of `dead-letters` on, read with a consumer of other partitions.

    Attributes:
        letters: those that count, by partition and log.
        first: the offset from which on they are known.
        read_to: the offset up to which all are known.
    """

    def __init__(
        self,
        consumer: LogConsumer,
        bounds: OffsetBounds,
        *,
        settings: Settings,
        term: Callable[[], Term],
        first: int,
    ) -> None:
        self.tp = TopicPartition(settings.topic(DEAD_LETTERS.name), 0)
        self.letters: defaultdict[tuple[int, int], LetterColumns] = defaultdict(LetterColumns)
        self.first = self.read_to = first
        self._consumer, self._bounds = consumer, bounds
        self._transactions = settings.topic(TRANSACTIONS.name)
        self._term = term
        self._lock = asyncio.Lock()
        self._begun = self._ended = 0

    async def read(self) -> int:
        """Read to the end that the topic has now or later, and return it; who asks at the same time shares a pass.

        Raises:
            RebalanceInProgressError: a letter is of a term that is not known here yet; read again.
            aiokafka.errors.KafkaError: the broker does not respond.
        """
        # A pass that has begun may have asked for the end before a letter was written that this caller must see.
        needed = self._begun + 1  # a pass that has begun already may have passed the end by which the caller needs it
        while self._ended < needed:
            async with self._lock:
                if self._ended < needed:
                    self._begun += 1
                    await self._read_to_end()
                    self._ended = self._begun
        return self.read_to

    def why_held_back(self) -> str:
        """Say which transaction's end the reading waits for; empty if it does not, or nothing is being read."""
        return _why_held_back(self._consumer, self.tp) if self._lock.locked() else ""

    async def _read_to_end(self) -> None:
        begin, end = await self._bounds.of(self.tp)
        # Below its end: the topic was made anew, and what it held is gone.
        self.read_to = begin if self.read_to > end else max(begin, self.read_to)
        if self.read_to < end:
            self._consumer.resume(self.tp)
            self._consumer.seek(self.tp, self.read_to)
            while self.read_to < end:
                for record in (await self._consumer.getmany(self.tp, timeout_ms=_FETCH_MS)).get(self.tp, ()):
                    self._take(record)
                    self.read_to = record.offset + 1
                # Transactions' markers leave gaps, so the reader's position counts.
                self.read_to = max(self.read_to, await self._consumer.position(self.tp))
            self._consumer.pause(self.tp)

    def _take(self, record: FetchedRecord) -> None:
        letter = read_letter_place(record)
        if letter is None or letter.topic != self._transactions:
            return
        term = self._term()
        if term.is_before(letter.epoch):  # whether it counts is not known yet, and it is not read again
            raise RebalanceInProgressError("a dead letter is of a term that is not known here yet")
        if letter.is_published(term):
            self.letters[letter.partition, letter.log].add(letter)


@dataclass(frozen=True, slots=True)
class RefusedOffsets:
    """Which offsets of the inputs were refused, by topic, partition and log: 8 bytes each.

    `late` counts the letters that are void, since their worker had lost the partition.
    """

    offsets: Mapping[_Source, OffsetSet] = field(default_factory=dict)
    late: int = 0

    def of(self, topic: str, partition: int, log: int) -> OffsetSet:
        """Return those of a log of a partition."""
        return self.offsets.get((topic, partition, log), NO_OFFSETS)


NONE_REFUSED = RefusedOffsets()


def refused_by(
    letters: Mapping[_Source, LetterColumns], claims: Mapping[int, Sequence[Claim]], transactions: str
) -> RefusedOffsets:
    """Return what letters refuse; `claims` are those of the partitions of `transactions`, which make letters late."""
    offsets, late = dict[_Source, OffsetSet](), 0
    for source, columns in letters.items():
        made = claims.get(source[1], ()) if source[0] == transactions else ()
        offsets[source] = columns.offsets(made)
        late += int(np.count_nonzero(columns.late(made)))
    return RefusedOffsets(offsets, late)


def _why_held_back(consumer: LogConsumer, tp: TopicPartition) -> str:
    """Say which transaction's end a partition waits for; empty if it does not, or not yet for long."""
    held = consumer.fetcher.held_back.copy().get(tp)
    seconds = 0.0 if held is None else time.monotonic() - held.since
    return "" if held is None or seconds < _LASTING_SECONDS else f"{tp.topic}: {held.reason(seconds)}"


async def read_letters(settings: Settings, term: Term) -> dict[_Source, LetterColumns]:
    """Return all letters that are kept and count for the settings' deployment.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond, or the topic does not exist.
    """
    tp, is_verdict = TopicPartition(settings.topic(DEAD_LETTERS.name), 0), counts(settings, term)
    found: defaultdict[_Source, LetterColumns] = defaultdict(LetterColumns)
    consumer = open_consumer(settings, fetch_max_wait_ms=50, max_partition_fetch_bytes=_FETCH_BYTES)
    try:
        await consumer.start()
        await require_topic(consumer, tp.topic)
        consumer.assign([tp])
        end = (await ends_of_all(consumer, [tp]))[tp]  # behind what waits for the end of a foreign transaction, too
        consumer.seek(tp, (await consumer.beginning_offsets([tp]))[tp])
        while await consumer.position(tp) < end:
            if why := _why_held_back(consumer, tp):
                log.warning("%s", why, extra={"burst": "dead letters held back"})
            for record in (await consumer.getmany(tp, timeout_ms=_FETCH_MS)).get(tp, ()):
                letter = read_letter_place(record)
                if letter is not None and is_verdict(letter):
                    found[letter.topic, letter.partition, letter.log].add(letter)
        return dict(found)
    finally:
        await consumer.stop()
