"""Decisions on their way to the challenger and back: queued, cut into portions, and routed to their partitions."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fraudstream_client.arms import CANARY, LIVE
from fraudstream_client.outputs import Decision
from shadow.protocol import Compare, CompareResult
from stream.clock import Stage
from stream.control.model_cache import ServingModels
from stream.engine.publisher import Destination, Outgoing
from stream.scoring.encode import Scored
from stream.scoring.facts import Compared, FactListener
from stream.scoring.tracing import BatchTrace, Place

Value = TypeVar("Value")
_FEATURES, _POSITIONS = b',"features":{', b'},"positions":'
"""How a score's features begin, and how they end."""


@dataclass(frozen=True, slots=True)
class DecisionColumns:
    """What the shadow needs of n decisions; the input records are dropped, since they may be much larger.

    `decisions` are what the artifacts decided, their rules included, before limits overruled them. `countries` are the
    merchants'.
    """

    matrix: NDArray[np.float64]
    partitions: Sequence[int]
    outgoing: Sequence[Outgoing]
    decisions: Sequence[Decision]
    scores: Sequence[float | None]
    amounts_minor: Sequence[int]
    currencies: Sequence[str]
    countries: Sequence[str | None]

    def __len__(self) -> int:
        """Return n."""
        return len(self.outgoing)

    @classmethod
    def of(cls, scored: Scored, fingerprint: str, count: int) -> "DecisionColumns":
        """Take the first `count` decisions of a batch; copied, so that the others do not stay in memory.

        `fingerprint` is that of the features that the challenger was trained on.
        """
        matrix = scored.vectors[fingerprint]
        return cls(
            matrix if count == len(scored) else matrix[:count].copy(),
            [record.partition for record in scored.records[:count]],
            scored.outgoing[:count],
            [judgement.ruled for judgement in scored.judgements[:count]],
            [judgement.score for judgement in scored.judgements[:count]],
            [transaction.amount_minor for transaction in scored.transactions[:count]],
            [transaction.currency for transaction in scored.transactions[:count]],
            [transaction.merchant_country for transaction in scored.transactions[:count]],
        )

    def places(self, first: int, last: int) -> Iterator[Place]:
        """Return the partition and offset of the input records of some decisions."""
        offsets = (one.source_offset for one in self.outgoing[first:last])
        return zip(self.partitions[first:last], offsets, strict=True)


@dataclass(frozen=True, slots=True)
class QueuedDecisions:
    """The decisions from `first` up to (not including) `last` of one batch, queued for the model `digest`.

    `challenger` is the model that they are compared with, or that made them: then it is the live one that scores.
    """

    digest: str
    challenger: str
    columns: DecisionColumns
    trace: BatchTrace
    first: int
    last: int

    def __len__(self) -> int:
        """Return the number of decisions."""
        return self.last - self.first


class ComparisonDue(NamedTuple):
    """Decisions that the model `scorer` scores in the shadow, to be compared with `challenger`, or made by it."""

    scorer: str
    challenger: str
    scored: Scored


def comparisons_due(scored: Scored, serving: ServingModels) -> list[ComparisonDue]:
    """Return what is to be compared of a batch's decisions.

    A challenger scores what the live model decides. Without one, each side of a canary scores what the other decides,
    and of a split nothing is compared. Decisions whose features could not be computed are left out.
    """
    challenger, canary, due = serving.challenger, serving.canary, list[ComparisonDue]()
    if challenger is not None:
        due.append(ComparisonDue(challenger, challenger, scored.comparable(LIVE)))
    elif canary is not None:
        other = canary.digest
        due.append(ComparisonDue(other, other, scored.comparable(LIVE)))
        due.append(ComparisonDue(serving.live.digest, other, scored.comparable(CANARY, other)))
    return [one for one in due if len(one.scored)]


