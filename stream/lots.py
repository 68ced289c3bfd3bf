"""Decisions on their way to the challenger and back: cut into portions, asked about, sorted by where comparisons go.

Nothing here waits for anything.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from shadow.messages import Compare, Compared
from stream.clock import Stage
from stream.encoding import Scored
from stream.facts import Compared as ComparedFact
from stream.facts import Listen
from stream.journeys import Journey
from stream.publishing import Destination, Outgoing


@dataclass(frozen=True, slots=True)
class Lot:
    """Decisions `first` to `last` of a batch, that wait for one challenger."""

    digest: str
    scored: Scored
    journey: Journey
    first: int
    last: int

    def __len__(self) -> int:
        """Return how many decisions they are."""
        return self.last - self.first


def head(scored: Scored, count: int) -> Scored:
    """Return the first decisions of a batch; the others must not be kept in memory for their sake."""
    if count == len(scored):
        return scored
    kept: dict[str, Any] = {field.name: getattr(scored, field.name)[:count] for field in fields(scored)}
    return Scored(**{**kept, "matrix": scored.matrix[:count].copy()})


def take(waiting: deque[Lot], most: int) -> list[Lot]:
    """Take from the queue the next decisions for one challenger, at most so many; a lot that is too large is cut."""
    taken: list[Lot] = []
    while most and waiting and (not taken or waiting[0].digest == taken[0].digest):
        lot = waiting.popleft()
        middle = min(lot.first + most, lot.last)
        if middle < lot.last:
            waiting.appendleft(replace(lot, first=middle))
        taken.append(replace(lot, last=middle))
        most -= len(taken[-1])
    return taken


def request(lots: Sequence[Lot]) -> Compare:
    """Return what the challenger's process is asked about decisions for one model."""
    return Compare(
        lots[0].digest,
        lots[0].scored.matrix.shape[1],
        b"".join(lot.scored.matrix[lot.first : lot.last].tobytes() for lot in lots),
        tuple(one.value or b"" for lot in lots for one in lot.scored.outgoing[lot.first : lot.last]),
    )


def destined(topic: str, lots: Sequence[Lot], reply: Compared) -> dict[Destination, list[Outgoing]]:
    """Sort comparisons by partition: that of the score, under the score's key and with its headers."""
    sorted_out: dict[Destination, list[Outgoing]] = {}
    rows = [(lot.scored, at) for lot in lots for at in range(lot.first, lot.last)]
    for (scored, at), record in zip(rows, reply.records, strict=True):
        if record is not None:
            where = (topic, scored.records[at].partition)
            sorted_out.setdefault(where, []).append(scored.outgoing[at]._replace(value=record))
    return sorted_out


def say(lots: Sequence[Lot], reply: Compared, tell: Listen) -> None:
    """Tell who listens what was compared, and each journey its own part."""
    at = 0
    for lot in lots:
        rows = [row for row in range(len(lot)) if reply.records[at + row] is not None]
        if rows:
            tell(_fact(lot, reply, at, rows))
            records = [lot.scored.records[lot.first + row] for row in rows]
            lot.journey.compared(records, lot.digest, Stage("shadow", reply.start_ns, reply.end_ns))
        at += len(lot)


def _fact(lot: Lot, reply: Compared, at: int, rows: Sequence[int]) -> ComparedFact:
    judgements = [lot.scored.judgements[lot.first + row] for row in rows]
    scores = [reply.scores[at + row] for row in rows]
    transactions = [lot.scored.transactions[lot.first + row] for row in rows]
    return ComparedFact(
        lot.digest,
        [
            score - judgement.score
            for score, judgement in zip(scores, judgements, strict=True)
            if score is not None and judgement.score is not None
        ],
        [judgement.decision for judgement in judgements],
        [decision for row in rows if (decision := reply.decisions[at + row]) is not None],
        [transaction.amount_minor for transaction in transactions],
        [transaction.currency for transaction in transactions],
    )
