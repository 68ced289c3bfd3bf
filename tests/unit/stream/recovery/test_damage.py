"""The search for the records of damaged histories passes over what was refused, and over nothing else."""

import msgspec
import pytest

from features.history.records import HASHES, card_hash
from features.history.store import Entity
from features.redis.damage import DamagedHistory
from features.redis.keys import KeyLayout
from stream.contract.transaction import ParsedTransaction, read_transaction
from stream.recovery.damage import EntitySearch
from support.stream_records import KEY, LATEST_MS, PAYMENT, Told, literally, text

LAYOUT = KeyLayout("", "default", 1)
DEEP = b"[" * 20_000 + b"]" * 20_000


def search(kind: Entity, name: str) -> EntitySearch:
    key = LAYOUT.key(kind, HASHES[kind](name))
    found = LAYOUT.parse(key)
    assert found is not None
    return EntitySearch([DamagedHistory(*found, key, 0)])


@pytest.mark.parametrize(
    "value", [None, b"", b"[", b"\xff", b"5", literally("x", DEEP), b'{"card_id":5}', b'{"card_id":"\xff"}']
)
def test_a_record_without_readable_names_is_passed_over(value: bytes | None) -> None:
    found = Told(text())
    assert search(Entity.CARD, "card-1").transactions([Told(value), found]) == [found]
    assert search(Entity.CARD, "card-1").labels([Told(value)]) == []


@pytest.mark.parametrize(
    "value",
    [
        literally("device_id", "1e400"),
        literally("device_id", "9" * 5_000),
        literally("device_id", "[1]"),
        literally("x", "[" * 400 + "]" * 400),
        b'{"card_id":5,' + msgspec.json.encode(PAYMENT)[1:],
    ],
)
def test_a_payment_with_an_odd_optional_field_or_one_given_twice_is_found(value: bytes) -> None:
    assert isinstance(read_transaction(value, KEY, LATEST_MS), ParsedTransaction)
    for kind, name in ((Entity.CARD, "card-1"), (Entity.MERCHANT, "merchant-1")):
        assert search(kind, name).transactions([Told(value)]) == [Told(value)]


def test_a_name_that_is_too_long_is_none_and_not_kept_in_memory_with_its_hash() -> None:
    cached = card_hash.cache_info().currsize
    assert search(Entity.CARD, "card-1").transactions([Told(text(card_id="c" * 100_000))]) == []
    assert card_hash.cache_info().currsize <= cached + 1
    escaped = Told(literally("transaction_id", '"' + "\\ud83d\\ude00" * 64 + '"'))
    assert search(Entity.CARD, "card-1").transactions([escaped]) == [escaped]


def test_a_payment_of_others_is_passed_over() -> None:
    assert search(Entity.CARD, "card-2").transactions([Told(text())]) == []
    assert search(Entity.DEVICE, "device-1").transactions([Told(text())]) == []
    with_device = Told(text(device_id="device-1"))
    assert search(Entity.DEVICE, "device-1").transactions([with_device]) == [with_device]
