"""Axes of charts: what they measure, how values become places on them, and how their ticks are written."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from fraudstream.ops.report.markup import printable
from fraudstream.ops.report.palette import INK, MUTED, PAPER
from fraudstream.ops.report.quantities import MeanMoney, Measure, Moment, Numeric, Percentage, quantity_text
from stream.contract.iso import CURRENCY_DECIMALS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis as PlotAxis

_DAY_MS = 86_400_000
_TICKS = 6
_DECIMALS = 6
_FEW_DIGITS = 1_000
"""Numbers from here on are shown without decimals."""
REFERENCE_DASH = (4.0, 2.0)
_DATES: Mapping[str, Sequence[str]] = {
    "formats": ("%Y", "%b", "%-d %b", "%H:%M", "%H:%M", "%S.%f"),
    "zero_formats": ("", "%Y", "%-d %b", "%-d %b", "%H:%M", "%H:%M"),
    "offset_formats": ("", "%Y", "%Y", "%Y-%m-%d", "%Y-%m-%d", "%Y-%m-%d %H:%M"),
}
"""How ticks at years, months, days, hours, minutes and seconds are written, and what stands once at the axis's end."""


class AxisKind(Enum):
    """What the values of an axis are."""

    NUMBER = auto()
    COUNT = auto()
    """Whole numbers."""
    SHARE = auto()
    """0.0125 is shown as 1.25 %."""
    MONEY = auto()
    """Minor units of the axis's currency, shown in major units."""
    TIME = auto()
    """Milliseconds since 1970 UTC, shown as dates and times in UTC."""


@dataclass(frozen=True, slots=True)
class ChartAxis:
    """One axis.

    Attributes:
        name: what is measured, without its unit if `kind` gives it.
        kind: of the values.
        currency: of an axis of money; else empty.

    Raises:
        ValueError: an axis of money has no currency with a minor unit, or another one has a currency.
    """

    name: str
    kind: AxisKind = AxisKind.NUMBER
    currency: str = ""

    def __post_init__(self) -> None:
        if (self.kind is AxisKind.MONEY) != (self.currency in CURRENCY_DECIMALS):
            raise ValueError(f"the axis {self.name!r}: money needs a currency of ISO 4217, and nothing else has one")

    @property
    def label(self) -> str:
        """The name with its unit, as it can be drawn."""
        units = {AxisKind.SHARE: "%", AxisKind.MONEY: self.currency, AxisKind.TIME: "UTC"}
        name = printable(self.name)
        return f"{name} ({units[self.kind]})" if self.kind in units else name

    def place(self, value: float | None) -> float:
        """Return where a value is on the axis; NaN, which is not drawn, for None."""
        if value is None:
            return math.nan
        if self.kind is AxisKind.SHARE:
            return 100 * value
        if self.kind is AxisKind.MONEY:
            return float(value / 10 ** CURRENCY_DECIMALS[self.currency])
        return value / _DAY_MS if self.kind is AxisKind.TIME else value

    def places(self, values: Iterable[float | None]) -> list[float]:
        """Return where values are on the axis."""
        return [self.place(value) for value in values]

    def shown(self, value: float) -> str:
        """Return a value as a text with its unit, rounded to what can be seen in a chart."""
        if self.kind is AxisKind.SHARE:
            return quantity_text(Percentage(value))
        if self.kind is AxisKind.MONEY:
            return quantity_text(MeanMoney(value, self.currency))
        if self.kind is AxisKind.TIME:
            return quantity_text(Moment(round(value)))
        return f"{value:,.0f}" if abs(value) >= _FEW_DIGITS else f"{value:.4g}"

    def figure(self, value: float) -> Numeric:
        """Return a value as a quantity that can have an interval; a time as a number."""
        if self.kind is AxisKind.SHARE:
            return Percentage(value)
        return MeanMoney(value, self.currency) if self.kind is AxisKind.MONEY else Measure(value, _DECIMALS)

    def write_ticks(self, axis: "PlotAxis", ticks: int = _TICKS) -> None:
        """Choose the ticks of matplotlib's axis, at most about so many, and write them as this axis's values are."""
        from matplotlib import dates, ticker  # noqa: PLC0415 - of the extra `report`

        if self.kind is AxisKind.TIME:
            places = dates.AutoDateLocator(minticks=2, maxticks=ticks)  # type: ignore[no-untyped-call]
            axis.set_major_locator(places)
            written = dates.ConciseDateFormatter(places, **_DATES)  # type: ignore[no-untyped-call]
            axis.set_major_formatter(written)
            return
        whole = self.kind is AxisKind.COUNT
        axis.set_major_locator(ticker.MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10], integer=whole))
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _place: _number(value)))


@dataclass(frozen=True, slots=True)
class ReferenceLine:
    """A value to compare with, such as a budget: a dashed line with its name beside it."""

    name: str
    value: float

    def told(self, axis: ChartAxis) -> str:
        """Return its name with its value."""
        return f"{printable(self.name)}: {axis.shown(self.value)}"

    def draw(self, axes: "Axes", axis: ChartAxis) -> None:
        """Draw it across the chart, at its value on the vertical axis."""
        axes.axhline(axis.place(self.value), color=INK, linewidth=1.2, linestyle=(0, REFERENCE_DASH), zorder=3)

    def label(self, axes: "Axes", axis: ChartAxis) -> None:
        """Write its name above its right end."""
        axes.annotate(
            self.told(axis),
            xy=(1.0, axis.place(self.value)),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 3),
            textcoords="offset points",
            ha="right",
            va="bottom",
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1.0, "alpha": 0.85},
            zorder=4,
        )


def draw_zero_line(axes: "Axes") -> None:
    """Draw a line at 0 where a chart has values below it."""
    low, high = axes.get_ylim()
    if low < 0 < high:
        axes.axhline(0.0, color=MUTED, linewidth=0.9, zorder=1)


def _number(value: float) -> str:
    """Return a number with thousands separators and at most six significant decimals."""
    rounded = round(value, 6)
    return f"{rounded + 0.0:,.10g}" if rounded else "0"
