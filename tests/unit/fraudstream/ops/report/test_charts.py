"""Each chart is drawn from nothing, from one point and from many, and says its figures to readers who do not see it."""

import builtins
from collections.abc import Callable, Mapping, Sequence
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
    "an interval": IntervalChart(FRAME, SHARE, (IntervalRow("a", 0.1, 0.0, 0.2),)),
    "an interval of no width": IntervalChart(FRAME, SHARE, (IntervalRow("a", 0.0, 0.0, 0.0),), reference=None),
    "an interval without bounds": IntervalChart(FRAME, EUR, (IntervalRow("a", 7, None, None),)),
    "a bar": BarChart(FRAME, ("g",), (BarSeries("s", (-3,)),), EUR, "group", ReferenceLine("budget", 3)),
    "a point": FrontChart(FRAME, NUMBER, SHARE, (FrontPoint("p", 2, 0.1, None, None, on_front=True),)),
    "a bin": ReliabilityChart(FRAME, (ReliabilityCurve("a", (ReliabilityBin(0.1, 0.2, 0.1, 0.3, 9),)),)),
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


@pytest.mark.parametrize("name", EMPTY)
def test_a_chart_of_nothing_is_empty_and_its_section_leaves_it_out(name: str) -> None:
    assert EMPTY[name].is_empty
    assert Section("s", (EMPTY[name],)).is_empty
    assert parts_markup("k", (EMPTY[name],)) == ""


@pytest.mark.parametrize("name", ONE)
def test_a_chart_of_one_point_is_drawn(name: str) -> None:
    assert not ONE[name].is_empty
    assert drawn(ONE[name]).findall(f".//{SVG}path")
    assert ONE[name].markup("k") == ONE[name].markup("k")


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


def test_a_forest_plot_has_eight_rows_and_the_others_are_in_a_folded_table() -> None:
    rows = tuple(IntervalRow(f"r{at}", at / 100, 0.0, 0.2, strong=at == 11) for at in range(12))
    chart = IntervalChart(FRAME, SHARE, rows)
    assert [row.name for row in chart.drawn] == ["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r11"]
    (folded,) = parsed(chart.markup("k")).all("details")
    assert folded.all("summary")[0].text == "Title: 4 more"
    assert [row.all("th")[0].text for row in folded.all("tbody")[0].all("tr")] == ["r7", "r8", "r9", "r10"]
    assert not parsed(IntervalChart(FRAME, SHARE, rows[:8]).markup("k")).all("details")


def test_the_description_of_bars_has_every_value() -> None:
    chart = BarChart(FRAME, ("g", "h"), (BarSeries("s", (120, None)),), EUR)
    assert description(chart) == "Summary. g: s EUR 1.20. h: s n/a."
    assert "1.20" in words(drawn(chart))


def test_a_budget_is_named_with_its_value() -> None:
    chart = BarChart(FRAME, ("g",), (BarSeries("s", (1,)),), ChartAxis("n", AxisKind.COUNT), "", ReferenceLine("b", 2))
    assert [node.text for node in parsed(chart.markup("k")).of_class("legend")[0].all("li")] == ["s", "b: 2"]
    line = LineChart(FRAME, NUMBER, NUMBER, (ChartLine("a", (0, 1), (0, 3)),), (ReferenceLine("b", 2),))
    assert "b: 2" in words(drawn(line))


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


def series_of(count: int) -> list[Callable[[], Any]]:
    names = [f"series {place}" for place in range(count)]
    return [
        lambda: LineChart(FRAME, NUMBER, NUMBER, tuple(ChartLine(name, (0, 1), (0, 1)) for name in names)),
        lambda: BarChart(FRAME, ("g",), tuple(BarSeries(name, (1,)) for name in names), NUMBER),
        lambda: ReliabilityChart(FRAME, tuple(ReliabilityCurve(name, ()) for name in names)),
        lambda: HistogramChart(FRAME, NUMBER, (0, 1), tuple(HistogramSeries(name, (1,)) for name in names)),
    ]


@pytest.mark.parametrize("place", range(4))
def test_eight_series_have_a_legend_and_nine_are_refused(place: int) -> None:
    legend = parsed(series_of(8)[place]().markup("k")).of_class("legend")[0]
    assert [node.text for node in legend.all("li")][:8] == [f"series {number}" for number in range(8)]
    with pytest.raises(ValueError, match=r"more than 8|at most 8"):
        series_of(9)[place]()


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


def test_a_label_is_shown_to_its_last_character() -> None:
    name = "cards-model-of-the-eastern-region:2026.11 81d07a5b"
    shown = "".join(words(drawn(IntervalChart(FRAME, SHARE, (IntervalRow(name, 0.1, 0.0, 0.2),)))))
    assert name.replace(" ", "") in shown.replace(" ", "")


def test_without_matplotlib_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingMatplotlibError, match=r"fraudstream\[report\]: pip install 'matplotlib>=3.10'"):
        ONE["a bar"].markup("k")


def limits(texts: Sequence[str]) -> tuple[float, float]:
    numbers = [float(one.replace(",", "")) for one in texts if one.replace(",", "").replace(".", "").isdecimal()]
    return min(numbers), max(numbers)


def test_ticks_have_thousands_separators_and_major_units() -> None:
    chart = BarChart(FRAME, tuple("abcdefghijklm"), (BarSeries("s", (123_456_700,) * 13),), EUR)
    texts = words(drawn(chart))
    assert "amount (EUR)" in texts
    assert limits(texts) == (0, 1_250_000)
