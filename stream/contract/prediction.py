"""The record `prediction/1`: what a batch job, or a model that is too slow for the stream, predicts about a card."""

import math
from typing import Any, NamedTuple

from features.history.store import Prediction
from fraudstream_client.field_types import ModelText, Time, Token
from models.times import format_time
from stream.contract.codes import DeadLetterCode, Rejection
from stream.contract.fields import (
    Field,
    KnownFields,
    RawRecord,
    decode_object,
    key_problem,
    read_fields,
    read_time,
    schema_problem,
    well_formed_time,
)
from stream.id_rules import NO_SHAPES, IdRules
from stream.redaction import shown

SCHEMA = "prediction/1"
LARGEST_INTEGER = 2**1023
"""A larger one is no float64."""


def _finite(value: float) -> Rejection | None:
    """Reject what is no finite number."""
    if math.isfinite(value):
        return None
    return Rejection(DeadLetterCode.INVALID_FIELD, f"expected a finite number or null, got {shown(value)}")


FIELDS: dict[str, Field] = {
    "card_id": Field(Token, required=True, no_card=True),
    "name": Field(Token, required=True, no_card=True),
    "value": Field(float, required=False, check=_finite),
    "computed_at": Field(Time, required=True, check=well_formed_time),
    "model": Field(ModelText, required=False),
}
_KNOWN = KnownFields([*FIELDS, "schema"])


class ParsedPrediction(NamedTuple):
    """A prediction, and the number of fields in its record that the contract does not define."""

    prediction: Prediction
    unknown: int


class PredictionSource(NamedTuple):
    """Where a record lies, and its timestamp; `skew_ms` is how far `computed_at` may be ahead of that.

    With `accepted`, the record was accepted before, and is rejected only for what cannot be applied at all.
    """

    partition: int
    offset: int
    timestamp_ms: int
    skew_ms: int
    accepted: bool = False


def read_prediction(
    value: bytes | None, key: bytes | None, source: PredictionSource, ids: IdRules = NO_SHAPES
) -> ParsedPrediction | Rejection:
    """Decode one record of the predictions topic, or return why it is none.

    Unlike an optional field elsewhere, a `value` that is invalid, or absent rather than null, costs the record: taken
    for null, it would hide the prediction before it.
    """
    raw = decode_object(value, _KNOWN)
    if isinstance(raw, Rejection):
        return raw
    if isinstance(given := raw.fields.get("value"), int) and abs(given) > LARGEST_INTEGER:
        raw.fields["value"] = math.inf
    kept = read_fields(FIELDS, raw.fields, ids, accepted=source.accepted)
    kept = (None if source.accepted else schema_problem(raw.fields, SCHEMA)) or kept
    if isinstance(kept, Rejection):
        return kept
    problem = _value_problem(raw, kept.dropped)
    problem = problem or (None if source.accepted else key_problem(key, kept.values["card_id"]))
    return problem or _accept(kept.values, source, raw.unknown)


def _value_problem(raw: RawRecord, dropped: tuple[str, ...]) -> Rejection | None:
    if "value" not in raw.fields:
        return Rejection(DeadLetterCode.MISSING_FIELD, "value: absent; give a number, or null for no prediction")
    if "value" in dropped:
        detail = f"value: expected a finite number or null, got {shown(raw.fields['value'])}"
        return Rejection(DeadLetterCode.INVALID_FIELD, detail)
    return None


def _accept(values: dict[str, Any], source: PredictionSource, unknown: int) -> ParsedPrediction | Rejection:
    moment = read_time(values["computed_at"])
    if isinstance(moment, Rejection):
        return Rejection(moment.code, f"computed_at: {moment.detail}")
    ahead_ms = moment.epoch_ms - source.timestamp_ms - source.skew_ms
    if ahead_ms > 0 and not source.accepted:
        return Rejection(
            DeadLetterCode.IN_THE_FUTURE,
            f"computed_at: {format_time(moment.epoch_ms)} is {ahead_ms} ms later than the record's timestamp and the "
            "allowed skew permit",
        )
    prediction = Prediction(
        card_id=values["card_id"],
        name=values["name"],
        value=float(values["value"]) if "value" in values else None,
        computed_ms=moment.epoch_ms,
        arrived_ms=source.timestamp_ms,
        partition=source.partition,
        offset=source.offset,
    )
    return ParsedPrediction(prediction, unknown)
