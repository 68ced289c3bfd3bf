"""Decisions on their way to the challenger and back: cut into portions, asked about, sorted by where comparisons go.

Nothing here waits for anything.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.policy import Decision
from shadow.protocol import Compare, CompareResult
from stream.clock import Stage
from stream.kafka.publisher import Destination, Headers, Outgoing
from stream.scoring.encode import Scored
from stream.scoring.facts import Compared, FactListener
from stream.scoring.tracing import BatchTrace


@dataclass(frozen=True, slots=True)
class DecisionColumns:
    """What the shadow needs of n decisions. What came in is let go of: a record may be a thousand times its score."""

    matrix: NDArray[np.float64]
    partitions: Sequence[int]
    outgoing: Sequence[Outgoing]
    decisions: Sequence[Decision]
    scores: Sequence[float | None]
    amounts_minor: Sequence[int]
    currencies: Sequence[str]

    def __len__(self) -> int:
        """Return n."""
        return len(self.outgoing)

    @classmethod
    def of(cls, scored: Scored, fingerprint: str, count: int) -> "DecisionColumns":
        """Keep the first decisions of a batch; the others must not be kept in memory for their sake.

        `fingerprint` is that of the features which the challenger was trained on.
        """
        matrix = scored.vectors[fingerprint]
        return cls(
            matrix if count == len(scored) else matrix[:count].copy(),
            [record.partition for record in scored.records[:count]],
            scored.outgoing[:count],
            [judgement.decision for judgement in scored.judgements[:count]],
            [judgement.score for judgement in scored.judgements[:count]],
            [transaction.amount_minor for transaction in scored.transactions[:count]],
            [transaction.currency for transaction in scored.transactions[:count]],
        )

    def mark(self, at: int) -> "RecordPlace":
        """Return the place of the record that was decided."""
        return RecordPlace(self.partitions[at], self.outgoing[at].source_offset)


@dataclass(slots=True)
class RecordPlace:
    """A record's place: a `stream.kafka.batches.Record` with nothing else in it, for tracing."""

    partition: int
    offset: int
    topic: str = ""
    timestamp: int = 0
    timestamp_type: int = 0
    key: bytes | None = None
    value: bytes | None = None
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class QueuedDecisions:
    """Decisions `first` to `last` of those kept of a batch, that wait for one challenger."""

    digest: str
    kept: DecisionColumns
    journey: BatchTrace
    first: int
    last: int

    def __len__(self) -> int:
        """Return how many decisions they are."""
        return self.last - self.first


def take_portion(waiting: deque[QueuedDecisions], most: int) -> list[QueuedDecisions]:
    """Take from the queue the next decisions for one challenger, at most so many; a lot that is too large is cut."""
    taken: list[QueuedDecisions] = []
    while most and waiting and (not taken or waiting[0].digest == taken[0].digest):
        lot = waiting.popleft()
        middle = min(lot.first + most, lot.last)
        if middle < lot.last:
            waiting.appendleft(replace(lot, first=middle))
        taken.append(replace(lot, last=middle))
        most -= len(taken[-1])
    return taken


def compare_request(lots: Sequence[QueuedDecisions]) -> Compare:
    """Return what the challenger's process is asked about decisions for one model."""
    return Compare(
        lots[0].digest,
        lots[0].kept.matrix.shape[1],
        b"".join(lot.kept.matrix[lot.first : lot.last].tobytes() for lot in lots),
        tuple(one.value or b"" for lot in lots for one in lot.kept.outgoing[lot.first : lot.last]),
    )


def by_destination(
    topic: str, lots: Sequence[QueuedDecisions], reply: CompareResult
) -> dict[Destination, list[Outgoing]]:
    """Sort comparisons by partition: that of the score, under the score's key and with its headers."""
    sorted_out: dict[Destination, list[Outgoing]] = {}
    rows = [(lot.kept, at) for lot in lots for at in range(lot.first, lot.last)]
    for (kept, at), record in zip(rows, reply.records, strict=True):
        if record is not None:
            where = (topic, kept.partitions[at])
            sorted_out.setdefault(where, []).append(kept.outgoing[at]._replace(value=record))
    return sorted_out


def emit_compared(lots: Sequence[QueuedDecisions], reply: CompareResult, emit: FactListener) -> None:
    """Tell who listens what was compared, and each journey its own part."""
    at = 0
    for lot in lots:
        rows = [row for row in range(len(lot)) if reply.records[at + row] is not None]
        if rows:
            emit(_fact(lot, reply, at, rows))
            marks = [lot.kept.mark(lot.first + row) for row in rows]
            lot.journey.compared(marks, lot.digest, Stage("shadow", reply.start_ns, reply.end_ns))
        at += len(lot)


def _fact(lot: QueuedDecisions, reply: CompareResult, at: int, rows: Sequence[int]) -> Compared:
    kept, which = lot.kept, [lot.first + row for row in rows]
    scores = [reply.scores[at + row] for row in rows]
    return Compared(
        lot.digest,
        [
            score - live
            for score, live in zip(scores, [kept.scores[one] for one in which], strict=True)
            if score is not None and live is not None
        ],
        [kept.decisions[one] for one in which],
        [decision for row in rows if (decision := reply.decisions[at + row]) is not None],
        [kept.amounts_minor[one] for one in which],
        [kept.currencies[one] for one in which],
    )
