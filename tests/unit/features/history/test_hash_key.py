"""Hashes of ids depend on the process's key, and values of features do not."""

from collections.abc import Iterator

import pytest

from features.history import records
from features.history.records import LONGEST_HASH_KEY, hash_key_check, use_hash_key


@pytest.fixture(autouse=True)
def _without_a_key_afterwards() -> Iterator[None]:
    yield
    use_hash_key(b"")


def hashes() -> tuple[int, ...]:
    return (
        records.card_hash("card-1"),
        records.merchant_hash("card-1"),
        records.device_hash("card-1"),
        records.prediction_name_hash("card-1"),
        records.transaction_hash("card-1", "t-1"),
    )


def test_without_a_key_hashes_are_those_of_earlier_versions() -> None:
    assert records.card_hash("card-1") == 7_592_349_076_938_679_652
    assert hash_key_check() == ""


def test_another_key_gives_other_hashes_at_once_and_the_same_one_the_same() -> None:
    found = {}
    for key in (b"", b"k" * 32, b"o" * 32, b"k" * LONGEST_HASH_KEY, b"k" * 32):
        use_hash_key(key)
        found.setdefault(key, []).append((*hashes(), hash_key_check()))
    assert len({one for several in found.values() for one in several}) == 4
    assert len(set(found[b"k" * 32])) == 1
    assert all(len(set(one[:3])) == 3 for (one, *_) in found.values()), "kinds are separated"


def test_with_another_key_no_kind_of_hash_stays_as_it_was() -> None:
    before = hashes()
    use_hash_key(b"k" * 32)
    assert [one for one, was in zip(hashes(), before, strict=True) if one == was] == []
