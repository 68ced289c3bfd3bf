"""A report as Markdown: the sections of the page, and no text that becomes HTML or another cell."""

from fraudstream.ops.report.decisions import DecisionCell, DecisionMatrix
from fraudstream.ops.report.document import Provenance, Report, Section
from fraudstream.ops.report.markdown import in_markdown
from fraudstream.ops.report.parts import Folded, KeyFigure, KeyFigures, Note, Part
from fraudstream.ops.report.quantities import Count, Money, Percentage
from fraudstream.ops.report.tables import DataTable

ORIGIN = Provenance("topics scores and outcomes", 0, 86_400_000, 86_400_000, "0.1.0")


def shown(*parts: Part) -> list[str]:
    report = Report("Title", "Subtitle", None, (Section("Section", parts),), ORIGIN, ("A footnote.",))
    return in_markdown(report).split("\n")


def test_each_part_is_written_in_the_words_of_the_page() -> None:
    lines = shown(
        Note("Words.", ("First.", "Second.")),
        KeyFigures((KeyFigure("Recall", Percentage(0.5), "live: 40 %"),)),
        DataTable("Gates", ("Gate", "Passed", "Lost"), (("a|b", False, Money(150, "EUR")), ("loss", True, ""))),
        DataTable("Counts", ("", "Figure"), (("Cards", Count(1_204)), ("Paid", Money(150, "EUR"))), "A note."),
        DecisionMatrix("Decisions", "Live", "Challenger", "EUR", {("approve", "review"): DecisionCell(3, 450)}),
        Folded("4 more", (Note("Open."),)),
    )
    for line in (
        "- Second.",
        "- **Recall**: 50.00 % (live: 40 %)",
        "| Gate | Passed | Lost (EUR) |",
        "| --- | --- | ---: |",
        "| a\\|b | \N{MULTIPLICATION SIGN} no | 1.50 |",
        "- **Cards**: 1,204",
        "- **Paid**: EUR 1.50",
        "A note.",
        "| approve | alike | 3 / EUR 4.50 | 0 / EUR 0.00 |",
        "### 4 more",
        "Open.",
    ):
        assert line in lines, line


def test_no_text_becomes_html_or_breaks_its_line() -> None:
    lines = shown(DataTable("F", ("What", "Fact"), (("Owner", "Fraud <b>\n# desk\u202e"),)))
    assert "- **Owner**: Fraud &lt;b> # desk\N{REPLACEMENT CHARACTER}" in lines
