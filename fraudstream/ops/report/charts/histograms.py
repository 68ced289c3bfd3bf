"""Histograms of two models' scores, or of one model's in two stretches of time: what a stability index sums up."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from fraudstream.ops.report.charts.axis import REFERENCE_DASH, AxisKind, ChartAxis, ReferenceLine
from fraudstream.ops.report.charts.drawing import PAGE_INCHES, ChartFrame, LegendEntry, figure_markup
from fraudstream.ops.report.markup import Markup, printable
from fraudstream.ops.report.palette import INK, STYLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT_INCHES = 2.9
_SHARE = ChartAxis("Share of payments", AxisKind.SHARE)


@dataclass(frozen=True, slots=True)
class HistogramSeries:
    """How many payments are in each bin."""

    name: str
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HistogramChart:
    """Outlines of histograms over the same bins, each as shares of its own payments.

    Attributes:
        frame: title and texts.
        axis: of the values.
        edges: of the bins, rising; one more than there are bins.
        series: at most eight.
        thresholds: values of the horizontal axis from which on a decision changes.

    Raises:
        ValueError: the edges do not rise, or a series has more or fewer counts than there are bins.
    """

    frame: ChartFrame
    axis: ChartAxis
    edges: tuple[float, ...]
    series: tuple[HistogramSeries, ...]
    thresholds: tuple[ReferenceLine, ...] = ()

    def __post_init__(self) -> None:
        if any(right <= left for left, right in pairwise(self.edges)):
            raise ValueError(f"the edges of the chart {self.frame.title!r} must rise")
        bins = max(len(self.edges) - 1, 0)
        wrong = [one.name for one in self.series if len(one.counts) != bins]
        if wrong or len(self.series) > len(STYLES):
            raise ValueError(
                f"the chart {self.frame.title!r} must have at most {len(STYLES)} series of {bins} counts"
                + (f": see {', '.join(wrong)}" if wrong else "")
            )

    @property
    def is_empty(self) -> bool:
        """Whether no bin has a payment."""
        return not any(sum(one.counts) for one in self.series)

    def markup(self, key: str) -> Markup:
        """Return the chart as a `figure`."""
        told = (f"{one.name}: {sum(one.counts):,} payments{self._peak(one)}." for one in self.series)
        frame = replace(self.frame, summary=" ".join((self.frame.summary, *told)))
        legend = [LegendEntry(one.name, style) for one, style in zip(self.series, STYLES, strict=False)]
        return figure_markup(frame, key, (PAGE_INCHES, _HEIGHT_INCHES), self._paint, legend)

    def _peak(self, one: HistogramSeries) -> str:
        """Return where the highest bin is."""
        if not sum(one.counts):
            return ""
        place = one.counts.index(max(one.counts))
        return f", most of them from {self.axis.shown(self.edges[place])} to {self.axis.shown(self.edges[place + 1])}"

    def _paint(self, figure: "Figure") -> None:
        axes = figure.add_subplot()
        axes.set_xlabel(self.axis.label)
        axes.set_ylabel(_SHARE.label)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        edges = self.axis.places(self.edges)
        for place, one in enumerate(self.series):
            self._draw(axes, edges, one, place)
        axes.margins(y=0.1)
        axes.set_ylim(bottom=0)
        self._mark_thresholds(axes)
        self.axis.write_ticks(axes.xaxis, 10)
        _SHARE.write_ticks(axes.yaxis)

    def _draw(self, axes: "Axes", edges: list[float], one: HistogramSeries, place: int) -> None:
        style, total = STYLES[place], sum(one.counts)
        if not total:
            return
        shares = [100 * count / total for count in one.counts]
        dash = (0, style.dash) if style.dash else "solid"
        axes.stairs(shares, edges, color=style.colour, linewidth=1.5, linestyle=dash)
        centres = [(left + right) / 2 for left, right in pairwise(edges)]
        axes.plot(centres, shares, color=style.colour, marker=style.marker, markersize=3.5, linestyle="none")

    def _mark_thresholds(self, axes: "Axes") -> None:
        for place, threshold in enumerate(self.thresholds):
            x = self.axis.place(threshold.value)
            axes.axvline(x, color=INK, linewidth=1.0, linestyle=(0, REFERENCE_DASH))
            axes.annotate(
                printable(threshold.name),
                xy=(x, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(3, -9 - 11 * (place % 2)),
                textcoords="offset points",
            )
