"""The port: what programs beside the workers read of a fleet's topics, decoded once and told valid by one rule.

A score is read as a `ScoreView`, the outcome of a label as a `LabelView`: every field that a reader beside the fleet
goes by, as strict as in the contract; a score's features as they stand, which few readers need. Whoever reads a topic
for several purposes decodes it once, and hands each of them the same records.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import msgspec

from fraudstream_client.field_types import (
    AmountMinor,
    Band,
    Count,
    CurrencyCode,
    Propensity,
    TimeText,
    Token,
    TransactionId,
    Unit,
)
from fraudstream_client.inputs import Reporter
from fraudstream_client.outputs import DecidedBy, Decision, LabelStatus, ModelName, Overruled, Source
from fraudstream_client.validity import Headers, Standing, place_of
from models.times import stated_ms
from stream.engine.unpacking import FetchedRecord

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises for bytes that are no record."""


class HistoryEpoch(msgspec.Struct, frozen=True, gc=False):
    """Which histories a decision saw; each loss of histories raises the epoch."""

    history_epoch: Count = 0


class ScoreView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A `score/1`, without what no reader beside the fleet goes by; see `fraudstream_client.Score`.

    Reading it takes half the time of a whole score, nearly all of which is for the features.
    """

    schema: Literal["score/1"] = "score/1"
    transaction_id: TransactionId
    card_id: Token
    occurred_at: TimeText
    amount_minor: AmountMinor
    currency: CurrencyCode
    score: Unit | None = None
    band: Band | None = None
    decision: Decision
    decided_by: DecidedBy
    model: ModelName | None = None
    arm: str | None = None
    overruled: Overruled | None = None
    propensity: Propensity | None = None
    deployment: str = ""
    revision: Count
    code_version: str = ""
    features: msgspec.Raw = msgspec.Raw(b"null")
    positions: HistoryEpoch = HistoryEpoch()
    degraded: tuple[str, ...] = ()
    epoch: Count
    source: Source
    scored_at: TimeText
    latency_ms: int = 0

    @property
    def place(self) -> int:
        """The place of its transaction, see `place_of`."""
        return place_of(self.source.log, self.source.offset)

    @property
    def digest(self) -> str | None:
        """The model that scored it; None if rules decided."""
        return None if self.model is None else self.model.digest

    @property
    def ruled(self) -> Decision:
        """What the arm's artifact decided: its model, or what stood in for it, and the rules beside that."""
        return self.decision if self.overruled is None else self.overruled.after_rules(self.decision)

    @property
    def occurred_ms(self) -> int:
        """When the payment occurred, in epoch milliseconds."""
        return stated_ms(self.occurred_at)

    @property
    def scored_ms(self) -> int:
        """When it was decided, in epoch milliseconds."""
        return stated_ms(self.scored_at)

    def is_of(self, deployment: str) -> bool:
        """Tell whether a deployment made it; versions before deployments were told apart wrote no name."""
        return self.deployment in (deployment, "")


read_view = msgspec.json.Decoder(ScoreView).decode
"""Decode the value of a record of `scores`; raises one of `UNREADABLE`."""


