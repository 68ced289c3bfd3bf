"""Time budgets of partitions: one that takes more than its share goes on apart from the others, in small pieces.

What counts is the processor time of the work on a batch, on whichever threads: a broker or a Redis that responds late
uses up no budget, nor does other work of the process.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka import TopicPartition

from features.history.records import card_hash
from stream.engine.batches import Record, size_of
from stream.id_rules import is_card_number
from stream.tasks import set_by_tick

log = logging.getLogger("fraudstream.budgets")

ROUND_SECONDS = 0.02
"""A batch of several partitions that takes longer is looked at: one of them may have taken too much."""
PIECE_SECONDS = 0.01
"""About so long takes a piece of a partition that is apart: others wait at most as long for a turn."""
LEAST_TAKEN = 128
"""So many records are taken of each partition at once, even where there are many partitions."""

_MOST_TAKEN = 512
_LARGE_BATCH, _LARGE_BYTES = 32, 256 * 1024
"""A batch with fewer records and bytes is not judged: what it took is too little to compare."""
_FAIR_SHARES, _LARGEST_SHARE = 2.0, 0.75
"""A partition takes too much with twice an equal share of a batch, or with this one."""
_CALM_SECONDS = 2.0
"""A partition comes back when all that arrived has fit into its pieces for so long."""
_CARD_SHARE = 0.5
"""A card with more than this share of the records is named, by its hash."""


class Excess(NamedTuple):
    """Why a partition is apart: its share of a batch, and the seconds of that.

    `card` is the hash by which Redis names the card of most of its records; empty if there is none.
    """

    share: float
    seconds: float
    card: str

    def __str__(self) -> str:
        of_card = f", most of it of the card with the hash {self.card}" if self.card else ""
        return f"it had {self.share:.0%} of a batch that took {self.seconds * 1000:.0f} ms{of_card}"


@dataclass(slots=True)
class _Apart:
    """A partition that is apart: how many records make a piece, and until when it stays."""

    excess: Excess
    piece: int
    until: float


@dataclass(slots=True)
class Budgets:
    """The partitions that are apart; `clock` returns seconds that never go back."""

    clock: Callable[[], float]
    changes: int = 0
    """How often a partition was put apart, or came back."""
    _apart: dict[TopicPartition, _Apart] = field(default_factory=dict)
    _added: asyncio.Event = field(default_factory=asyncio.Event)

    def judge(self, topic: str, records: Mapping[int, Sequence[Record]], seconds: float, own: int) -> None:
        """Put a partition apart that took too much of a batch of a topic, of which `own` partitions are this worker's.

        Without others there is nobody to keep it apart from.
        """
        if own < 2 or seconds < ROUND_SECONDS:  # noqa: PLR2004 - another one beside it
            return
        counts = {partition: len(some) for partition, some in records.items()}
        sizes = {partition: size_of(*some) for partition, some in records.items()}
        count, size = sum(counts.values()), sum(sizes.values())
        if count < _LARGE_BATCH and size < _LARGE_BYTES:
            return
        shares = {partition: max(counts[partition] / count, sizes[partition] / max(1, size)) for partition in records}
        partition = max(shares, key=shares.__getitem__)
        if shares[partition] < min(_FAIR_SHARES / own, _LARGEST_SHARE):
            return
        excess = Excess(shares[partition], seconds, _card_of_most(records[partition]))
        log.warning(
            "%s partition %d goes on apart from the others, in small pieces: %s. Other partitions do not wait for it; "
            "find out what its producer sends",
            *(topic, partition, excess),
            extra={"event": "partition_apart", "topic": topic, "partition": partition, "card": excess.card},
        )
        piece = max(1, int(counts[partition] * PIECE_SECONDS / seconds))
        self._apart[TopicPartition(topic, partition)] = _Apart(excess, piece, self.clock() + _CALM_SECONDS)
        self.changes += 1
        self._added.set()

    async def wait_for_one(self, timeout: float) -> None:  # noqa: ASYNC109 - a poll, not a failure
        """Wait while none is apart, at most until the next tick of `timeout` seconds."""
        if not self._apart:
            self._added.clear()
            await set_by_tick(self._added, timeout)

    def spent(self, tp: TopicPartition, count: int, seconds: float) -> None:
        """Note what a piece of a partition that is apart took, and take it back if all fits into pieces by now."""
        apart = self._apart.get(tp)
        if apart is None:
            return
        if count >= apart.piece or seconds > PIECE_SECONDS:
            apart.until = self.clock() + _CALM_SECONDS
        if count:
            fitting = int(count * PIECE_SECONDS / max(seconds, PIECE_SECONDS / _MOST_TAKEN))
            apart.piece = max(1, min(fitting, 2 * apart.piece, _MOST_TAKEN))
        if self.clock() >= apart.until:
            del self._apart[tp]
            self.changes += 1
            log.info("%s partition %d goes on with the others again", *tp, extra={"event": "partition_back"})

    def piece(self, tp: TopicPartition, limit: int) -> int:
        """Return how many records are taken of a partition at once, at most `limit`."""
        apart = self._apart.get(tp)
        return limit if apart is None else min(limit, apart.piece)

    def excesses(self) -> Mapping[TopicPartition, Excess]:
        """Return why each partition is apart; callable from any thread."""
        return {tp: one.excess for tp, one in tuple(self._apart.items())}

    def clear(self) -> None:
        """Forget all partitions: the assignment has changed."""
        self._apart.clear()

    def __contains__(self, tp: TopicPartition) -> bool:
        """Tell whether a partition is apart."""
        return tp in self._apart

    def __bool__(self) -> bool:
        """Tell whether any partition is apart."""
        return bool(self._apart)


def _card_of_most(records: Sequence[Record]) -> str:
    """Return the hash by which Redis names the card that most records have as their key; empty if there is none."""
    key, count = Counter(record.key for record in records).most_common(1)[0]
    card_id = "" if key is None else key.decode("utf-8", "surrogateescape")
    # The hash of a card number would give it away: there are few of them. No card is named so in Redis.
    if not card_id or count <= _CARD_SHARE * len(records) or is_card_number(card_id, 0):
        return ""
    return f"{card_hash(card_id) & (2**64 - 1):016x}"
