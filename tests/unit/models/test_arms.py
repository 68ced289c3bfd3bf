"""The contract's rule of arms: the same bucket everywhere, and a ramp that only adds cards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.shares import share_text
from models.arms import Canary, bucket, parse_share
from models.errors import InvalidShareError

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
    before, after = (Canary("m", share, "s").takes(CARDS[:500]) for share in (small, large))
    assert (before <= after).all()


@pytest.mark.parametrize("share_bp", [1, 100, 1_000, 5_000, 9_999])
def test_the_share_of_the_cards_is_the_share_that_was_asked_for(share_bp: int) -> None:
    taken, expected = Canary("m", share_bp, "s").takes(CARDS).mean(), share_bp / 10_000
    assert abs(taken - expected) < 5 * (expected * (1 - expected) / len(CARDS)) ** 0.5 + 1e-9


def test_two_salts_choose_cards_that_have_nothing_to_do_with_one_another() -> None:
    first, second = (Canary("m", 5_000, salt).takes(CARDS) for salt in ("s", "t"))
    assert abs((first & second).mean() - 0.25) < 0.02


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