def take_portion(queue: deque[QueuedDecisions], limit: int) -> list[QueuedDecisions]:
    """Take the next decisions for one model from the queue, at most `limit`; a larger entry is split.

    The model is that of the first entry. Entries of another stay in their order, since beside a canary the two sides
    alternate, and portions of one batch each would be small.
    """
    portion, others = list[QueuedDecisions](), list[QueuedDecisions]()
    sides = _sides(queue[0]) if queue else None
    while limit and queue:
        queued = queue.popleft()
        if _sides(queued) != sides:
            others.append(queued)
            continue
        middle = min(queued.first + limit, queued.last)
        if middle < queued.last:
            queue.appendleft(replace(queued, first=middle))
        portion.append(replace(queued, last=middle))
        limit -= len(portion[-1])
    queue.extendleft(reversed(others))
    return portion


def _sides(queued: QueuedDecisions) -> tuple[str, str]:
    return queued.digest, queued.challenger


def compare_request(portion: Sequence[QueuedDecisions]) -> Compare:
    """Return the request to have decisions scored by one model."""
    return Compare(
        portion[0].digest,
        portion[0].columns.matrix.shape[1],
        b"".join(queued.columns.matrix[queued.first : queued.last].tobytes() for queued in portion),
        tuple(
            without_features(one.value or b"")
            for queued in portion
            for one in queued.columns.outgoing[queued.first : queued.last]
        ),
        tuple(country for queued in portion for country in queued.columns.countries[queued.first : queued.last]),
    )


def without_features(score: bytes) -> bytes:
    """Return a `score/1` record as it is encoded, without its features: the challenger has the matrix.

    They are most of its bytes, and the kernel copies each to the process. A quote in a JSON text is escaped, so neither
    mark can be part of one.
    """
    start, end = score.find(_FEATURES), score.rfind(_POSITIONS)
    return score if start < 0 or end < start else score[:start] + score[end + 1 :]


def by_destination(
    topic: str, portion: Sequence[QueuedDecisions], reply: CompareResult
) -> dict[Destination, list[Outgoing]]:
    """Route comparisons: each goes to the partition of its score, with the score's key and headers."""
    routed: dict[Destination, list[Outgoing]] = {}
    rows = [(queued.columns, at) for queued in portion for at in range(queued.first, queued.last)]
    for (columns, at), record in zip(rows, reply.records, strict=True):
        if record is not None:
            offset, key, _, headers, transaction = columns.outgoing[at]
            one = Outgoing(offset, key, record, headers, transaction)
            routed.setdefault((topic, columns.partitions[at]), []).append(one)
    return routed


def emit_compared(portion: Sequence[QueuedDecisions], reply: CompareResult, emit: FactListener) -> None:
    """Emit the fact of what was compared, and add it to the trace of each batch."""
    at = 0
    for queued in portion:
        end = at + len(queued)
        has_result = [record is not None for record in reply.records[at:end]]
        if any(has_result):
            emit(_fact(queued, (reply.scores[at:end], reply.decisions[at:end]), has_result))
            places = _among(list(queued.columns.places(queued.first, queued.last)), has_result)
            queued.trace.compared(places, queued.challenger, Stage("shadow", reply.start_ns, reply.end_ns))
        at = end


def _fact(
    queued: QueuedDecisions,
    scored: tuple[Sequence[float | None], Sequence[Decision | None]],
    has_result: Sequence[bool],
) -> Compared:
    """Return what is to be counted of n decisions, of those that have a result of `scored`."""
    columns, which = queued.columns, slice(queued.first, queued.last)
    made = _among(columns.scores[which], has_result), _among(columns.decisions[which], has_result)
    found = _among(scored[0], has_result), [one for one in scored[1] if one is not None]
    live, challenger = (made, found) if queued.digest == queued.challenger else (found, made)
    return Compared(
        queued.challenger,
        [
            score - live_score
            for score, live_score in zip(challenger[0], live[0], strict=True)
            if score is not None and live_score is not None
        ],
        live[1],
        challenger[1],
        _among(columns.amounts_minor[which], has_result),
        _among(columns.currencies[which], has_result),
    )


def _among(values: Sequence[Value], wanted: Sequence[bool]) -> Sequence[Value]:
    """Return the values that are wanted; nearly always all are."""
    return values if all(wanted) else list(compress(values, wanted))
