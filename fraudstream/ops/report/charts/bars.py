"""Bars in groups: alerts of each day against a budget, or what two models decide differently, in money."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fraudstream.ops.report.charts.axis import REFERENCE_DASH, ChartAxis, ReferenceLine, draw_zero_line
from fraudstream.ops.report.charts.drawing import (
    PAGE_INCHES,
    ChartFrame,
    LegendEntry,
    figure_markup,
    wrapped,
)
from fraudstream.ops.report.markup import Markup, printable
from fraudstream.ops.report.palette import INK, PAPER, STYLES, SeriesStyle
from fraudstream.ops.report.quantities import UNKNOWN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT_INCHES = 2.9
_GROUP_WIDTH = 0.8
_MOST_WRITTEN = 12
"""Bars with their values above them; with more, these would overlap."""
_MOST_WRAPPED = 8
"""Groups whose names may have several lines; with more, some names are left out."""
_LINE_CHARACTERS = 84


@dataclass(frozen=True, slots=True)
class BarSeries:
    """One bar in each group; None where there is none."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class BarChart:
    """Bars of at most eight series.

    Attributes:
        frame: title and texts.
        groups: their names, from left to right.
        series: each with a value for each group.
        axis: of the values.
        groups_are: what the groups are, such as "Day (UTC)"; may be empty.
        budget: a value to compare with.

    Raises:
        ValueError: a series has more or fewer values than there are groups, or there are more series than styles.
    """

    frame: ChartFrame
    groups: tuple[str, ...]
    series: tuple[BarSeries, ...]
    axis: ChartAxis
    groups_are: str = ""
    budget: ReferenceLine | None = None

    def __post_init__(self) -> None:
        if len(self.series) > len(STYLES):
            raise ValueError(f"the chart {self.frame.title!r} has more than {len(STYLES)} series")
        wrong = [one.name for one in self.series if len(one.values) != len(self.groups)]
        if wrong:
            raise ValueError(f"the series {', '.join(wrong)} must have a value for each of {len(self.groups)} groups")

    @property
    def is_empty(self) -> bool:
        """Whether each bar is missing or 0."""
        return not any(value for one in self.series for value in one.values)

    def markup(self, key: str) -> Markup:
        """Return the chart as a `figure`."""
        legend = [LegendEntry(one.name, style, filled=True) for one, style in zip(self.series, STYLES, strict=False)]
        shown = legend if len(legend) > 1 or self.budget is not None else []
        if self.budget is not None:
            line = SeriesStyle(INK, "none", REFERENCE_DASH, INK, "")
            shown = [*shown, LegendEntry(self.budget.told(self.axis), line)]
        frame = replace(self.frame, summary=self._told())
        return figure_markup(frame, key, (PAGE_INCHES, _HEIGHT_INCHES), self._paint, shown)

    def _told(self) -> str:
        if len(self.groups) * len(self.series) > _MOST_WRITTEN:
            return self.frame.summary
        groups = (
            f"{group}: {', '.join(f'{one.name} {self._shown(one.values[place])}' for one in self.series)}."
            for place, group in enumerate(self.groups)
        )
        return " ".join((self.frame.summary, *groups))

    def _shown(self, value: float | None) -> str:
        return UNKNOWN if value is None else self.axis.shown(value)

    def _paint(self, figure: "Figure") -> None:
        axes = figure.add_subplot()
        axes.set_ylabel(self.axis.label)
        axes.set_xlabel(printable(self.groups_are))
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        width = _GROUP_WIDTH / len(self.series)
        for place, one in enumerate(self.series):
            self._draw(axes, one, place, width)
        axes.margins(y=0.12)
        if self.budget is not None:
            self.budget.draw(axes, self.axis)
        draw_zero_line(axes)
        self._name_groups(axes)
        self.axis.write_ticks(axes.yaxis)

    def _draw(self, axes: "Axes", one: BarSeries, place: int, width: float) -> None:
        style = STYLES[place]
        shift = (place - (len(self.series) - 1) / 2) * width
        centres = [group + shift for group in range(len(self.groups))]
        heights = self.axis.places(one.values)
        axes.bar(centres, heights, 0.92 * width, facecolor=style.fill, edgecolor=INK, hatch=style.hatch, linewidth=0.6)
        if len(self.groups) * len(self.series) > _MOST_WRITTEN:
            return
        for centre, height, value in zip(centres, heights, one.values, strict=True):
            if value is not None:
                self._write(axes, (centre, height), self.axis.shown(value))

    def _write(self, axes: "Axes", top: tuple[float, float], words: str) -> None:
        """Write a bar's value beyond its end, without the unit that the axis states."""
        above = top[1] >= 0
        axes.annotate(
            words.removeprefix(f"{self.axis.currency} ").removesuffix(" %"),
            xy=top,
            xytext=(0, 2 if above else -2),
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
            fontsize="small",
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.5, "alpha": 0.85},
            zorder=4,
        )

    def _name_groups(self, axes: "Axes") -> None:
        count = len(self.groups)
        step = 1 if count <= _MOST_WRAPPED else -(-count // _MOST_WRAPPED)
        width = max(10, _LINE_CHARACTERS // min(count, _MOST_WRAPPED))
        places = range(0, count, step)
        axes.set_xticks(list(places), [wrapped(self.groups[place], width) for place in places])
        axes.set_xlim(-0.6, count - 0.4)
        axes.tick_params(axis="x", length=0 if step == 1 else 3)
