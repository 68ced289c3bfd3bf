"""Lines with bands: a maturity curve, or a figure over time with its confidence sequence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from fraudstream.ops.report.charts.axis import ChartAxis, ReferenceLine, draw_zero_line
from fraudstream.ops.report.charts.drawing import (
    PAGE_INCHES,
    ChartFrame,
    LegendEntry,
    figure_markup,
    picture_file,
)
from fraudstream.ops.report.markup import Markup
from fraudstream.ops.report.palette import STYLES, SeriesStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT_INCHES = 2.9
_MOST_MARKERS = 12
_SPAN_MARGIN = 0.03
"""Beyond a stated span, so that markers at its ends are not cut."""


@dataclass(frozen=True, slots=True)
class ChartLine:
    """One line, with a band if `low` and `high` are given.

    Attributes:
        name: of the series.
        x: places on the horizontal axis, rising.
        y: values; None where there is none, which leaves a gap.
        low, high: the ends of the band at each place; None where it has no bound; both empty for no band.

    Raises:
        ValueError: they differ in length.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()

    def __post_init__(self) -> None:
        lengths = {len(self.y), *(len(ends) for ends in (self.low, self.high) if self.low or self.high)}
        if lengths != {len(self.x)}:
            raise ValueError(f"the line {self.name!r} must have {len(self.x)} values, and as many ends of its band")


@dataclass(frozen=True, slots=True)
class LineChart:
    """At most eight lines over one horizontal axis.

    Attributes:
        frame: title and texts.
        x, y: the axes.
        lines: in the order of the legend.
        references: values to compare with.
        span: the least and the greatest value of the vertical axis; None to fit the lines.

    Raises:
        ValueError: there are more lines than styles.
    """

    frame: ChartFrame
    x: ChartAxis
    y: ChartAxis
    lines: tuple[ChartLine, ...]
    references: tuple[ReferenceLine, ...] = ()
    span: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if len(self.lines) > len(STYLES):
            raise ValueError(f"the chart {self.frame.title!r} has more than {len(STYLES)} lines")

    @property
    def is_empty(self) -> bool:
        """Whether no line has a point."""
        return not any(_ends(line) for line in self.lines)

    def markup(self, key: str) -> Markup:
        """Return the chart as a `figure`."""
        told = " ".join((self.frame.summary, *(self._told(line) for line in self.lines if _ends(line))))
        styles = zip(self.lines, STYLES, strict=False)
        legend = [LegendEntry(line.name, style) for line, style in styles if _ends(line)]
        shown = legend if len(legend) > 1 else ()
        frame = replace(self.frame, summary=told)
        return figure_markup(
            frame, key, (PAGE_INCHES, _HEIGHT_INCHES), lambda figure: self.draw(figure.add_subplot()), shown
        )

    def _told(self, line: ChartLine) -> str:
        (first_x, first_y), (last_x, last_y) = _ends(line)
        return (
            f"{line.name}: {self.y.shown(first_y)} at {self.x.shown(first_x)}, "
            f"{self.y.shown(last_y)} at {self.x.shown(last_x)}."
        )

    def draw(self, axes: "Axes") -> None:
        """Draw the lines into empty axes, without title and legend."""
        axes.set_xlabel(self.x.label)
        axes.set_ylabel(self.y.label)
        if self.is_empty:
            return
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        for line, style in zip(self.lines, STYLES, strict=False):
            self._draw(axes, line, style)
        if self.span is not None:
            low, high = self.y.places(self.span)
            margin = _SPAN_MARGIN * (high - low)
            axes.set_ylim(low - margin, high + margin)
        for reference in self.references:
            reference.draw(axes, self.y)
            reference.label(axes, self.y)
        draw_zero_line(axes)
        self.x.write_ticks(axes.xaxis, 8)
        self.y.write_ticks(axes.yaxis)

    def _draw(self, axes: "Axes", line: ChartLine, style: SeriesStyle) -> None:
        x, y = self.x.places(line.x), self.y.places(line.y)
        if line.low:
            low, high = self.y.places(line.low), self.y.places(line.high)
            axes.fill_between(x, low, high, facecolor=style.colour, alpha=0.14, linewidth=0)
            edge = partial(axes.plot, x, color=style.colour, linewidth=0.7, linestyle=(0, (1.0, 1.5)))
            edge(low)
            edge(high)
            if len(x) == 1:
                axes.vlines(x, low, high, color=style.colour, linewidth=1.2)
        axes.plot(
            x,
            y,
            color=style.colour,
            linestyle=(0, style.dash) if style.dash else "solid",
            marker=style.marker,
            markersize=4.5,
            markevery=max(1, len(x) // _MOST_MARKERS),
            label=line.name,
        )


def stacked_picture(frame: ChartFrame, charts: Sequence[LineChart]) -> str:
    """Return charts below one another as the text of an SVG file; each has its title and, of several lines, a legend.

    Raises:
        MissingMatplotlibError: matplotlib is not installed.
    """

    def paint(figure: "Figure") -> None:
        for axes, chart in zip(figure.subplots(len(charts), squeeze=False)[:, 0], charts, strict=True):
            chart.draw(axes)
            axes.set_title(chart.frame.title, loc="left")
            if len(chart.lines) > 1:
                axes.legend(frameon=False, loc="upper left")

    return picture_file(frame, (PAGE_INCHES, len(charts) * _HEIGHT_INCHES), paint)


def _ends(line: ChartLine) -> Sequence[tuple[float, float]]:
    """Return the first and the last point that has a value; none if there is no such point."""
    points = [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None]
    return (points[0], points[-1]) if points else ()
