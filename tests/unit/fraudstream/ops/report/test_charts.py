"""Each chart is drawn from nothing, from one point and from many, and says its figures to readers who do not see it."""

import builtins
from collections.abc import Callable, Mapping
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.ops.report.charts.axis import AxisKind, ChartAxis, ReferenceLine
from fraudstream.ops.report.charts.bars import BarChart, BarSeries
from fraudstream.ops.report.charts.drawing import ChartFrame, wrapped
from fraudstream.ops.report.charts.front import FrontChart, FrontPoint
from fraudstream.ops.report.charts.histograms import HistogramChart, HistogramSeries
from fraudstream.ops.report.charts.intervals import IntervalChart, IntervalRow
from fraudstream.ops.report.charts.lines import ChartLine, LineChart
from fraudstream.ops.report.charts.reliability import ReliabilityBin, ReliabilityChart, ReliabilityCurve
from fraudstream.ops.report.document import Section
from fraudstream.ops.report.parts import Part, parts_markup
from stream.errors import MissingMatplotlibError
from support.parsed_page import SVG, parsed, pictures, words

FRAME = ChartFrame("Title", "Summary.")
NUMBER, SHARE = ChartAxis("x"), ChartAxis("share", AxisKind.SHARE)
EUR = ChartAxis("amount", AxisKind.MONEY, "EUR")
TIME = ChartAxis("time", AxisKind.TIME)
EMPTY: Mapping[str, Part] = {
    "no line": LineChart(FRAME, TIME, SHARE, ()),
    "a line without points": LineChart(FRAME, TIME, SHARE, (ChartLine("a", (), ()),), (ReferenceLine("budget", 1),)),
    "a line without values": LineChart(FRAME, NUMBER, SHARE, (ChartLine("a", (1, 2), (None, None)),)),
    "no interval": IntervalChart(FRAME, SHARE, ()),
    "intervals without figures": IntervalChart(FRAME, EUR, (IntervalRow("a", None, None, None),)),
    "bars of 0": BarChart(FRAME, ("g",), (BarSeries("s", (0,)),), EUR),
    "no bars": BarChart(FRAME, (), (), EUR),
    "groups without values": BarChart(FRAME, ("a",), (BarSeries("s", (None,)),), EUR, "", ReferenceLine("b", 3)),
    "no curve": ReliabilityChart(FRAME, ()),
    "a curve without bins": ReliabilityChart(FRAME, (ReliabilityCurve("a", ()),)),
    "no histogram": HistogramChart(FRAME, NUMBER, (), ()),
    "no point": FrontChart(FRAME, NUMBER, SHARE, ()),
    "a histogram of nothing": HistogramChart(FRAME, NUMBER, (0, 1), (HistogramSeries("a", (0,)),)),
}
ONE: Mapping[str, Part] = {
    "a line": LineChart(FRAME, TIME, EUR, (ChartLine("a", (0,), (5,), (1,), (9,)),)),
    "a line without bounds": LineChart(FRAME, NUMBER, SHARE, (ChartLine("a", (1,), (0.5,), (None,), (None,)),)),
    "an interval of no width": IntervalChart(FRAME, SHARE, (IntervalRow("a", 0.0, 0.0, 0.0),), reference=None),
    "an interval without bounds": IntervalChart(FRAME, EUR, (IntervalRow("a", 7, None, None),)),
    "a bar": BarChart(FRAME, ("g",), (BarSeries("s", (-3,)),), EUR, "group", ReferenceLine("budget", 3)),
    "a point": FrontChart(FRAME, NUMBER, SHARE, (FrontPoint("p", 2, 0.1, None, None, on_front=True),)),
    "a bin of 0": ReliabilityChart(FRAME, (ReliabilityCurve("a", (ReliabilityBin(0.0, 0.0, 0.0, 0.0, 9),)),)),
    "a bin, linear": ReliabilityChart(FRAME, (ReliabilityCurve("a", (ReliabilityBin(0, 0, 0, 0, 9),)),), False),  # noqa: FBT003
    "a count": HistogramChart(FRAME, NUMBER, (0, 1), (HistogramSeries("a", (4,)),), (ReferenceLine("review", 0.5),)),
}


def drawn(part: Part) -> ET.Element:
    """Return the picture of a part."""
    (picture,) = (picture for picture in pictures(part.markup("k")) if picture.get("role") == "img")
    return picture


def description(part: Part) -> str:
    return drawn(part).findtext(f"{SVG}desc") or ""


def test_a_chart_of_nothing_is_empty_and_its_section_leaves_it_out() -> None:
    assert [name for name, part in EMPTY.items() if not part.is_empty or not Section("s", (part,)).is_empty] == []
    assert parts_markup("k", tuple(EMPTY.values())) == ""


def test_a_chart_of_one_point_is_drawn() -> None:
    assert [name for name, part in ONE.items() if part.is_empty or not drawn(part).findall(f".//{SVG}path")] == []


def test_a_chart_does_not_depend_on_the_settings_of_the_machine_and_leaves_them_as_they_are() -> None:
    before = ONE["a line"].markup("k")
    with mpl.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.facecolor": "red", "lines.linewidth": 9}):
        assert ONE["a line"].markup("k") == before
        assert mpl.rcParams["font.size"] == 30