class LabelView(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The `outcome/1` of a label; see `fraudstream_client.Outcome`. One of a prediction is none."""

    schema: Literal["outcome/1"] = "outcome/1"
    kind: Literal["label"] = "label"
    transaction_id: TransactionId
    card_id: Token
    occurred_at: TimeText | None = None
    fraud: bool
    labelled_at: TimeText
    reported_by: Reporter
    fraud_type: str | None = None
    deployment: str = ""
    status: LabelStatus
    source: Source

    @property
    def place(self) -> int:
        """The place of the label's own record, see `place_of`."""
        return place_of(self.source.log, self.source.offset)

    def is_of(self, deployment: str) -> bool:
        """Tell whether a deployment made it; versions before deployments were told apart wrote no name."""
        return self.deployment in (deployment, "")


class _OutcomeKind(msgspec.Struct):
    kind: str = "label"


_decode_label = msgspec.json.Decoder(LabelView).decode
_decode_kind = msgspec.json.Decoder(_OutcomeKind).decode


def read_label_view(value: bytes | None) -> LabelView | None:
    """Decode the value of a record of `outcomes`; return None if it is the outcome of a prediction.

    Raises one of `UNREADABLE` if it is neither.
    """
    try:
        return _decode_label(value or b"")
    except msgspec.ValidationError:
        if is_of_prediction(value):
            return None
        raise


def is_of_prediction(value: bytes | None) -> bool:
    """Tell whether a record of `outcomes` is that of a prediction, which states no label."""
    try:
        return _decode_kind(value or b"").kind == "prediction"
    except UNREADABLE:
        return False


class ViewedRecord(NamedTuple):
    """A record of `scores`, read.

    Attributes:
        partition: of `scores`.
        offset: there.
        timestamp: in epoch milliseconds.
        headers: as they came.
        view: the score; None if the record is none that can be read.
    """

    partition: int
    offset: int
    timestamp: int
    headers: Headers
    view: ScoreView | None


def read_scores(records: Iterable[FetchedRecord]) -> list[ViewedRecord]:
    """Decode records of `scores`."""
    return [
        ViewedRecord(record.partition, record.offset, record.timestamp, record.headers, _view_of(record.value))
        for record in records
    ]


def _view_of(value: bytes | None) -> ScoreView | None:
    try:
        return read_view(value or b"")
    except UNREADABLE:
        return None


@dataclass(slots=True)
class ValidViews:
    """Tells which scores are valid, each partition in order, and counts the others.

    Attributes:
        standings: by partition, to go on from.
        void: scores that are not valid, by partition.
        unreadable: records that are no score.
    """

    standings: dict[int, Standing] = field(default_factory=dict)
    void: dict[int, int] = field(default_factory=dict)
    unreadable: int = 0

    def of(self, records: Iterable[ViewedRecord]) -> Iterator[tuple[ViewedRecord, ScoreView]]:
        """Yield each record that holds a valid score, with the score."""
        for record in records:
            if (view := record.view) is None:
                self.unreadable += 1
                continue
            partition, place = record.partition, view.place
            standing = self.standings.get(partition, Standing())
            self.standings[partition] = standing.after(view.epoch, place)
            if standing.is_valid(view.epoch, place):
                yield record, view
            else:
                self.void[partition] = self.void.get(partition, 0) + 1

    @property
    def all_void(self) -> int:
        """The scores that are not valid, over all partitions."""
        return sum(self.void.values())

    def last_place(self, partition: int) -> int:
        """Return the place of the last valid score of a partition; -1 if there was none."""
        return self.standings.get(partition, Standing()).last_place


def feature_rows(views: Sequence[ScoreView], names: Sequence[str]) -> list[tuple[float | None, ...] | None]:
    """Return the features of scores in an order, None where one is undefined; None in place of scores without any."""
    decode = _decoder_of(tuple(names))
    return [_row(decode, view.features) for view in views]


def _row(decode: Callable[[msgspec.Raw], msgspec.Struct | None], features: msgspec.Raw) -> tuple[Any, ...] | None:
    try:
        found = decode(features)
    except UNREADABLE:
        return None
    return None if found is None else msgspec.structs.astuple(found)


@lru_cache(maxsize=32)
def _decoder_of(names: tuple[str, ...]) -> Callable[[msgspec.Raw], Any]:
    """Return what reads an object into a row: without the keys' texts, which take as long as all values."""
    fields = [(f"f{place}", float | None, msgspec.field(default=None, name=name)) for place, name in enumerate(names)]
    row = msgspec.defstruct("FeatureRow", fields, frozen=True, gc=False)
    return msgspec.json.Decoder(row | None).decode
