"""The contract's rule of arms: the same bucket everywhere, and a ramp that only adds cards."""

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream_client.arms import bucket
from guards.errors import OtherHashKeyError
from guards.excluded import ExcludedCards
from guards.shares import share_text
from models.arms import Arm, Canary, Split, parse_share
from models.errors import InvalidShareError
from support.hashed_cards import OTHER_KEY, exclusion_key, hashed

CARDS = [f"card-{number}" for number in range(20_000)]

KNOWN = [
    ("salt", "card-1", 3_990),
    ("salt", "card-2", 2_395),
    ("r-2026-11", "card-1", 9_841),
    ("x" * 64, "a" * 64, 2_785),
]
"""By OpenSSL: `printf %s card-1 | openssl mac -macopt hexkey:73616c74 -macopt size:8 BLAKE2BMAC`, modulo 10,000."""


@pytest.mark.parametrize(("salt", "card_id", "expected"), KNOWN)
def test_a_cards_bucket_is_that_of_the_contract(salt: str, card_id: str, expected: int) -> None:
    assert bucket(salt, card_id) == expected


@given(st.integers(1, 9_998), st.integers(1, 9_999))
def test_a_larger_share_keeps_every_card_of_a_smaller_one(share_bp: int, more_bp: int) -> None:
    small, large = sorted((share_bp, max(share_bp + 1, more_bp)))
    before, after = (taken(Canary("m", share, "s"), CARDS[:500]) for share in (small, large))
    assert before <= after


def test_two_salts_choose_cards_that_have_nothing_to_do_with_one_another() -> None:
    first, second = (taken(Canary("m", 5_000, salt)) for salt in ("s", "t"))
    assert abs(len(first & second) / len(CARDS) - 0.25) < 0.02


def taken(canary: Canary, cards: list[str] = CARDS) -> set[str]:
    return {card for card, arm in zip(cards, canary.split.arms_of(cards), strict=True) if arm == "canary"}


def arm_by_the_contract(card_id: str, arms: dict[str, int], salt: str) -> str:
    """Return a card's arm by the words of the contract: ranges one behind the other, in the order of the names."""
    digest = hashlib.blake2b(card_id.encode("utf-8"), digest_size=8, key=salt.encode("utf-8")).digest()
    place, end = int.from_bytes(digest, "big") % 10_000, 0
    for name in sorted(arms):
        end += arms[name]
        if place < end:
            return name
    return "live"


SHARES = st.dictionaries(
    st.text("abz019._:@-", min_size=1, max_size=3), st.integers(1, 1_428), min_size=1, max_size=7
) | st.just({"a": 5_000, "b": 5_000})


@given(SHARES, st.text("st0", min_size=1, max_size=64), st.frozensets(st.sampled_from(CARDS[:300])))
def test_each_cards_arm_is_that_of_the_contract(shares: dict[str, int], salt: str, exclude: frozenset[str]) -> None:
    arms = tuple(Arm(name, "m", shares[name]) for name in sorted(shares))
    split = Split(arms, salt, ExcludedCards.of(exclude, None))
    expected = ["live" if card in exclude else arm_by_the_contract(card, shares, salt) for card in CARDS[:300]]
    assert split.arms_of(CARDS[:300]) == expected
    assert split.live_bp == 10_000 - sum(shares.values())
    with exclusion_key():
        assert split._replace(exclude=hashed(*exclude)).arms_of(CARDS[:300]) == expected


def test_no_arm_is_told_where_excluded_cards_are_not_known() -> None:
    split = Split((Arm("a", "m", 5_000),), "s", hashed("card-1"))
    for key in (b"", OTHER_KEY):
        with exclusion_key(key), pytest.raises(OtherHashKeyError, match="set FRAUDSTREAM_HASH_KEY_FILE to the file of"):
            split.arms_of(["card-2"])


def test_an_arm_has_the_share_that_was_asked_for_and_what_is_left_is_lives() -> None:
    split = Split((Arm("a", "m", 1_000), Arm("b", "n", 2_500)), "s")
    found = Counter(split.arms_of(CARDS))
    for name, share in {"a": 0.1, "b": 0.25, "live": 0.65}.items():
        assert abs(found[name] / len(CARDS) - share) < 5 * (share * (1 - share) / len(CARDS)) ** 0.5


@pytest.mark.parametrize(
    ("text", "share_bp"), [("1%", 100), ("0.01%", 1), ("12.5 %", 1_250), ("99.99%", 9_999), (" 100% ", 10_000)]
)
def test_a_share_is_a_percentage(text: str, share_bp: int) -> None:
    assert parse_share(text) == share_bp
    assert parse_share(share_text(share_bp)) == share_bp


@pytest.mark.parametrize("text", ["", "1", "0%", "0.001%", "100.01%", "-1%", "1e1%", "%", "1%%", "\u0661%"])
def test_what_is_no_share_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(
        InvalidShareError, match=r"a percentage from 0\.01% to 100% in steps of 0\.01, such as 1%, not "
    ):
        parse_share(text)
