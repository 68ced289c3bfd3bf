"""Encode judgements as `score/1` records for their partitions."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from math import isnan
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.history.store import NOWHERE, Entity, Observed
from fraudstream_client.arms import LIVE
from fraudstream_client.outputs import DecidedBy, Decision, ModelName, Overruled, Positions, Score, Source
from models.times import format_time, formatted
from stream.contract.attributes import category_texts_of, json_type
from stream.contract.cloud_events import ScoreEvents, without_event_headers
from stream.contract.transaction import Transaction
from stream.engine.batches import Record
from stream.engine.publisher import Headers, Outgoing
from stream.redaction import redact_headers
from stream.scoring.decode import Decoded
from stream.scoring.two_partitions import CARD_ON_TWO_PARTITIONS, on_two_partitions
from stream.settings import Settings

HISTORY_INCOMPLETE = "history_incomplete"
HISTORY_YOUNG = "history_young"
"""The deployment's histories go back less far than its features look; only with FRAUDSTREAM_MARK_YOUNG_HISTORY."""
UNDECIDABLE = "undecidable"
"""An error of ours on a payment that is in its histories already: it was decided by rules."""

_encode = msgspec.json.Encoder().encode


class ScoreFrame(msgspec.Struct, frozen=True):
    """What all scores of a batch share: `epochs` by partition, `log` of the transactions' topic.

    `names` and `fingerprint` are those of the live model's features, `others` has the names of the other sets that are
    computed here, by fingerprint. `headers` returns those of a record's score; `look_back_days` is how far the
    deployment's features look; `settings_hash` is that of the settings that decide; `categories` are the declared ones.
    """

    settings: Settings
    names: Sequence[str]
    fingerprint: str
    code_version: str
    revision: int
    epochs: Mapping[int, int]
    now_ms: int
    headers: Callable[[Record], Headers]
    log: int = 0
    look_back_days: int = 0
    others: Mapping[str, Sequence[str]] = {}
    settings_hash: str | msgspec.UnsetType = msgspec.UNSET
    categories: Sequence[str] = ()

    def names_of(self, fingerprint: str) -> Sequence[str]:
        """Return the names of a set's features."""
        return self.names if fingerprint == self.fingerprint else self.others[fingerprint]


class Judgement(msgspec.Struct, frozen=True, gc=False):
    """The result for one payment; `score` and `band` are None if no model gave a score.

    `arm` is as assigned, also where another model or the rules stood in for the arm's own. `fingerprint` is that of the
    features that it was made from; None: those of the live model. `propensity` is the probability with which a lot let
    the payment through; None: no lot was drawn. `country` is the merchant's, where rules looked at it. With `is_bound`
    a rule wants at least this decision, so no lot is drawn.
    """

    score: float | None
    band: int | None
    decision: Decision
    decided_by: DecidedBy
    model: ModelName | None
    degraded: tuple[str, ...] = ()
    arm: str = LIVE
    fingerprint: str | None = None
    overruled: Overruled | None = None
    propensity: float | None = None
    country: str | None = None
    is_bound: bool = False

    @property
    def said(self) -> Decision:
        """What the model decided, or what stood in for it, before anything overruled it."""
        return self.decision if self.overruled is None else self.overruled.decision

    @property
    def ruled(self) -> Decision:
        """What the artifact decided: its model, and the rules beside it, before limits overruled that."""
        return self.decision if self.overruled is None else self.overruled.after_rules(self.decision)

    @property
    def is_alert(self) -> bool:
        """Whether it is no approval, or was none before a rule allowed the payment."""
        return self.decision is not Decision.APPROVE or self.said is not Decision.APPROVE


