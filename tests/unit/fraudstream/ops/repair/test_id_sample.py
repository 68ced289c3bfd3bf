"""What the rules on card numbers would refuse is counted by field, and no id is kept."""

import json

import pytest

from fraudstream.ops.repair import id_sample
from fraudstream.ops.repair.id_sample import IdCount, IdSample, sample_ids
from stream.id_rules import NO_SHAPES, read_shapes
from stream.settings import Settings
from support.fleet.payments import luhn, payment
from support.scans import GivenScan, give_scans
from support.stream_records import Told

NUMBER = luhn("453201511283036")
NO_NUMBER = "4532015112830361"
"""Sixteen digits that fail Luhn."""


def sampled(*records: object, shapes: str = "") -> IdSample:
    sample = IdSample(read_shapes(shapes))
    for record in records:
        sample.add(record if isinstance(record, bytes) else json.dumps(record).encode())
    return sample


def test_refused_ids_are_counted_by_field_with_the_shapes_that_all_of_its_ids_have() -> None:
    first = payment(1, card_id=NUMBER, device_id=NUMBER, account_id="a-1")
    second = payment(2, card_id=NO_NUMBER, device_id="d-2", account_id="a-2", customer_id="a" * 32)
    found = {one.field: one for one in sampled(first, second).counts()}
    assert found["card_id"] == IdCount("card_id", 2, 1, ["digits:16"])
    assert found["device_id"] == IdCount("device_id", 2, 1, [])
    assert found["account_id"] == IdCount("account_id", 2, 0, [])
    assert found["customer_id"].shapes == ["hex32"]
    assert [one.field for one in found.values() if one.costs_records] == ["card_id"]


def test_what_has_a_declared_shape_is_not_counted() -> None:
    (card, *_) = sampled(payment(1, card_id=NUMBER), shapes="card_id=digits:16").counts()
    assert (card.refused, card.costs_records) == (0, False)


@pytest.mark.parametrize("value", [b"", b"no json", b'["card_id"]', b'{"card_id":"' + b"x" * 20_000 + b'"}', b"\xff"])
def test_records_that_cannot_be_read_are_counted(value: bytes) -> None:
    sample = sampled(value, {"card_id": 17, "merchant_id": None, "device_id": ""})
    assert (sample.records, sample.unreadable, list(sample.counts())) == (2, 1, [])


@pytest.mark.parametrize("hangs", [False, True])
async def test_the_last_records_are_read_until_the_ends_or_until_the_time_is_over(
    hangs: bool,  # noqa: FBT001 - a parameter
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = [Told(json.dumps(payment(1, card_id=NUMBER)).encode(), b"k"), Told(None, b"k")]
    asked = give_scans(monkeypatch, id_sample, {"transactions": GivenScan([records], hangs=hangs)})
    found = await sample_ids(Settings(), "transactions", 500, 0.05 if hangs else 60.0, NO_SHAPES)
    ((topic, since_ms, before),) = asked
    assert (topic, since_ms > 2**49, before) == ("transactions", True, 500)
    assert (found.topic, found.records, found.unreadable, found.is_whole) == ("transactions", 2, 1, not hangs)
    assert NUMBER not in repr(found)