def test_the_description_of_a_line_names_its_first_and_its_last_value() -> None:
    chart = LineChart(FRAME, TIME, EUR, (ChartLine("a", (0, 86_400_000, 172_800_000), (None, 150, -25)),))
    assert description(chart) == (
        "Summary. a: EUR 1.50 at 1970-01-02 00:00:00 UTC, EUR -0.25 at 1970-01-03 00:00:00 UTC."
    )


def test_the_description_of_a_forest_plot_has_every_row() -> None:
    rows = (IntervalRow("a", 0.5, 0.25, None), IntervalRow("b", None, -0.1, 0.1), IntervalRow("c", None, None, None))
    chart = IntervalChart(FRAME, SHARE, rows)
    told = ["50 % (at least 25)", "-10 to 10 %"]
    assert description(chart) == f"Summary. a: {told[0]}. b: {told[1]}."
    assert set(told) | {"a", "b", "share (%)"} <= set(words(drawn(chart)))
    assert "c" not in words(drawn(chart))


def test_the_description_of_bars_has_every_value() -> None:
    chart = BarChart(FRAME, ("g", "h"), (BarSeries("s", (120, None)),), EUR)
    assert description(chart) == "Summary. g: s EUR 1.20. h: s n/a."
    assert "1.20" in words(drawn(chart))


def test_a_mean_below_one_major_unit_is_shown_with_more_decimals() -> None:
    assert EUR.shown(0.42) == "EUR 0.0042"
    assert EUR.shown(42) == EUR.shown(42.3) == "EUR 0.42"
    assert EUR.shown(12_345.4) == "EUR 123.45"


def test_the_description_of_a_reliability_diagram_has_payments_and_ends() -> None:
    bins = (ReliabilityBin(0.01, 0.02, 0.01, 0.03, 900), ReliabilityBin(0.5, 0.4, 0.3, 0.5, 100))
    chart = ReliabilityChart(FRAME, (ReliabilityCurve("a", bins),))
    assert description(chart) == (
        "Summary. a, 1,000 payments: from a mean score of 1.00 % with 2.00 % frauds to 50.00 % with 40.00 %."
    )


def test_the_description_of_a_front_has_the_points_that_are_on_it_by_time() -> None:
    points = (
        FrontPoint("slow", 9, 0.0, -0.01, 0.01, on_front=True),
        FrontPoint("beaten", 8, 0.3, None, None, on_front=False),
        FrontPoint("fast", 1, 0.25, None, None, on_front=True),
    )
    chart = FrontChart(FRAME, NUMBER, SHARE, points)
    assert description(chart) == "Summary. fast: 25.00 % at 1. slow: 0.00 % at 9."
    assert {"slow", "beaten", "fast"} <= set(words(drawn(chart)))
    legend = parsed(chart.markup("k")).of_class("legend")[0].all("li")
    assert legend[0].text == "On the front"
    assert len(legend) == 2


def test_the_description_of_a_histogram_says_where_most_payments_are() -> None:
    chart = HistogramChart(FRAME, SHARE, (0.0, 0.25, 0.5), (HistogramSeries("a", (1, 3)),))
    assert description(chart) == "Summary. a: 4 payments, most of them from 25.00 % to 50.00 %."


NINE = [f"series {place}" for place in range(9)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: LineChart(FRAME, NUMBER, NUMBER, tuple(ChartLine(name, (0, 1), (0, 1)) for name in NINE)),
        lambda: BarChart(FRAME, ("g",), tuple(BarSeries(name, (1,)) for name in NINE), NUMBER),
        lambda: ReliabilityChart(FRAME, tuple(ReliabilityCurve(name, ()) for name in NINE)),
        lambda: HistogramChart(FRAME, NUMBER, (0, 1), tuple(HistogramSeries(name, (1,)) for name in NINE)),
    ],
)
def test_more_than_eight_series_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"more than 8|at most 8"):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: ChartLine("a", (1, 2), (1,)),
        lambda: ChartLine("a", (1,), (1,), (1,)),
        lambda: BarChart(FRAME, ("g",), (BarSeries("s", (1, 2)),), EUR),
        lambda: HistogramChart(FRAME, NUMBER, (0, 1), (HistogramSeries("a", (1, 2)),)),
        lambda: HistogramChart(FRAME, NUMBER, (1, 1), ()),
        lambda: ChartAxis("x", AxisKind.MONEY),
        lambda: ChartAxis("x", AxisKind.MONEY, "XYZ"),
        lambda: ChartAxis("x", AxisKind.SHARE, "EUR"),
    ],
)
def test_values_that_do_not_fit_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"must have|must rise|needs a currency"):
        make()


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn", "Zl", "Zp", "Cf", "Zs"]), min_size=1, max_size=200))
def test_a_long_name_is_wrapped_and_never_cut(name: str) -> None:
    lines = wrapped(name).split("\n")
    assert "".join(lines) == name
    assert max(map(len, lines)) <= 34


def test_without_matplotlib_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingMatplotlibError, match=r"fraudstream\[report\]: pip install 'matplotlib>=3.10'"):
        ONE["a bar"].markup("k")