Judged = tuple[NDArray[np.intp], Mapping[str, NDArray[np.float64]], Sequence[Judgement]]
"""The indices of the decided transactions in the batch, their vectors by fingerprint, and their judgements."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The decisions of a batch: n records, their transactions, vectors and judgements, and the records to publish.

    Within each partition they are in log order. `vectors` holds matrices of shape (n, features) by the fingerprint of
    their feature set: those of the models that decided, and all others that could be computed while decisions are
    compared.
    """

    records: Sequence[Record]
    transactions: Sequence[Transaction]
    dropped: Sequence[tuple[str, ...]]
    vectors: Mapping[str, NDArray[np.float64]]
    judgements: Sequence[Judgement]
    latencies_ms: Sequence[int]
    outgoing: Sequence[Outgoing]

    def __len__(self) -> int:
        """Return n."""
        return len(self.records)

    @classmethod
    def empty(cls) -> "Scored":
        """Return an instance without decisions."""
        return cls([], [], [], {}, [], [], [])

    @classmethod
    def concat(cls, parts: Iterable["Scored"]) -> "Scored":
        """Concatenate decisions."""
        some = [part for part in parts if len(part)]
        if not some:
            return cls.empty()
        return cls(
            [one for part in some for one in part.records],
            [one for part in some for one in part.transactions],
            [one for part in some for one in part.dropped],
            {name: np.concatenate([part.vectors[name] for part in some]) for name in _values_shared(some)},
            [one for part in some for one in part.judgements],
            [one for part in some for one in part.latencies_ms],
            [one for part in some for one in part.outgoing],
        )

    def comparable(self, arm: str, digest: str | None = None) -> "Scored":
        """Return the decisions of an arm that another model can make too: those of which all features are known.

        With `digest`, only those that this model made.
        """
        return self._at(
            [
                at
                for at, one in enumerate(self.judgements)
                if one.arm == arm and UNDECIDABLE not in one.degraded
                if digest is None or (one.model is not None and one.model.digest == digest)
            ]
        )

    def of(self, partitions: Iterable[int]) -> "Scored":
        """Return the decisions of some partitions."""
        wanted = frozenset(partitions)
        return self._at([at for at, record in enumerate(self.records) if record.partition in wanted])

    def among(self, records: Iterable[Record]) -> "Scored":
        """Return the decisions on some records."""
        wanted = {(record.partition, record.offset) for record in records}
        return self._at([at for at, one in enumerate(self.records) if (one.partition, one.offset) in wanted])

    def _at(self, kept: list[int]) -> "Scored":
        if len(kept) == len(self):
            return self
        return Scored(
            [self.records[at] for at in kept],
            [self.transactions[at] for at in kept],
            [self.dropped[at] for at in kept],
            {name: matrix[kept] for name, matrix in self.vectors.items()},
            [self.judgements[at] for at in kept],
            [self.latencies_ms[at] for at in kept],
            [self.outgoing[at] for at in kept],
        )

    def as_events(self, events: ScoreEvents, epochs: Mapping[int, int], log: int) -> "Scored":
        """Return them with the headers of CloudEvents before those that payments pass on; the values stay as they are.

        Readers of ours read the first 1,000 headers of a record.
        """
        outgoing = []
        for one, record, judgement, latency_ms in zip(
            self.outgoing, self.records, self.judgements, self.latencies_ms, strict=True
        ):
            headers = events.headers(
                judgement.decision,
                (record.topic, record.partition, record.offset, log),
                epoch=epochs[record.partition],
                scored_ms=record.timestamp + latency_ms,
                transaction_id=one.transaction_id,
            )
            passed = without_event_headers(one.headers)
            outgoing.append(Outgoing(one.source_offset, one.key, one.value, (*headers, *passed), one.transaction_id))
        return replace(self, outgoing=outgoing)

    def by_partition(self) -> dict[int, list[Outgoing]]:
        """Return the records to publish, by partition."""
        outputs: dict[int, list[Outgoing]] = {}
        for record, outgoing in zip(self.records, self.outgoing, strict=True):
            outputs.setdefault(record.partition, []).append(outgoing)
        return outputs


def _values_shared(parts: Sequence[Scored]) -> list[str]:
    """Return the feature sets of which all parts have vectors."""
    return [name for name in parts[0].vectors if all(name in part.vectors for part in parts)]


