"""Quantities of a report are written with separators, decimals and units."""

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.ops.report.quantities import (
    Count,
    MeanMoney,
    Measure,
    Moment,
    Money,
    Percentage,
    Quantity,
    WithInterval,
    quantity_text,
)
from stream.contract.iso import CURRENCY_DECIMALS
from stream.contract.money import number_text


@pytest.mark.parametrize(
    ("quantity", "shown"),
    [
        (None, "n/a"),
        (Count(4_120), "4,120"),
        (Count(4_120, "payments"), "4,120 payments"),
        (Money(21_200_000, "EUR"), "EUR 212,000.00"),
        (Money(-150, "EUR"), "EUR -1.50"),
        (Money(-5, "EUR"), "EUR -0.05"),
        (Money(60_000, "JPY"), "JPY 60,000"),
        (Money(-1_234_567, "BHD"), "BHD -1,234.567"),
        (Percentage(0.0125), "1.25 %"),
        (Percentage(-0.5, 0), "-50 %"),
        (Percentage(-0.000001), "0.00 %"),
        (Measure(0.94149), "0.941"),
        (Measure(12.06, 1, "ms"), "12.1 ms"),
        (Measure(0.0042, 4, "EUR"), "EUR 0.0042"),
        (Moment(1_772_323_200_999), "2026-03-01 00:00:00 UTC"),
        (MeanMoney(0.42, "EUR"), "EUR 0.0042"),
        (MeanMoney(42.4, "EUR"), "EUR 0.42"),
        (WithInterval(Count(3), Count(1), Count(1_005)), "3 (1 to 1,000)"),
        (WithInterval(Percentage(0.1), None, Percentage(0.2)), "10 % (at most 20)"),
        (WithInterval(Percentage(0.1), Percentage(0.05), None), "10.0 % (at least 5.0)"),
        (WithInterval(Percentage(0.7312), Percentage(0.7123), Percentage(0.7501)), "73.1 % (71.2 to 75.0)"),
        (WithInterval(Percentage(0.1), Percentage(0.1), Percentage(0.1)), "10.00 % (10.00 to 10.00)"),
        (WithInterval(None, None, None), "no bounds"),
        (WithInterval(None, Money(-100, "EUR"), Money(100, "EUR")), "EUR -1.00 to 1.00"),
        (WithInterval(None, MeanMoney(-40.2, "EUR"), MeanMoney(110.1, "EUR")), "EUR -0.40 to 1.10"),
        (WithInterval(None, MeanMoney(0.12, "EUR"), MeanMoney(0.34, "EUR")), "EUR 0.0012 to 0.0034"),
        (
            WithInterval(Money(1_234_567, "EUR"), Money(4, "EUR"), Money(11_234_567, "EUR")),
            "EUR 10,000 (0.04 to 110,000)",
        ),
        (
            WithInterval(Money(60_000, "JPY"), Money(51_234, "JPY"), Money(71_234, "JPY")),
            "JPY 60,000 (51,000 to 71,000)",
        ),
    ],
)
def test_a_quantity_is_written_with_its_unit(quantity: Quantity | None, shown: str) -> None:
    assert quantity_text(quantity) == shown


@given(minor=st.integers(-(10**15), 10**15), currency=st.sampled_from(sorted(CURRENCY_DECIMALS)))
def test_an_amount_read_back_is_the_same_to_the_minor_unit(minor: int, currency: str) -> None:
    read = Decimal(number_text(minor, currency).replace(",", ""))
    assert read.scaleb(CURRENCY_DECIMALS[currency]) == minor


@given(
    st.floats(-1e9, 1e9).filter(lambda value: value == 0 or abs(value) > 1e-3),
    st.floats(1e-3, 1e6),
    st.floats(1e-3, 1e6),
)
def test_rounding_never_moves_an_end_of_an_interval_over_zero(estimate: float, below: float, above: float) -> None:
    low, high = estimate - below, estimate + above
    shown = WithInterval(None, Measure(low, 9), Measure(high, 9)).number.replace(",", "")
    first, last = (float(one) for one in shown.split(" to "))
    for value, written in ((low, first), (high, last)):
        assert (value > 0) == (written > 0) or abs(value) < 1e-9
        assert abs(value - written) <= 0.051 * (high - low)


@pytest.mark.parametrize("kind", [Percentage, Measure])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_undefined_is_none_and_not_a_number(kind: type[Percentage] | type[Measure], value: float) -> None:
    with pytest.raises(ValueError, match="pass None for what is undefined"):
        kind(value)


def test_money_needs_a_currency_with_a_minor_unit() -> None:
    with pytest.raises(ValueError, match="'XYZ' is not an ISO 4217 code"):
        Money(1, "XYZ")


def test_an_interval_has_one_unit() -> None:
    with pytest.raises(ValueError, match="one unit"):
        WithInterval(Money(1, "EUR"), Money(1, "USD"), Money(2, "EUR"))
