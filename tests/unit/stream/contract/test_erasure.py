"""The erasure of a card as a record: what it must have, and that it is refused for nothing that came later."""

from typing import Any

import msgspec
import pytest

from fraudstream.ops.repair.erasing import CardErasure
from stream.contract.codes import DeadLetterCode, Rejection
from stream.contract.erasure import ErasureRecord
from stream.contract.schema import json_schema
from stream.contract.transaction import ParsedTransaction, read_accepted_transaction, read_transaction

AT_MS = 1_700_000_000_000
ASKED = {"kind": "erasure", "request_id": "r-1", "card_id": "card-1", "occurred_at": AT_MS}


def read(**changes: Any) -> ParsedTransaction | Rejection:
    """Read an erasure with changes; None leaves a field out."""
    made = {name: value for name, value in (ASKED | changes).items() if value is not None}
    return read_transaction(msgspec.json.encode(made), str(made.get("card_id")).encode(), AT_MS)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"erased_at": AT_MS},
        {"occurred_at": None, "erased_at": "2023-11-14T22:13:20Z"},
        {"unknown": [1, {}]},
        {"schema": "transaction/1"},
    ],
)
def test_an_erasure_takes_the_place_of_a_transaction(changes: dict[str, Any]) -> None:
    found = read(**changes)
    assert isinstance(found, ParsedTransaction)
    assert (found.erases, found.occurred_ms, found.transaction.transaction_id) == (True, AT_MS, "r-1")


@pytest.mark.parametrize(
    ("changes", "code", "detail"),
    [
        ({"request_id": None}, DeadLetterCode.MISSING_FIELD, "request_id"),
        ({"card_id": "no card"}, DeadLetterCode.INVALID_FIELD, "card_id"),
        ({"occurred_at": None}, DeadLetterCode.MISSING_FIELD, "occurred_at"),
        ({"occurred_at": "soon"}, DeadLetterCode.MISSING_FIELD, "occurred_at"),
        ({"erased_at": AT_MS - 1}, DeadLetterCode.INVALID_FIELD, "erased_at"),
        ({"occurred_at": AT_MS + 1}, DeadLetterCode.IN_THE_FUTURE, "1 ms later"),
        ({"schema": "transaction/2"}, DeadLetterCode.UNSUPPORTED_SCHEMA, "schema"),
    ],
)
def test_what_is_wrong_is_refused_with_what_it_is(changes: dict[str, Any], code: DeadLetterCode, detail: str) -> None:
    found = read(**changes)
    assert isinstance(found, Rejection)
    assert (found.code, detail in found.detail) == (code, True)


def test_one_that_was_accepted_is_read_under_any_key_and_clock() -> None:
    found = read_accepted_transaction(msgspec.json.encode(ASKED | {"occurred_at": AT_MS * 2}))
    assert isinstance(found, ParsedTransaction)
    assert found.erases


def test_other_kinds_are_refused_with_both_that_are_there() -> None:
    found = read(kind="refund")
    assert isinstance(found, Rejection)
    assert found.code is DeadLetterCode.UNSUPPORTED_KIND
    assert "'authorization' or 'erasure'" in found.detail


def test_the_record_that_the_command_writes_has_the_form_that_is_stated() -> None:
    value = CardErasure("card-1", AT_MS, "r-1", "asked for").value()
    stated = msgspec.json.decode(value, type=ErasureRecord)
    assert (stated.request_id, stated.reason) == ("r-1", "asked for")
    required = json_schema("transaction/1:erasure")["$defs"]["ErasureRecord"]["required"]
    assert set(required) == {"kind", "request_id", "card_id", "occurred_at"}