def encode(frame: ScoreFrame, decoded: Decoded, observed: Observed, judged: Judged) -> Scored:
    """Encode a score for each decided transaction, in the order of the batch."""
    which, vectors, judgements = judged
    judgements = _add_reasons(judgements, _marked(frame, observed, which))
    places = which.tolist()
    records, accepted = [decoded.records[at] for at in places], [decoded.accepted[at] for at in places]
    parts = zip(records, accepted, judgements, _features(frame, vectors, judgements), strict=True)
    scored_at, latencies_ms = format_time(frame.now_ms), [frame.now_ms - record.timestamp for record in records]
    scores = [
        Score(
            transaction_id=parsed.transaction.transaction_id,
            card_id=parsed.transaction.card_id,
            merchant_id=parsed.transaction.merchant_id,
            occurred_at=formatted(parsed.transaction.occurred_at, parsed.occurred_ms),
            amount_minor=parsed.transaction.amount_minor,
            currency=parsed.transaction.currency,
            score=judgement.score,
            band=judgement.band,
            decision=judgement.decision,
            decided_by=judgement.decided_by,
            model=judgement.model,
            arm=judgement.arm,
            overruled=judgement.overruled,
            propensity=judgement.propensity,
            merchant_country=judgement.country or msgspec.UNSET,
            deployment=frame.settings.deployment,
            revision=frame.revision,
            fingerprint=judgement.fingerprint or frame.fingerprint,
            code_version=frame.code_version,
            features=features,
            positions=positions,
            degraded=judgement.degraded,
            dropped=parsed.dropped,
            attributes=texts,
            settings=frame.settings_hash,
            epoch=frame.epochs[record.partition],
            source=Source(record.topic, record.partition, record.offset, frame.log),
            scored_at=scored_at,
            latency_ms=latency_ms,
        )
        for (record, parsed, judgement, features), positions, texts, latency_ms in zip(
            parts, _positions(observed, which), _category_texts(frame, decoded, places), latencies_ms, strict=True
        )
    ]
    outgoing = [
        Outgoing(record.offset, record.key, _encode(score), _headers(frame, record), score.transaction_id)
        for record, score in zip(records, scores, strict=True)
    ]
    transactions, dropped = [one.transaction for one in accepted], [one.dropped for one in accepted]
    return Scored(records, transactions, dropped, vectors, judgements, latencies_ms, outgoing)


def _category_texts(frame: ScoreFrame, decoded: Decoded, places: Sequence[int]) -> Iterable[Any]:
    """Return the declared categories of each decided transaction, as an object of JSON."""
    own = decoded.columns.own
    if own is None or not frame.categories:
        return repeat(msgspec.UNSET, len(places))
    texts = category_texts_of(frame.categories, own)
    return [texts[at] for at in places]


def _headers(frame: ScoreFrame, record: Record) -> Headers:
    headers = frame.headers(record)
    return redact_headers(headers) if headers else headers


def _positions(observed: Observed, which: NDArray[np.intp]) -> Iterator[Positions]:
    """Yield how many records of each history the decided transactions saw."""
    epoch = observed.history_epoch
    is_whole = len(which) == len(observed.fates)
    columns = {
        kind: (one.positions if is_whole else one.positions[which]).tolist() for kind, one in observed.histories.items()
    }
    counts = columns.pop(Entity.PREDICTION, None)
    predictions = repeat(msgspec.UNSET, len(which)) if counts is None else counts
    for (card, merchant, *device), prediction in zip(zip(*columns.values(), strict=True), predictions, strict=True):
        of_device = next((at for at in device if at != NOWHERE), None)
        yield Positions(epoch, card, merchant, of_device, prediction)


def _marked(frame: ScoreFrame, observed: Observed, which: NDArray[np.intp]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield each entry of `degraded` that follows from the histories, with the decided transactions that get it."""
    if observed.incomplete:
        yield HISTORY_INCOMPLETE, np.ones(len(which), np.bool_)
    yield CARD_ON_TWO_PARTITIONS, on_two_partitions(observed.cards)[which]
    if frame.settings.mark_young_history and observed.ages_days is not None:
        yield HISTORY_YOUNG, observed.ages_days[which] < frame.look_back_days


def _add_reasons(
    judgements: Sequence[Judgement], marked: Iterable[tuple[str, NDArray[np.bool_]]]
) -> Sequence[Judgement]:
    """Add entries to `degraded`; nearly always there are none."""
    for reason, flags in marked:
        if flags.any():
            judgements = [
                msgspec.structs.replace(one, degraded=(*one.degraded, reason)) if is_marked else one
                for one, is_marked in zip(judgements, flags.tolist(), strict=True)
            ]
    return judgements


def _features(
    frame: ScoreFrame, vectors: Mapping[str, NDArray[np.float64]], judgements: Sequence[Judgement]
) -> Iterator[Any]:
    """Yield the vector of each of n judgements as an object of JSON; None where the setting or an error excludes it.

    A vector becomes a struct of its set, whose names need not be looked up for each payment; NaN becomes null in JSON.
    """
    wanted, sets = frame.settings.score_features, dict[str, tuple[Callable[..., Any], list[list[float]]]]()
    for at, one in enumerate(judgements):
        if wanted == "none" or (wanted == "alerts" and not one.is_alert):
            yield None
            continue
        fingerprint = one.fingerprint or frame.fingerprint
        if fingerprint not in sets:
            sets[fingerprint] = json_type(tuple(frame.names_of(fingerprint))), vectors[fingerprint].tolist()
        of_set, rows = sets[fingerprint]
        is_undefined = UNDECIDABLE in one.degraded and all(map(isnan, rows[at]))  # nothing could be computed
        yield None if is_undefined else of_set(*rows[at])
