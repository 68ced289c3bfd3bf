"""Quantities of a report with their units: counts, money, shares, measures, times, and each of them with an interval.

A table and a key figure take these rather than texts, so that each number has its unit, its thousands separators and
its decimals, and stands at the right of its column.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from stream.contract.iso import CURRENCY_DECIMALS
from stream.contract.money import number_text

UNKNOWN = "n/a"
"""What stands in the place of a figure that is undefined or not known yet."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Quantity(Protocol):
    """A number with its unit."""

    @property
    def number(self) -> str:
        """The number without its unit, such as "1,234.50"."""

    @property
    def unit(self) -> str:
        """The unit, such as "EUR" or "%"; empty if there is none."""


def quantity_text(quantity: Quantity | None) -> str:
    """Return a quantity with its unit: "4,120 payments", "EUR 212,000.00", "1.25 %", or "n/a" for None."""
    if quantity is None:
        return UNKNOWN
    if isinstance(quantity, WithInterval):
        return f"{quantity_text(quantity.estimate)} ({quantity.bounds})"
    if quantity.unit in CURRENCY_DECIMALS:
        return f"{quantity.unit} {quantity.number}"
    return f"{quantity.number} {quantity.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Count:
    """A number of things; `of` names them, such as "payments", and may be empty."""

    value: int
    of: str = ""

    @property
    def number(self) -> str:
        """The count with thousands separators."""
        return f"{self.value:,}"

    @property
    def unit(self) -> str:
        """What is counted."""
        return self.of


@dataclass(frozen=True, slots=True)
class Money:
    """An amount of one currency, in minor units; shown in major units.

    Raises:
        ValueError: the currency is no ISO 4217 code with a minor unit.
    """

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if self.currency not in CURRENCY_DECIMALS:
            raise ValueError(f"{self.currency!r} is not an ISO 4217 code with a minor unit")

    @property
    def number(self) -> str:
        """The amount in major units, with the currency's decimals."""
        return number_text(self.minor, self.currency)

    @property
    def unit(self) -> str:
        """The currency."""
        return self.currency


@dataclass(frozen=True, slots=True)
class Percentage:
    """A share, shown in percent.

    Attributes:
        share: 0.0125 is 1.25 %; negative for a difference.
        decimals: of the percentage.
    """

    share: float
    decimals: int = 2

    def __post_init__(self) -> None:
        _require_finite(self.share)

    @property
    def number(self) -> str:
        """The percentage, rounded to its decimals."""
        return _fixed(100 * self.share, self.decimals)

    @property
    def unit(self) -> str:
        """The percent sign."""
        return "%"


@dataclass(frozen=True, slots=True)
class Measure:
    """Any other number, such as an AUC or a latency, rounded to `decimals`."""

    value: float
    decimals: int = 3
    of: str = ""

    def __post_init__(self) -> None:
        _require_finite(self.value)

    @property
    def number(self) -> str:
        """The number, rounded to its decimals, with thousands separators."""
        return _fixed(self.value, self.decimals)

    @property
    def unit(self) -> str:
        """Its unit."""
        return self.of


@dataclass(frozen=True, slots=True)
class Moment:
    """A time, in milliseconds since 1970 UTC; shown in UTC to the second."""

    ms: int

    @property
    def number(self) -> str:
        """Date and time of day, seconds cut."""
        return f"{_EPOCH + timedelta(milliseconds=self.ms):%Y-%m-%d %H:%M:%S}"

    @property
    def unit(self) -> str:
        """The zone."""
        return "UTC"


@dataclass(frozen=True, slots=True)
class WithInterval:
    """An estimate and the ends of its interval, all of one unit; None where there is none, or no bound."""

    estimate: Quantity | None
    low: Quantity | None
    high: Quantity | None

    def __post_init__(self) -> None:
        if len({part.unit for part in (self.estimate, self.low, self.high) if part is not None}) > 1:
            raise ValueError("an estimate and the ends of its interval must have one unit")

    @property
    def number(self) -> str:
        """The estimate and its interval, such as "1.25 (1.10 to 1.41)"."""
        return f"{UNKNOWN if self.estimate is None else self.estimate.number} ({self.bounds})"

    @property
    def bounds(self) -> str:
        """The interval without its unit."""
        if self.low is not None and self.high is not None:
            return f"{self.low.number} to {self.high.number}"
        if self.low is not None:
            return f"at least {self.low.number}"
        return "no bounds" if self.high is None else f"at most {self.high.number}"

    @property
    def unit(self) -> str:
        """The unit of the parts."""
        return next((part.unit for part in (self.estimate, self.low, self.high) if part is not None), "")


def _fixed(value: float, decimals: int) -> str:
    """Return a number of so many decimals; one that rounds to 0 has no sign."""
    rounded = f"{value:,.{decimals}f}"
    return rounded.lstrip("-") if not rounded.strip("-0.,") else rounded


def _require_finite(value: float) -> None:
    """Refuse NaN and infinities.

    Raises:
        ValueError: the value is one of them.
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} is no figure: pass None for what is undefined or not known")
