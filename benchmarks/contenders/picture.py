"""Draws contenders below one another: decisions a second as bars, and latencies at each rate as dots on a log axis."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.contenders.figures import (
    HALF,
    NOTHING,
    ContenderFigures,
    from_backlog,
    ours_of,
    rate_name,
    rates_of,
    ratio,
    shown,
    sustained,
)
from benchmarks.contenders.registry import CONTENDERS, LIMITS, ON_EVERY_LINE, OURS
from benchmarks.contenders.results import OfferedLoad
from benchmarks.contenders.task import Line
from fraudstream.ops.report.charts.drawing import PAGE_INCHES, ChartFrame, picture_file
from fraudstream.ops.report.palette import BLUE, INK, MUTED, PAPER, RULE, SKY_BLUE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Get = Callable[[ContenderFigures], list[float]]
LINES = {Line.OWN: "Each as its author would write it", Line.SAME: "All with our features, computed by our code"}
"""The panels, and their titles."""
_BARS: tuple[tuple[str, Get, str], ...] = (
    ("from a backlog", from_backlog, ""),
    ("sustained", sustained, "////"),
)
_P50, _P99 = "o", "D"
"""Markers, filled and empty."""
_ROW_INCHES, _BAR_INCHES, _AXIS_INCHES = 0.2, 0.18, 0.75
_BAR_HEIGHT = 0.38
_ROOM_FOR_WORDS = 1.28
"""Of the longest bar's length; what stands behind its end fits."""
_ROOM_LEFT, _ROOM_RIGHT = 1.6, 6.0
"""Of an axis of latency: factors beyond its least and its greatest value."""
_SMALL = 6.5


@dataclass(frozen=True)
class _Panel:
    """One row of the picture: its height, and what draws it into `columns` axes that lie side by side."""

    inches: float
    columns: int
    draw: Callable[[Sequence["Axes"]], None]


def picture(found: Sequence[ContenderFigures]) -> str:
    """Return contenders as the text of an SVG file.

    Raises:
        MissingMatplotlibError: matplotlib is not installed.
    """
    others = [line for line in LINES if any(one.line is line for one in found if one.contender not in ON_EVERY_LINE)]
    panels = [panel for line in others or [Line.OWN] for panel in _panels(of_line(found, line), LINES[line])]
    panels = panels or [_Panel(_AXIS_INCHES, 1, lambda axes: _draw_nothing(axes[0]))]
    heights = [panel.inches for panel in panels]

    def paint(figure: "Figure") -> None:
        grid = figure.add_gridspec(len(panels), 1, height_ratios=heights)
        for at, panel in enumerate(panels):
            inner = grid[at].subgridspec(1, panel.columns)
            panel.draw([figure.add_subplot(inner[0, column]) for column in range(panel.columns)])

    frame = ChartFrame("fraudstream beside what users would write instead", " ".join(_words(found)))
    return picture_file(frame, (PAGE_INCHES, sum(heights)), paint)


def _draw_nothing(axes: "Axes") -> None:
    axes.text(0.5, 0.5, "Nothing was measured yet", transform=axes.transAxes, ha="center", va="center", color=MUTED)
    axes.set_xticks([])
    axes.set_yticks([])


def of_line(found: Sequence[ContenderFigures], line: Line) -> list[ContenderFigures]:
    """Return the contenders of a line, with ours and last those that only copy, which are on each."""
    some = [one for one in found if one.line is line or one.contender in ON_EVERY_LINE]
    return sorted(some, key=lambda one: one.contender in LIMITS)


def _words(found: Sequence[ContenderFigures]) -> Iterator[str]:
    for one in found:
        if decided := from_backlog(one):
            times = ratio(from_backlog(ours_of(found)), decided)
            line = "" if one.contender == OURS else f", {one.line}, of which ours is {times} times"
            yield f"{CONTENDERS[one.contender].title}: {shown(decided)} decisions a second from a backlog{line}."


def _panels(some: Sequence[ContenderFigures], title: str) -> Iterator[_Panel]:
    """Yield what was measured of the contenders of one line."""
    ours = ours_of(some)
    bars = [bar for bar in _BARS if any(bar[1](one) for one in some if one.contender not in LIMITS)]
    if bars:
        deciding = [one for one in some if one.contender not in LIMITS]
        inches = _AXIS_INCHES + len(deciding) * len(bars) * _BAR_INCHES
        yield _Panel(inches, 1, lambda axes: _draw_bars(axes[0], title, deciding, bars))
    if rates := rates_of(some):

        def draw(axes: Sequence["Axes"]) -> None:
            for at, (one, rate) in enumerate(zip(axes, rates, strict=True)):
                _draw_dots(one, some, ours, rate)
                _scale(one, _span(some, rates), "ms" if rate == HALF else "ms; x: its p99 to ours")
                _name(one, some if at == 0 else (), len(some))
            axes[0].plot([], [], _P50, color=MUTED, markersize=4, label="p50")
            axes[0].plot([], [], _P99, color=MUTED, markersize=4, markerfacecolor=PAPER, label="p99")
            _explain(axes[0])

        yield _Panel(_AXIS_INCHES + len(some) * _ROW_INCHES, len(rates), draw)


