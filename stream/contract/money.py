"""Amounts of money as people write them: in the currency's major unit, with the decimals that ISO 4217 gives it."""

import re
from collections.abc import Mapping
from decimal import Decimal

from stream.contract.iso import CURRENCY_DECIMALS

_AMOUNT = re.compile(r"([A-Z]{3}) ?([0-9]{1,13}(?:\.[0-9]{1,4})?)(?: a day)?")


def number_text(amount_minor: int, currency: str) -> str:
    """Return an amount without its currency: 123450 in EUR is "1,234.50", and -150 is "-1.50"."""
    decimals = CURRENCY_DECIMALS.get(currency, 0)
    whole, rest = divmod(abs(amount_minor), 10**decimals)
    sign = "-" if amount_minor < 0 else ""
    return f"{sign}{whole:,}.{rest:0{decimals}d}" if decimals else f"{sign}{whole:,}"


def money_text(amounts: Mapping[str, int]) -> str:
    """Return amounts by currency: "EUR 500.00, JPY 60,000"."""
    return ", ".join(f"{currency} {number_text(amount, currency)}" for currency, amount in amounts.items())


def parse_daily_amount(text: str) -> tuple[str, int]:
    """Return the currency and the minor units of an amount such as "EUR 500 a day" or "JPY 60000".

    Raises:
        ValueError: the text is no such amount, the currency is unknown or has fewer decimals.
    """
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no amount such as 'EUR 500 a day'")
    currency, number = found[1], Decimal(found[2])
    if currency not in CURRENCY_DECIMALS:
        raise ValueError(f"{currency} is not an ISO 4217 code with a minor unit")
    minor = number.scaleb(CURRENCY_DECIMALS[currency])
    if minor != minor.to_integral_value():
        raise ValueError(f"{text!r}: {currency} has {CURRENCY_DECIMALS[currency]} decimals")
    return currency, int(minor)
