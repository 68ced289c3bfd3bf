"""A forest plot: estimates with their intervals, one below the other, against the line of no difference.

At most eight rows are drawn; the others are in a table below, folded. Rows without figures are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fraudstream.ops.report.charts.axis import ChartAxis
from fraudstream.ops.report.charts.drawing import PAGE_INCHES, ChartFrame, figure_markup, wrapped
from fraudstream.ops.report.markup import Markup, joined
from fraudstream.ops.report.palette import BLUE, INK
from fraudstream.ops.report.parts import Folded
from fraudstream.ops.report.quantities import Numeric, WithInterval, quantity_text
from fraudstream.ops.report.tables import DataTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS = 8
"""Rows that are drawn."""
_ROW_INCHES, _LINE_INCHES, _AXIS_INCHES = 0.3, 0.14, 0.75
_MARGIN = 0.08
_LABEL_PAD = 10
"""Points between the axes and the labels beside them, so that arrows at open ends have room."""


@dataclass(frozen=True, slots=True)
class IntervalRow:
    """An estimate with its interval.

    Attributes:
        name: what is estimated, such as an arm or a difference.
        estimate: None if there is none, or none yet.
        low, high: the ends of the interval; None for an end without a bound, drawn as an arrow; both None: no interval.
        strong: whether this row decides; its line is thicker, and its name is bold.
    """

    name: str
    estimate: float | None
    low: float | None
    high: float | None
    strong: bool = False

    @property
    def ends(self) -> tuple[float | None, float | None, float | None]:
        """The estimate and both ends."""
        return self.estimate, self.low, self.high

    def finite(self) -> list[float]:
        """Return what it has of estimate and ends."""
        return [value for value in self.ends if value is not None]


@dataclass(frozen=True, slots=True)
class IntervalChart:
    """Rows of intervals over one axis.

    Attributes:
        frame: title and texts.
        axis: of the values.
        rows: from top to bottom; of more than eight, those that decide and the first others are drawn.
        reference: drawn as a vertical line, such as 0 for no difference; None for none.
    """

    frame: ChartFrame
    axis: ChartAxis
    rows: tuple[IntervalRow, ...]
    reference: float | None = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether no row has a figure."""
        return not any(row.finite() for row in self.rows)

    @property
    def drawn(self) -> tuple[IntervalRow, ...]:
        """The rows in the picture: of those with figures, at most eight, the ones that decide among them."""
        return self._divided()[0]

    def markup(self, key: str) -> Markup:
        """Return the chart as a `figure`, and the rows that are not drawn as a folded table."""
        drawn, others = self._divided()
        told = " ".join((self.frame.summary, *(f"{row.name}: {self.written(row)}." for row in drawn)))
        lines = sum(wrapped(row.name).count("\n") for row in drawn)
        height = _AXIS_INCHES + _ROW_INCHES * max(len(drawn), 2) + _LINE_INCHES * lines
        chart = figure_markup(replace(self.frame, summary=told), key, (PAGE_INCHES, height), self._paint)
        rows = tuple((row.name, WithInterval(*(self._figure(end) for end in row.ends))) for row in others)
        rest = Folded(
            f"{self.frame.title}: {len(others):,} more", (DataTable(self.frame.title, ("", self.axis.name), rows),)
        )
        return chart if rest.is_empty else joined(chart, rest.markup(f"{key}more"))

    def _divided(self) -> tuple[tuple[IntervalRow, ...], tuple[IntervalRow, ...]]:
        """Return the rows that are drawn, and the others, all that have figures."""
        known = [row for row in self.rows if row.finite()]
        chosen = set(sorted(range(len(known)), key=lambda at: (not known[at].strong, at))[:MOST_ROWS])
        drawn = tuple(row for at, row in enumerate(known) if at in chosen)
        return drawn, tuple(row for at, row in enumerate(known) if at not in chosen)

    def written(self, row: IntervalRow) -> str:
        """Return a row's figures, such as "1.25 % (1.10 to 1.41)"."""
        if row.low is None and row.high is None:
            return f"{self.axis.shown(row.finite()[0])} (no interval)"
        return quantity_text(WithInterval(*(self._figure(end) for end in row.ends)))

    def _figure(self, value: float | None) -> Numeric | None:
        return None if value is None else self.axis.figure(value)

    def _paint(self, figure: "Figure") -> None:
        axes = figure.add_subplot()
        axes.set_xlabel(self.axis.label)
        axes.spines["left"].set_visible(False)
        drawn = self.drawn
        values = [value for row in drawn for value in row.finite()]
        if self.reference is not None:
            values.append(self.reference)
            axes.axvline(self.axis.place(self.reference), color=INK, linewidth=1.0)
        span = _span(self.axis.places(values))
        axes.set_xlim(*span)
        for place, row in enumerate(drawn):
            self._draw(axes, place, row, span)
        self._label(axes, drawn)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        self.axis.write_ticks(axes.xaxis)

    def _draw(self, axes: "Axes", place: int, row: IntervalRow, span: tuple[float, float]) -> None:
        colour, width = (INK, 2.4) if row.strong else (BLUE, 1.4)
        if row.estimate is not None:
            axes.plot([self.axis.place(row.estimate)], [place], color=colour, marker="D" if row.strong else "s")
        if row.low is None and row.high is None:
            return
        ends = [span[side] if end is None else self.axis.place(end) for side, end in enumerate((row.low, row.high))]
        axes.plot(ends, [place, place], color=colour, linewidth=width, solid_capstyle="butt")
        for end, known, arrow in zip(ends, (row.low, row.high), ("<", ">"), strict=True):
            marker = arrow if known is None else "|"
            axes.plot([end], [place], color=colour, marker=marker, markersize=6, clip_on=False)

    def _label(self, axes: "Axes", rows: Sequence[IntervalRow]) -> None:
        """Write names at the left, and figures at the right."""
        places = list(range(len(rows)))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(places, [wrapped(row.name) for row in rows])
        right = axes.twinx()
        right.set_ylim(axes.get_ylim())
        right.set_yticks(places, [self.written(row) for row in rows])
        for side in (axes, right):
            side.tick_params(axis="y", length=0, pad=_LABEL_PAD)
            side.spines["left"].set_visible(False)
            _embolden(side, rows)


def _embolden(axes: "Axes", rows: Sequence[IntervalRow]) -> None:
    """Write the labels of rows that decide in bold."""
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row.strong else "normal")


def _span(places: Sequence[float]) -> tuple[float, float]:
    """Return the limits of the axis: all values with a margin."""
    low, high = min(places), max(places)
    margin = _MARGIN * (high - low) or max(abs(high), 1.0) * _MARGIN
    return low - margin, high + margin
