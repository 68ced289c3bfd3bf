"""Shared by tests of `stream`: records as a consumer returns them, and card numbers, which are computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from hypothesis import strategies as st

KEY = b"card-1"
LATEST_MS = 1_800_000_000_000
PAYMENT = {
    "transaction_id": "t-1",
    "card_id": "card-1",
    "merchant_id": "merchant-1",
    "occurred_at": "2026-01-31T12:00:00.123Z",
    "amount_minor": 1250,
    "currency": "EUR",
}
FULL_PAYMENT: dict[str, Any] = PAYMENT | {
    "schema": "transaction/1",
    "kind": "authorization",
    "account_id": "account-1",
    "customer_id": "customer-1",
    "device_id": "device-1",
    "mcc": "5411",
    "channel": "ecommerce",
    "merchant_country": "DE",
    "card_country": "FR",
    "latitude": 52.5,
    "longitude": -13,
    "merchant_amount_minor": 10**12,
    "merchant_currency": "JPY",
    "attributes": {"ip_country": "NG", "account_age_days": 12, "ip_distance": 1.5, "three_ds": True, "nothing": None},
}
MENTION = {
    "transaction_id": "t-1",
    "card_id": "card-1",
    "fraud": True,
    "labelled_at": "2026-02-01T00:00:00Z",
    "reported_by": "customer",
}


@dataclass
class Told:
    """A record as a consumer returns it."""

    value: bytes | None = b"{}"
    key: bytes | None = KEY
    partition: int = 0
    offset: int = 0
    headers: Sequence[tuple[str, bytes | None]] = ()
    topic: str = "transactions"
    timestamp: int = LATEST_MS
    timestamp_type: int = 0
    left_out: Sequence[str] = ()
    left_out_more: int = 0
    damage: str = ""


def text(**changes: Any) -> bytes:
    """Encode a payment."""
    return msgspec.json.encode(PAYMENT | changes)


def literally(name: str, literal: str | bytes) -> bytes:
    """Encode a payment in which one field is exactly this text, valid JSON or not."""
    piece = literal.encode() if isinstance(literal, str) else literal
    return msgspec.json.encode(PAYMENT | {name: "@here@"}).replace(b'"@here@"', piece)


def luhn(head: str) -> str:
    """Complete digits to a number that passes Luhn's check."""
    doubled = [int(digit) for digit in reversed(head)]
    total = sum(sum(divmod(2 * digit, 10)) if at % 2 == 0 else digit for at, digit in enumerate(doubled))
    return head + str(-total % 10)


CARD_NUMBER = luhn("453201511283036")


def _digits(count: int) -> st.SearchStrategy[str]:
    return st.text("0123456789", min_size=count, max_size=count)


CARD_NUMBERS = st.one_of(
    st.sampled_from((14, 16, 17, 18, 19)).flatmap(
        lambda length: st.tuples(st.sampled_from("23456"), _digits(length - 2)).map(lambda parts: luhn("".join(parts)))
    ),
    st.tuples(st.sampled_from(("34", "37")), _digits(12)).map(lambda parts: luhn("".join(parts))),
)
"""Any number that is searched for in texts."""

_SCHEMES = (
    *(("4", 13), ("4", 16), ("4", 19), ("51", 16), ("2221", 16), ("34", 15), ("37", 15), ("36", 14), ("1800", 15)),
    *(("3528", 16), ("5018", 13), ("6011", 16), ("62", 19), ("81", 17), ("82", 16), ("9792", 16)),
)
RANGE_NUMBERS = st.sampled_from(_SCHEMES).flatmap(
    lambda scheme: _digits(scheme[1] - len(scheme[0]) - 1).map(lambda rest: luhn(scheme[0] + rest))
)
"""A number of a range that schemes issue from: a card number by the contract."""
