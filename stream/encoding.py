"""From judgements to `score/1` records, ready for their partitions."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.store import Observed
from models.policy import Decision
from models.times import format_time
from stream.contract.outputs import Positions, Score, Source
from stream.decoding import Decoded
from stream.publishing import Outgoing
from stream.scoring import Judgement
from stream.settings import Settings

HISTORY_INCOMPLETE = "history_incomplete"

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Frame:
    """What all scores of a batch share; `epochs` by partition."""

    settings: Settings
    names: Sequence[str]
    fingerprint: str
    code_version: str
    revision: int
    epochs: Mapping[int, int]
    now_ms: int


Decided = tuple[NDArray[np.intp], NDArray[np.float64], Sequence[Judgement]]
"""Which transactions of the batch were decided, their feature vectors, and what they came to."""


def encode(frame: Frame, decoded: Decoded, observed: Observed, decided: Decided) -> dict[int, list[Outgoing]]:
    """Write a score for each decided transaction, by partition, in the order of the batch."""
    out: dict[int, list[Outgoing]] = defaultdict(list)
    which, matrix, judgements = decided
    scored_at = format_time(frame.now_ms)
    incomplete = (HISTORY_INCOMPLETE,) if observed.incomplete else ()
    cards, merchants = observed.card_positions[which].tolist(), observed.merchant_positions[which].tolist()
    for at, vector, judgement, card, merchant in zip(
        which.tolist(), matrix.tolist(), judgements, cards, merchants, strict=True
    ):
        record, accepted = decoded.records[at], decoded.accepted[at]
        transaction = accepted.transaction
        score = Score(
            transaction_id=transaction.transaction_id,
            card_id=transaction.card_id,
            merchant_id=transaction.merchant_id,
            occurred_at=format_time(accepted.occurred_ms),
            amount_minor=transaction.amount_minor,
            currency=transaction.currency,
            score=judgement.score,
            band=judgement.band,
            decision=judgement.decision,
            decided_by=judgement.decided_by,
            model=judgement.model,
            arm="live",
            revision=frame.revision,
            fingerprint=frame.fingerprint,
            code_version=frame.code_version,
            features=_features(frame, vector, judgement),
            positions=Positions(observed.history_epoch, card, merchant),
            degraded=judgement.degraded + incomplete,
            dropped=accepted.dropped,
            epoch=frame.epochs[record.partition],
            source=Source(record.topic, record.partition, record.offset),
            scored_at=scored_at,
            latency_ms=frame.now_ms - record.timestamp,
        )
        out[record.partition].append(Outgoing(record.offset, record.key, _encode(score), record.headers))
    return out


def _features(frame: Frame, vector: list[float], judgement: Judgement) -> dict[str, float | None] | None:
    """Name the vector's numbers; NaN becomes null in JSON."""
    wanted = frame.settings.score_features
    if wanted == "none" or (wanted == "alerts" and judgement.decision is Decision.APPROVE):
        return None
    return dict(zip(frame.names, vector, strict=True))
