"""Excluded cards are known by id or by keyed hash, at little cost, and by nobody who has another key."""

import re

import msgspec
import pytest

from features.history.records import card_hash, use_hash_key
from guards.errors import OtherHashKeyError
from guards.excluded import ExcludedCards, exclusion_key_check, is_hash
from models.commands import Token
from support.hashed_cards import KEY, OTHER_KEY, check_by_the_contract, exclusion_key, hash_by_the_contract, hashed

CARDS = ("card-1", "card-2", "c:3@x")
BY_OPENSSL = "h1=e9cf4ff780ee5cbe8eee609961ad68b3"
"""By OpenSSL: `printf %s card-1 | openssl mac -macopt hexkey:0001…1f -macopt size:16 -macopt custom:… BLAKE2BMAC`."""


def test_a_card_is_hashed_as_anybody_with_the_key_can_compute_it() -> None:
    with exclusion_key():
        assert ExcludedCards.of_cards(CARDS) == hashed(*CARDS)
        assert exclusion_key_check() == check_by_the_contract()
        assert "card-1" in ExcludedCards.of([BY_OPENSSL], exclusion_key_check())
    assert hash_by_the_contract("card-1") == BY_OPENSSL


def test_without_a_key_cards_are_named_by_their_ids() -> None:
    cards = ExcludedCards.of_cards(CARDS)
    assert (cards.entries, cards.key_check, exclusion_key_check()) == (tuple(sorted(CARDS)), None, None)
    assert [card in cards for card in (*CARDS, "card-9")] == [True, True, True, False]


@pytest.mark.parametrize("cards", [ExcludedCards.of(CARDS, None), hashed(*CARDS)], ids=["ids", "hashes"])
def test_ids_and_hashes_exclude_the_same_cards(cards: ExcludedCards) -> None:
    with exclusion_key():
        assert [card in cards for card in (*CARDS, "card-9", "")] == [True, True, True, False, False]
    assert (len(cards), bool(cards), bool(ExcludedCards())) == (3, True, False)
    assert ExcludedCards.of(cards.entries, cards.key_check) == cards


def test_a_hash_can_be_no_id_and_no_id_a_hash() -> None:
    """So older records are read as they were meant, and a version before refuses a hash as no card."""
    for entry in hashed(*CARDS).entries:
        assert is_hash(entry)
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(entry, Token)
    assert not any(map(is_hash, (*CARDS, "h1", "h1:" + "0" * 32, "0" * 32)))


def test_a_hash_is_not_what_names_the_cards_history() -> None:
    use_hash_key(KEY)
    try:
        named = card_hash("card-1").to_bytes(8, "little", signed=True).hex()
    finally:
        use_hash_key(b"")
    assert named not in BY_OPENSSL


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (b"", "2 excluded cards are hashed with a key, and this process has none, so it is not known here which"),
        (OTHER_KEY, "2 excluded cards are hashed with another key than FRAUDSTREAM_HASH_KEY_FILE, so it is not known"),
    ],
    ids=["none", "another"],
)
def test_hashes_of_another_key_are_told_and_never_taken_for_other_cards(key: bytes, message: str) -> None:
    cards = hashed("card-1", "card-2")
    with exclusion_key(key):
        assert message in str(cards.key_problem())
        for look in (lambda: "card-1" in cards, lambda: "card-9" in cards, cards.require_key):
            with pytest.raises(OtherHashKeyError, match=re.escape(message)):
                look()
        assert ExcludedCards.of(CARDS, None).key_problem() is None
        ExcludedCards().require_key()


def test_hashes_of_an_unstated_key_are_known_to_nobody() -> None:
    cards = ExcludedCards.of(hashed("card-1").entries, None)
    for key in (b"", KEY):
        with exclusion_key(key):
            assert cards.key_problem() is not None


def test_the_check_value_tells_keys_apart() -> None:
    found = set()
    for key in (KEY, OTHER_KEY, KEY[:31], b"o" * 64):
        with exclusion_key(key):
            found.add(exclusion_key_check())
    assert len(found) == 4
    assert ExcludedCards.of(CARDS, "0" * 32).key_check is None, "ids have no key"
