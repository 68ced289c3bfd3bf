"""A reliability diagram: the share of frauds among payments of like scores, against the mean of these scores."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fraudstream.ops.report.charts.axis import AxisKind, ChartAxis
from fraudstream.ops.report.charts.drawing import ChartFrame, LegendEntry, figure_markup
from fraudstream.ops.report.markup import Markup
from fraudstream.ops.report.palette import MUTED, STYLES, SeriesStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE_INCHES = (4.6, 4.0)
_LEAST_PERCENT = 0.001
"""The lower end of logarithmic axes that have nothing above 0."""
_MEAN = ChartAxis("Mean score", AxisKind.SHARE)
_DIAGONAL = LegendEntry("the score is the share", SeriesStyle(MUTED, "none", (1.0, 2.0), MUTED, ""))
_OBSERVED = ChartAxis("Observed share of frauds", AxisKind.SHARE)


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Labelled payments of like scores.

    Attributes:
        mean_score: 0 to 1.
        fraud_share: 0 to 1.
        low, high: the interval of `fraud_share`.
        payments: how many.
    """

    mean_score: float
    fraud_share: float
    low: float
    high: float
    payments: int


@dataclass(frozen=True, slots=True)
class ReliabilityCurve:
    """The bins of one model, by rising mean score."""

    name: str
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True)
class ReliabilityChart:
    """Curves against the diagonal, on which a score is the probability of fraud.

    Attributes:
        frame: title and texts.
        curves: at most eight.
        logarithmic: whether both axes are; most scores of payments are below 1 %.

    Raises:
        ValueError: there are more curves than styles.
    """

    frame: ChartFrame
    curves: tuple[ReliabilityCurve, ...]
    logarithmic: bool = True

    def __post_init__(self) -> None:
        if len(self.curves) > len(STYLES):
            raise ValueError(f"the chart {self.frame.title!r} has more than {len(STYLES)} curves")

    @property
    def is_empty(self) -> bool:
        """Whether no curve has a bin."""
        return not any(curve.bins for curve in self.curves)

    def markup(self, key: str) -> Markup:
        """Return the chart as a `figure`."""
        told = " ".join((self.frame.summary, *(_told(curve) for curve in self.curves if curve.bins)))
        legend = [LegendEntry(curve.name, style) for curve, style in zip(self.curves, STYLES, strict=False)]
        frame = replace(self.frame, summary=told, note=f"{self.frame.note} {self._note_on_zero()}".strip())
        return figure_markup(frame, key, _SIZE_INCHES, self._paint, [*legend, _DIAGONAL])

    def _note_on_zero(self) -> str:
        """Return what a point on the lower edge is: logarithmic axes have no 0."""
        has_zero = any(one.fraud_share == 0 for curve in self.curves for one in curve.bins)
        return "Points on the lower edge are bins without a fraud." if has_zero and self.logarithmic else ""

    def _paint(self, figure: "Figure") -> None:
        axes = figure.add_subplot()
        axes.set_xlabel(_MEAN.label)
        axes.set_ylabel(_OBSERVED.label)
        bins = [one for curve in self.curves for one in curve.bins]
        low, high = self._span(bins)
        axes.plot([low, high], [low, high], color=MUTED, linewidth=1.0, linestyle=(0, _DIAGONAL.style.dash))
        for curve, style in zip(self.curves, STYLES, strict=False):
            _draw(axes, curve, style, low)
        self._scale(axes, low, high)
        axes.grid()
        axes.set_axisbelow(True)

    def _span(self, bins: list[ReliabilityBin]) -> tuple[float, float]:
        """Return the limits of both axes in percent."""
        values = [100 * value for one in bins for value in (one.mean_score, one.fraud_share, one.low, one.high)]
        positive = [value for value in values if value > 0]
        high = min(100.0, 1.5 * max(values, default=0.0)) or 1.0
        if not self.logarithmic:
            return 0.0, high
        return max(min(positive, default=_LEAST_PERCENT) / 1.5, _LEAST_PERCENT), max(high, 10 * _LEAST_PERCENT)

    def _scale(self, axes: "Axes", low: float, high: float) -> None:
        from matplotlib import ticker  # noqa: PLC0415 - of the extra `report`

        for axis, kind in ((axes.xaxis, _MEAN), (axes.yaxis, _OBSERVED)):
            if not self.logarithmic:
                kind.write_ticks(axis)
                continue
            (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
            axis.set_major_formatter(ticker.FuncFormatter(lambda value, _place: f"{value:g}"))
            axis.set_minor_formatter(ticker.NullFormatter())
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)


def _draw(axes: "Axes", curve: ReliabilityCurve, style: SeriesStyle, floor: float) -> None:
    """Draw a curve; what is below the axes' lower end, as a share of 0 is on logarithmic ones, is drawn at it."""
    means = [max(100 * one.mean_score, floor) for one in curve.bins]
    shares = [max(100 * one.fraud_share, floor) for one in curve.bins]
    lows = [max(100 * one.low, floor) for one in curve.bins]
    highs = [max(100 * one.high, floor) for one in curve.bins]
    axes.vlines(means, lows, highs, color=style.colour, linewidth=1.0)
    dash = (0, style.dash) if style.dash else "solid"
    axes.plot(means, shares, color=style.colour, marker=style.marker, markersize=4.5, linestyle=dash, clip_on=False)


def _told(curve: ReliabilityCurve) -> str:
    payments = sum(one.payments for one in curve.bins)
    first, last = curve.bins[0], curve.bins[-1]
    return (
        f"{curve.name}, {payments:,} payments: from a mean score of {_MEAN.shown(first.mean_score)} with "
        f"{_MEAN.shown(first.fraud_share)} frauds to {_MEAN.shown(last.mean_score)} with "
        f"{_MEAN.shown(last.fraud_share)}."
    )
