"""Points of time and loss with their front: no point on it is beaten in one of the two without losing in the other."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fraudstream.ops.report.charts.axis import ChartAxis, draw_zero_line
from fraudstream.ops.report.charts.drawing import (
    PAGE_INCHES,
    ChartFrame,
    LegendEntry,
    figure_markup,
    wrapped,
)
from fraudstream.ops.report.markup import Markup
from fraudstream.ops.report.palette import INK, MUTED, STYLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT_INCHES = 3.6
_FRONT, _DOMINATED = STYLES[1], STYLES[2]
_LEFT_FROM = 0.85
"""Of the axis's width: names of points further right stand left of them."""


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A point with its name; `low` and `high` are the ends of its vertical interval, None if there is none."""

    name: str
    x: float
    y: float
    low: float | None
    high: float | None
    on_front: bool


@dataclass(frozen=True, slots=True)
class FrontChart:
    """Named points, those on the front joined by a line; smaller is better on both axes.

    Attributes:
        frame: title and texts.
        x, y: the axes.
        points: in any order.
    """

    frame: ChartFrame
    x: ChartAxis
    y: ChartAxis
    points: tuple[FrontPoint, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is no point."""
        return not self.points

    def markup(self, key: str) -> Markup:
        """Return the chart as a `figure`."""
        front = self._front()
        told = " ".join((self.frame.summary, *(self._told(point) for point in front)))
        legend = [LegendEntry("On the front", _FRONT)] if front else []
        if len(front) < len(self.points):
            legend.append(LegendEntry("Another is as fast and loses less, or the reverse", _DOMINATED))
        frame = replace(self.frame, summary=told)
        return figure_markup(frame, key, (PAGE_INCHES, _HEIGHT_INCHES), self._paint, legend)

    def _front(self) -> list[FrontPoint]:
        return sorted((point for point in self.points if point.on_front), key=lambda point: point.x)

    def _told(self, point: FrontPoint) -> str:
        return f"{point.name}: {self.y.shown(point.y)} at {self.x.shown(point.x)}."

    def _paint(self, figure: "Figure") -> None:
        axes = figure.add_subplot()
        axes.set_xlabel(self.x.label)
        axes.set_ylabel(self.y.label)
        axes.grid(axis="both")
        axes.set_axisbelow(True)
        front = self._front()
        axes.plot(
            self.x.places(point.x for point in front),
            self.y.places(point.y for point in front),
            color=_FRONT.colour,
            linestyle=(0, _FRONT.dash) if _FRONT.dash else "solid",
            linewidth=1.2,
        )
        for point in self.points:
            self._draw(axes, point)
        axes.margins(x=0.06, y=0.12)
        self._name(axes)
        draw_zero_line(axes)
        self.x.write_ticks(axes.xaxis, 8)
        self.y.write_ticks(axes.yaxis)

    def _draw(self, axes: "Axes", point: FrontPoint) -> None:
        style = _FRONT if point.on_front else _DOMINATED
        x, y = self.x.place(point.x), self.y.place(point.y)
        if point.low is not None and point.high is not None:
            axes.vlines(x, self.y.place(point.low), self.y.place(point.high), color=style.colour, linewidth=0.8)
        axes.plot([x], [y], color=style.colour, marker=style.marker, markersize=5)

    def _name(self, axes: "Axes") -> None:
        low, high = axes.get_xlim()
        for point in self.points:
            x = self.x.place(point.x)
            left = x > low + _LEFT_FROM * (high - low)
            axes.annotate(
                wrapped(point.name),
                xy=(x, self.y.place(point.y)),
                xytext=(-5 if left else 5, 4),
                textcoords="offset points",
                ha="right" if left else "left",
                va="bottom",
                fontsize="small",
                color=INK if point.on_front else MUTED,
            )
