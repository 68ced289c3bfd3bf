"""Quantities of a report with their units: counts, money, shares, measures, times, and each of them with an interval.

A table and a key figure take these rather than texts, so that each number has its unit, its thousands separators and
its decimals, and stands at the right of its column.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from stream.contract.iso import CURRENCY_DECIMALS
from stream.contract.money import number_text

UNKNOWN = "n/a"
"""What stands in the place of a figure that is undefined or not known yet."""
_SIGNIFICANT = 2
"""Digits of an interval's width: further ones tell nothing."""
_SMALL_MINOR = 10
"""A mean amount below so many minor units has further decimals."""
_FINER = 2
"""Decimals of a mean amount beyond those of its currency."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Quantity(Protocol):
    """A number with its unit."""

    @property
    def number(self) -> str:
        """The number without its unit, such as "1,234.50"."""

    @property
    def unit(self) -> str:
        """The unit, such as "EUR" or "%"; empty if there is none."""


class Numeric(Quantity, Protocol):
    """A quantity that may have an interval, so that it can be rounded to what the interval tells."""

    @property
    def magnitude(self) -> float:
        """The number in its unit, such as 1234.5 for 1,234.50 EUR."""

    def rounded(self, places: int) -> str:
        """Return the number, rounded to so many decimals; negative: to tens, hundreds and so on."""


def quantity_text(quantity: Quantity | None) -> str:
    """Return a quantity with its unit: "4,120 payments", "EUR 212,000.00", "1.25 %", or "n/a" for None."""
    if quantity is None:
        return UNKNOWN
    if isinstance(quantity, WithInterval):
        return quantity.text
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
    def magnitude(self) -> float:
        """The count."""
        return self.value

    def rounded(self, places: int) -> str:
        """Return the count, rounded to tens, hundreds and so on."""
        return _rounded(self.value, places, 0)

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
    def magnitude(self) -> float:
        """The amount in major units."""
        return float(self.minor / 10 ** CURRENCY_DECIMALS[self.currency])

    def rounded(self, places: int) -> str:
        """Return the amount in major units; whole ones, or with all of the currency's decimals."""
        return _major(self.magnitude, places, CURRENCY_DECIMALS[self.currency])

    @property
    def unit(self) -> str:
        """The currency."""
        return self.currency


@dataclass(frozen=True, slots=True)
class MeanMoney:
    """A mean amount of one currency, in minor units and parts of these; below one major unit with two more decimals.

    Raises:
        ValueError: the mean is NaN or infinite.
    """

    minor: float
    currency: str

    def __post_init__(self) -> None:
        _require_finite(self.minor)

    @property
    def number(self) -> str:
        """The amount in major units."""
        decimals = CURRENCY_DECIMALS[self.currency]
        is_small = abs(self.minor) < _SMALL_MINOR and self.minor != round(self.minor)
        return _fixed(self.magnitude, decimals + (_FINER if is_small else 0))

    @property
    def magnitude(self) -> float:
        """The amount in major units."""
        return float(self.minor / 10 ** CURRENCY_DECIMALS[self.currency])

    def rounded(self, places: int) -> str:
        """Return the amount in major units; whole ones, or with the currency's decimals and at most two more."""
        decimals = CURRENCY_DECIMALS[self.currency]
        return _major(self.magnitude, places, decimals, decimals + _FINER)

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
    def magnitude(self) -> float:
        """The percentage."""
        return 100 * self.share

    def rounded(self, places: int) -> str:
        """Return the percentage, with at most its decimals."""
        return _rounded(self.magnitude, places, self.decimals)

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
    def magnitude(self) -> float:
        """The number."""
        return self.value

    def rounded(self, places: int) -> str:
        """Return the number, with at most its decimals."""
        return _rounded(self.value, places, self.decimals)

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
    """An estimate and the ends of its interval, all of one unit; None where there is none, or no bound.

    All three are rounded to two significant digits of the interval.
    """

    estimate: Numeric | None
    low: Numeric | None
    high: Numeric | None

    def __post_init__(self) -> None:
        if len({part.unit for part in (self.estimate, self.low, self.high) if part is not None}) > 1:
            raise ValueError("an estimate and the ends of its interval must have one unit")

    @property
    def number(self) -> str:
        """The estimate and its interval, such as "1.25 (1.10 to 1.41)"; the interval alone without an estimate."""
        return self.bounds if self.estimate is None else f"{self._written(self.estimate)} ({self.bounds})"

    @property
    def text(self) -> str:
        """The estimate and its interval with their unit, once, such as "EUR 1.25 (1.10 to 1.41)"."""
        return self.alone if self.estimate is None else f"{self.alone} ({self.bounds})"

    @property
    def alone(self) -> str:
        """The estimate with its unit, such as "EUR 1.25"; the interval with its unit without an estimate."""
        first = self.bounds if self.estimate is None else self._written(self.estimate)
        return f"{self.unit} {first}" if self.unit in CURRENCY_DECIMALS else f"{first} {self.unit}".rstrip()

    @property
    def bounds(self) -> str:
        """The interval without its unit."""
        if self.low is not None and self.high is not None:
            return f"{self._written(self.low)} to {self._written(self.high)}"
        if self.low is not None:
            return f"at least {self._written(self.low)}"
        return "no bounds" if self.high is None else f"at most {self._written(self.high)}"

    @property
    def unit(self) -> str:
        """The unit of the parts."""
        return next((part.unit for part in (self.estimate, self.low, self.high) if part is not None), "")

    def _written(self, part: Numeric) -> str:
        """Return a part, rounded to two digits of the interval's width; one nearer to 0 keeps a digit and its sign."""
        ends = [one.magnitude for one in (self.low, self.high, self.estimate) if one is not None]
        width, own = max(ends) - min(ends), abs(part.magnitude)
        if not width:
            return part.number
        return part.rounded(max(_place(width) + _SIGNIFICANT - 1, _place(own) if own else 0))


def by_money(amounts: Mapping[str, int]) -> tuple[str, ...]:
    """Return the currencies of which there is an amount in minor units, that with most major units first."""
    present = (Money(minor, code) for code, minor in amounts.items() if minor)
    return tuple(one.currency for one in sorted(present, key=lambda one: (-one.magnitude, one.currency)))


def _place(value: float) -> int:
    """Return the decimal place of a positive number's first digit: 0 for 3, 1 for 0.3, -1 for 30."""
    return -math.floor(math.log10(value))


def day_text(ms: int) -> str:
    """Return the UTC day of a time in milliseconds since 1970, such as "12 March 2026"."""
    moment = _EPOCH + timedelta(milliseconds=ms)
    return f"{moment.day} {moment:%B %Y}"


def _major(value: float, places: int, decimals: int, most: int = 0) -> str:
    """Return an amount in major units, rounded to `places`: whole, or with the currency's decimals, or `most`."""
    written = 0 if places <= 0 else min(max(places, decimals), max(most, decimals))
    return _fixed(round(value, min(places, written)), written)


def _rounded(value: float, places: int, most: int) -> str:
    """Return a number, rounded to `places` decimals, written with at most `most` of them."""
    return _fixed(round(value, places), max(0, min(places, most)))


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