def _draw_bars(
    axes: "Axes", title: str, some: Sequence[ContenderFigures], bars: Sequence[tuple[str, Get, str]]
) -> None:
    ours, height = ours_of(some), 2 * _BAR_HEIGHT / len(bars)
    longest = max(median(get(one)) for _, get, _ in bars for one in some if get(one))
    for at, (name, get, hatch) in enumerate(bars):
        shift = (at - (len(bars) - 1) / 2) * height
        places = [place + shift for place in range(len(some))]
        widths = [median(values) if (values := get(one)) else 0.0 for one in some]
        colours = [SKY_BLUE if one.contender == OURS else RULE for one in some]
        axes.barh(places, widths, 0.9 * height, color=colours, edgecolor=INK, hatch=hatch, linewidth=0.6, label=name)
        for one, place, width in zip(some, places, widths, strict=True):
            _write(axes, (width, place), _bar_words(get(one), get(ours), one))
    axes.set_xlim(0, longest * _ROOM_FOR_WORDS)
    axes.set_xlabel("decisions a second")
    axes.set_title(title, loc="left")
    axes.xaxis.set_major_formatter(lambda value, _place: f"{value:,.0f}")
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    _explain(axes)
    _name(axes, some, len(some))


def _bar_words(values: Sequence[float], ours: Sequence[float], one: ContenderFigures) -> str:
    """Return a bar's value, and how many times that ours is."""
    if not values:
        return "not measured"
    times = NOTHING if one.contender == OURS else ratio(ours, values)
    return f"{median(values):,.0f}" + ("" if times == NOTHING else f", ours {times} times")


def _quantile(one: ContenderFigures, rate: str, name: str) -> list[float]:
    """Return a quantile of each round at a rate, in ms."""
    loads: list[OfferedLoad] = [part.rates[rate].load for part in one.rounds if rate in part.rates]
    return [getattr(load, name) for load in loads]


def _draw_dots(axes: "Axes", some: Sequence[ContenderFigures], ours: ContenderFigures, rate: str) -> None:
    """Draw p50 and p99 of each contender, joined by a line, and how many times ours its p99 is, at equal rates."""
    for place, one in enumerate(some):
        p50, p99 = (_quantile(one, rate, name) for name in ("p50", "p99"))
        if not p99:
            continue
        colour, ends = BLUE if one.contender == OURS else MUTED, [median(p50), median(p99)]
        axes.plot(ends, [place, place], color=colour, linewidth=0.8, zorder=1)
        axes.plot(ends[:1], [place], _P50, color=colour, markersize=4)
        axes.plot(ends[1:], [place], _P99, color=colour, markersize=4, markerfacecolor=PAPER)
        times = ratio(p99, _quantile(ours, rate, "p99"))
        if one.contender != OURS and times != NOTHING and rate != HALF:
            _write(axes, (ends[1], place), f"{times} x")
    axes.set_title(rate_name(rate), loc="left", fontsize=_SMALL + 0.5)


def _span(some: Sequence[ContenderFigures], rates: Sequence[str]) -> tuple[float, float]:
    """Return the ends of all axes of latency, in ms, so that the rates can be compared."""
    values = [ms for one in some for rate in rates for name in ("p50", "p99") for ms in _quantile(one, rate, name)]
    return min(values) / _ROOM_LEFT, max(values) * _ROOM_RIGHT


def _scale(axes: "Axes", span: tuple[float, float], unit: str) -> None:
    axes.set_xscale("log")
    axes.set_xlim(*span)
    axes.xaxis.set_major_formatter(lambda value, _place: f"{value:,g}")
    axes.xaxis.set_minor_formatter(lambda _value, _place: "")
    axes.set_xlabel(unit)
    axes.grid(axis="x")
    axes.set_axisbelow(True)


def _write(axes: "Axes", end: tuple[float, float], words: str) -> None:
    """Write words behind the end of a bar or a line."""
    axes.annotate(words, end, (4, 0), textcoords="offset points", va="center", ha="left", fontsize=_SMALL)


def _explain(axes: "Axes") -> None:
    """Write the legend under the names, where nothing else is."""
    axes.legend(frameon=False, loc="upper right", bbox_to_anchor=(-0.02, -0.02), fontsize=_SMALL)


def _name(axes: "Axes", some: Sequence[ContenderFigures], count: int) -> None:
    """Write the contenders' names beside their rows, from top to bottom, ours in bold; none if `some` is empty."""
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_yticks(range(len(some)), [CONTENDERS[one.contender].title for one in some])
    axes.tick_params(axis="y", length=0)
    for label, one in zip(axes.get_yticklabels(), some, strict=True):
        label.set_fontweight("bold" if one.contender == OURS else "normal")
