"""Costs as people write them."""

import pytest

from fraudstream.ops.rollout.outcomes.costs import Cost, parse_cost
from fraudstream.ops.rollout.verdict.terms import VerdictOptions, known_currency


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("EUR 3.00", ("EUR", Cost(300, 0))),
        ("EUR 2.00 + 5%", ("EUR", Cost(200, 500))),
        ("EUR 2 5%", ("EUR", Cost(200, 500))),
        ("JPY 300, 0.25 %", ("JPY", Cost(300, 25))),
        ("KWD 1.500", ("KWD", Cost(1_500, 0))),
        ("EUR 0 + 100%", ("EUR", Cost(0, 10_000))),
    ],
)
def test_a_cost_is_a_fixed_sum_and_a_share(text: str, expected: tuple[str, Cost]) -> None:
    assert parse_cost(text) == expected
    currency, cost = expected
    assert parse_cost(cost.text(currency)) == expected


@pytest.mark.parametrize(
    "text", ["", "3.00", "EUR", "5%", "EUR 2.005", "XXX 1", "EUR 1 + 101%", "EUR 1 + 2% + 3%", "EUR -1"]
)
def test_what_is_no_cost_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no cost|is not an ISO 4217|decimals|no amount|more than the amount"):
        parse_cost(text)


def test_defaults_are_in_minor_units_whatever_the_currency() -> None:
    terms = VerdictOptions().terms("JPY")
    assert terms.currency == "JPY"
    assert (terms.costs.review_fixed_minor, terms.costs.decline_share_bp, terms.cap_minor) == (300, 500, 50_000)


def test_a_currency_is_known_or_refused() -> None:
    assert known_currency("eur") == "EUR"
    with pytest.raises(ValueError, match="ISO 4217"):
        known_currency("EURO")
