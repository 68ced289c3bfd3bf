"""Decode the erasure of a card, a record of kind `erasure` among its transactions."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from fraudstream_client.field_types import Time, Token, TransactionId
from stream.contract.codes import DeadLetterCode, Rejection
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

KIND = "erasure"
"""The value of `kind`."""
SCHEMA = "transaction/1"
"""The value of `schema`."""


class ErasureRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag=KIND):
    """The erasure of a card: from here on, nothing sees its records up to `erased_at`, which is its `occurred_at`.

    `request_id` names the request of whoever asked for it, `reason` says why; both stay in the topic.
    """

    schema: Literal["transaction/1"] = "transaction/1"
    request_id: TransactionId
    card_id: Token
    occurred_at: Time
    erased_at: Time | None = None
    reason: str | None = None


class ParsedErasure(NamedTuple):
    """A valid erasure of a card's records up to a time, in ms of the Unix epoch."""

    card_id: str
    request_id: str
    erased_ms: int


_FIELDS: dict[str, Field] = {
    "request_id": Field(TransactionId, required=True),
    "card_id": Field(Token, required=True),
    "occurred_at": Field(Time, required=False, check=well_formed_time),
    "erased_at": Field(Time, required=False, check=well_formed_time),
}
_KNOWN = KnownFields([*_FIELDS, "schema", "kind", "reason"])


def read_erasure(value: bytes | None, key: bytes | None, latest_ms: int | None) -> ParsedErasure | Rejection:
    """Decode an erasure; what its seal says is another question.

    Its card is not searched for a card number: whatever was accepted once can be erased.

    Args:
        value: the record's value, a JSON object with the `kind` of an erasure.
        key: the record's key, which must be its `card_id`.
        latest_ms: the latest time that it may have, or it would erase what comes later; None: it was accepted before.
    """
    raw = decode_object(value, _KNOWN)
    if isinstance(raw, Rejection):
        return raw
    kept = schema_problem(raw.fields, SCHEMA) or read_fields(_FIELDS, raw.fields)
    if isinstance(kept, Rejection):
        return kept
    found, erased_ms = kept.values, _erased_ms(kept.values)
    if isinstance(erased_ms, Rejection):
        return erased_ms
    problem = None
    if latest_ms is not None:
        problem = key_problem(key, found["card_id"]) or _time_problem(erased_ms, latest_ms)
    return problem or ParsedErasure(found["card_id"], found["request_id"], erased_ms)


def _time_problem(erased_ms: int, latest_ms: int) -> Rejection | None:
    if erased_ms <= latest_ms:
        return None
    detail = f"{erased_ms - latest_ms} ms later than the record's timestamp and the allowed skew permit"
    return Rejection(DeadLetterCode.IN_THE_FUTURE, f"occurred_at: {detail}")


def _erased_ms(found: Mapping[str, Any]) -> int | Rejection:
    """Return the time up to which records are erased, which either of its two names may have."""
    moments = [read_time(found[name]) for name in ("occurred_at", "erased_at") if name in found]
    times_ms = {one.epoch_ms for one in moments if not isinstance(one, Rejection)}
    if not times_ms:
        return Rejection(DeadLetterCode.MISSING_FIELD, "occurred_at: absent or no time; records up to it are erased")
    if len(times_ms) > 1:
        return Rejection(DeadLetterCode.INVALID_FIELD, "erased_at: expected the same time as occurred_at")
    return times_ms.pop()
