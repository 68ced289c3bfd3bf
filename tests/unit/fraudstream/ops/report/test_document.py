"""A page is one well-formed file that needs nothing else, runs nothing, and shows every text as a text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.ops.report.charts.axis import ChartAxis
from fraudstream.ops.report.charts.bars import BarChart, BarSeries
from fraudstream.ops.report.charts.drawing import ChartFrame
from fraudstream.ops.report.charts.intervals import IntervalChart, IntervalRow
from fraudstream.ops.report.charts.lines import ChartLine, LineChart
from fraudstream.ops.report.decisions import DecisionCell, DecisionMatrix
from fraudstream.ops.report.document import Headline, Provenance, Report, Section, Tone
from fraudstream.ops.report.markup import element, printable, text
from fraudstream.ops.report.parts import Folded, KeyFigure, KeyFigures, Note, Part
from fraudstream.ops.report.tables import DataTable
from fraudstream.ops.rollout.experiments.page import state_split
from fraudstream.ops.rollout.experiments.report import report_of
from fraudstream.ops.rollout.verdict.page import state_verdict
from metrics.bootstrap import BootstrapPlan
from support.experiment_cases import EXPERIMENT, drawn_payments, rows_of, terms
from support.outcome_cases import at_ms
from support.parsed_page import SVG, Node, parsed, pictures
from support.verdict_reports import example

HOSTILE = (
    (
        "<script>alert(1)</script> </svg></style><img src=x onerror=alert(1)> &lt;b&gt; & <!-- --> ]]> <![CDATA["
        "\" onmouseover=\"alert(1) ' style='background:url(//example.org)"
    ),
    "$\\frac{1}{0}$ _hidden %s {0} \\ \u202e0024 RUE\u202c \x00\x1b[31m \ud800 \u9280\u884c \u0628\u0646\u0643"
    + "-" * 300,
)


PROVENANCE = Provenance("topics scores and outcomes", 0, 86_400_000, 86_400_000, "0.1.0")


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    payments = rows_of(drawn_payments(1, cards=200))
    split = report_of(payments, EXPERIMENT, terms(70.0), ("EUR", "JPY"), BootstrapPlan(draws=50, least_cards=5))
    return {
        "verdict": state_verdict(example(300)).html(),
        "split": state_split(split, at_ms(100.0), "1.2.3").html(),
    }


@pytest.fixture(params=["verdict", "split"])
def page(request: pytest.FixtureRequest, pages: dict[str, str]) -> str:
    return pages[request.param]


def simple(*parts: Part, title: str = "Title", headline: Headline | None = None) -> Report:
    return Report(title, "", headline, (Section("Section", parts),), PROVENANCE)


def test_a_page_is_well_formed_and_its_ids_are_unique(page: str) -> None:
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
    tree = parsed(page)
    ids = [node.attributes["id"] for node in tree.all("*") if "id" in node.attributes]
    assert len(ids) == len(set(ids)) > 10


def test_every_reference_within_a_page_leads_to_an_id(page: str) -> None:
    tree = parsed(page)
    ids = {node.attributes["id"] for node in tree.all("*") if "id" in node.attributes}
    links = {node.attributes["href"] for node in tree.all("*") if "href" in node.attributes}
    assert all(link.startswith("#") for link in links)
    labels = {name for node in tree.all("*") for name in node.attributes.get("aria-labelledby", "").split()}
    urls = set(re.findall(r"url\(#([^)]+)\)", page))
    assert {link[1:] for link in links} | labels | urls <= ids
    assert urls


def test_a_page_refers_to_nothing_outside_and_runs_nothing(page: str) -> None:
    tree = parsed(page)
    assert set(re.findall(r"[a-z]+://[^\"' <>]*", page)) == {"http://www.w3.org/2000/svg"}
    assert len(re.findall("://", page)) == len(re.findall('xmlns="http://www.w3.org/2000/svg"', page))
    assert {"script", "link", "img", "iframe", "object", "embed", "form", "base", "foreignobject", "image"}.isdisjoint(
        node.tag for node in tree.all("*")
    )
    attributes = {name for node in tree.all("*") for name in node.attributes}
    assert not [name for name in attributes if name.startswith("on") or name in {"src", "srcset", "xlink:href"}]
    assert "@import" not in page
    assert re.search(r"url\((?!#)", page) is None


def test_a_browser_is_told_to_fetch_nothing_before_anything_else_is_read(page: str) -> None:
    charset, policy = parsed(page).all("meta")[:2]
    assert charset.attributes == {"charset": "utf-8"}
    assert policy.attributes["http-equiv"] == "Content-Security-Policy"
    assert policy.attributes["content"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_every_picture_is_an_image_with_a_title_and_a_description(page: str) -> None:
    shown = [picture for picture in pictures(page) if picture.get("aria-hidden") != "true"]
    assert len(shown) >= 2
    for picture in shown:
        title, description = list(picture)[:2]
        assert picture.get("role") == "img"
        assert picture.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        assert (title.tag, description.tag) == (f"{SVG}title", f"{SVG}desc")
        assert title.text
        assert description.text


def test_every_table_has_a_caption_heads_that_repeat_and_rows_with_heads(page: str) -> None:
    tables = parsed(page).all("table")
    assert tables
    for table in tables:
        assert [child.tag for child in table.children if isinstance(child, Node)] == ["caption", "thead", "tbody"]
        assert all(node.attributes["scope"] for node in table.all("th"))
        for row in table.all("tbody")[0].all("tr"):
            assert row.all("th")[0].attributes["scope"] == "row"
    assert "thead { display: table-header-group; }" in page


def test_a_section_without_data_is_neither_shown_nor_in_the_contents() -> None:
    empty = (Note(), KeyFigures((KeyFigure("Recall", None),)), DataTable("c", ("A",), ()), Folded("More", (Note(),)))
    page = Report("t", "", None, (Section("Empty", empty), Section("Full", (*empty, Note("Words.")))), PROVENANCE)
    tree = parsed(page.html())
    assert [node.text for node in tree.all("h2")] == ["Contents", "Full", "What this report rests on"]
    assert not tree.all("table") + tree.all("details") + tree.of_class("key")


def test_the_end_of_a_page_says_what_was_measured_when_and_with_which_version() -> None:
    origin = Provenance("12 payments", 1_772_323_200_000, 1_772_409_600_000, 1_772_409_661_000, "0.1.0")
    footer = parsed(Report("t", "s", None, (), origin, ("A note.",)).html()).all("footer")[0]
    facts = dict(zip((node.text for node in footer.all("dt")), (node.text for node in footer.all("dd")), strict=True))
    assert facts == {
        "Measured": "12 payments",
        "From": "2026-03-01 00:00:00 UTC",
        "To": "2026-03-02 00:00:00 UTC",
        "Made": "2026-03-02 00:01:01 UTC",
        "Version": "fraudstream 0.1.0",
    }
    assert [node.text for node in footer.all("li")] == ["A note."]
    unknown = Provenance("nothing", None, None, 0, "0.1.0")
    assert [name for name, _ in unknown.facts()] == ["Measured", "Made", "Version"]


def hostile_page(name: str) -> Report:
    """Return a page with `name` wherever a text can stand."""
    frame = ChartFrame(name, name, name)
    parts: tuple[Part, ...] = (
        Note(name, (name,)),
        KeyFigures((KeyFigure(name, name, name),)),
        DataTable(name, (name, "b"), ((name, name),), name),
        DecisionMatrix(name, name, name, "EUR", {("approve", "review"): DecisionCell(1, 1)}),
        Folded(name, (Note(name),)),
        LineChart(
            frame, ChartAxis(name), ChartAxis(name), tuple(ChartLine(f"{n}{name}", (0, 1), (n, 2)) for n in (1, 2))
        ),
        IntervalChart(frame, ChartAxis(name), (IntervalRow(name, 1.0, 0.5, 2.0),)),
        BarChart(frame, (name,), (BarSeries(name, (1,)), BarSeries(name, (2,))), ChartAxis(name), name),
    )
    origin = Provenance(name, 0, 1, 2, name)
    headline = Headline(name, Tone.BAD, name, name)
    return Report(name, name, headline, (Section(name, parts),), origin, (name,))


@pytest.fixture(scope="module")
def harmless() -> str:
    return hostile_page("harmless").html()


@pytest.mark.parametrize("name", HOSTILE, ids=["markup", "formulas and controls"])
def test_a_hostile_name_is_shown_and_makes_no_element(name: str, harmless: str) -> None:
    page = hostile_page(name).html()
    tags = [[node.tag for node in parsed(one).all("*") if node.tag not in SHAPES] for one in (page, harmless)]
    assert tags[0] == tags[1]
    attributes = [{key for node in parsed(one).all("*") for key in node.attributes} for one in (page, harmless)]
    assert attributes[0] <= attributes[1]
    tree = parsed(page)
    assert tree.all("h1")[0].text == printable(name)
    assert all(next(iter(picture)).text == printable(name) for picture in pictures(page) if picture.get("role"))
    assert "\u202e" not in page
    page.encode()


SHAPES = {"text", "tspan", "g", "path", "use", "defs", "clippath", "rect", "wbr"}
"""Elements of a picture, and places where a name may be broken: their number depends on how long a label is."""


@given(st.text())
def test_any_text_is_read_back_as_it_was_but_for_what_cannot_be_printed(words_of: str) -> None:
    node = parsed(element("p", text(words_of), title=words_of)).all("p")[0]
    expected = printable(words_of)
    assert node.text == expected
    assert node.attributes["title"] == expected
    assert len(expected) == len(words_of)
    expected.encode()
