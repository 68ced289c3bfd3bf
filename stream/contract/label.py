"""The record `label/1`: whether a transaction was fraud, as case management reported it, and when."""

from typing import Any, NamedTuple

from features.history.store import Label
from fraudstream_client.field_types import FraudType, Time, Token, TransactionId
from fraudstream_client.inputs import Reporter
from stream.contract.codes import Rejection
from stream.contract.fields import (
    Field,
    KnownFields,
    decode_object,
    key_problem,
    read_fields,
    read_time,
    schema_problem,
    well_formed_time,
)
from stream.id_rules import NO_SHAPES, IdRules

SCHEMA = "label/1"

FIELDS: dict[str, Field] = {
    "transaction_id": Field(TransactionId, required=True),
    "card_id": Field(Token, required=True, no_card=True),
    "fraud": Field(bool, required=True),
    "labelled_at": Field(Time, required=True, check=well_formed_time),
    "reported_by": Field(Reporter, required=True),
    "merchant_id": Field(Token, required=False, no_card=True),
    "occurred_at": Field(Time, required=False, check=well_formed_time),
    "fraud_type": Field(FraudType, required=False),
}
_KNOWN = KnownFields([*FIELDS, "schema"])


class ParsedLabel(NamedTuple):
    """A label, the number of fields in its record that the contract does not define, and the kind of fraud."""

    label: Label
    unknown: int
    fraud_type: str | None = None


def read_label(
    value: bytes | None,
    key: bytes | None,
    source: tuple[int, int],
    ids: IdRules = NO_SHAPES,
    *,
    accepted: bool = False,
) -> ParsedLabel | Rejection:
    """Decode one record of the labels topic; `source` is its partition and offset.

    One that was `accepted` before is rejected only for what cannot be applied at all.
    """
    raw = decode_object(value, _KNOWN)
    if isinstance(raw, Rejection):
        return raw
    problem = None if accepted else schema_problem(raw.fields, SCHEMA)
    if problem is not None:
        return problem
    kept = read_fields(FIELDS, raw.fields, ids, accepted=accepted)
    if isinstance(kept, Rejection):
        return kept
    problem = None if accepted else key_problem(key, kept.values["card_id"])
    return problem or ParsedLabel(_label(kept.values, source), raw.unknown, kept.values.get("fraud_type"))


def _label(kept: dict[str, Any], source: tuple[int, int]) -> Label:
    return Label(
        transaction_id=kept["transaction_id"],
        card_id=kept["card_id"],
        fraud=kept["fraud"],
        labelled_ms=_milliseconds(kept["labelled_at"]),
        reported_by=kept["reported_by"],
        merchant_id=kept.get("merchant_id"),
        occurred_ms=_milliseconds(kept["occurred_at"]) if "occurred_at" in kept else None,
        partition=source[0],
        offset=source[1],
    )


def _milliseconds(value: int | str) -> int:
    moment = read_time(value)
    if isinstance(moment, Rejection):
        raise TypeError(f"{value!r} passed the field check but is not a time: {moment.detail}")
    return moment.epoch_ms
