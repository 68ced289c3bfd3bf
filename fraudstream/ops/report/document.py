"""A report as one HTML file: title, verdict, contents, sections and footnotes.

The file needs nothing else: styles and pictures are in it, and it has no script. Its content security policy forbids
browsers to fetch anything, whatever a text in it says.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files

from fraudstream.ops.report.markup import Markup, element, joined, text
from fraudstream.ops.report.palette import VARIABLES
from fraudstream.ops.report.parts import Part
from fraudstream.ops.report.quantities import Moment, quantity_text

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class Tone(StrEnum):
    """What a verdict means for its reader; it gives the banner its colour, its border and its sign."""

    GOOD = "good"
    """Go on."""
    WAIT = "wait"
    """Nothing can be said yet."""
    BAD = "bad"
    """Do not go on."""


_SIGNS = {Tone.GOOD: "\N{CHECK MARK}", Tone.WAIT: "\N{HORIZONTAL ELLIPSIS}", Tone.BAD: "\N{MULTIPLICATION SIGN}"}


@dataclass(frozen=True, slots=True)
class VerdictBanner:
    """The answer of a report in one word.

    Attributes:
        word: such as "PROMOTE".
        tone: what the word means.
        gate: the name of the gate that decided.
        reason: what that gate found and what it requires, in a sentence.
    """

    word: str
    tone: Tone
    gate: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReportSection:
    """A heading and what stands under it."""

    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the figures of a report rest on.

    Attributes:
        measured: what was measured, such as the topics, the deployment and the number of payments.
        start_ms, end_ms: the stretch of time of the payments, in milliseconds since 1970 UTC; None without payments.
        made_ms: when the report was made; an argument, so that one report gives the same bytes twice.
        version: of fraudstream.
    """

    measured: str
    start_ms: int | None
    end_ms: int | None
    made_ms: int
    version: str


@dataclass(frozen=True, slots=True)
class ReportPage:
    """A whole report.

    Attributes:
        title: of the page and of the browser's window.
        subtitle: what is compared with what, in a line.
        banner: the verdict; None if the report has none.
        sections: in the order of the contents.
        provenance: what the figures rest on.
        footnotes: how figures are defined, and what they leave out.
    """

    title: str
    subtitle: str
    banner: VerdictBanner | None
    sections: tuple[ReportSection, ...]
    provenance: Provenance
    footnotes: tuple[str, ...] = ()

    def html(self) -> str:
        """Return the file's text, UTF-8 with an ending newline; the same report gives the same bytes.

        Raises:
            MissingMatplotlibError: the page has a chart, and matplotlib is not installed.
        """
        head = element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", text(self.title)),
            element("style", _styles()),
        )
        header = element(
            "header", element("h1", text(self.title)), element("p", text(self.subtitle), class_="subtitle")
        )
        body = element("body", header, element("main", *self._main()), self._footer())
        return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"

    def _main(self) -> Iterator[Markup]:
        if self.banner is not None:
            yield _banner(self.banner)
        yield _contents(self.sections)
        for number, section in enumerate(self.sections, start=1):
            yield _section(f"s{number}", section)

    def _footer(self) -> Markup:
        origin = self.provenance
        facts = (
            ("Measured", origin.measured),
            ("From", _time(origin.start_ms)),
            ("To", _time(origin.end_ms)),
            ("Made", _time(origin.made_ms)),
            ("Version", f"fraudstream {origin.version}"),
        )
        rows = (element("div", element("dt", text(name)), element("dd", text(fact))) for name, fact in facts)
        notes = element("ol", *(element("li", text(note)) for note in self.footnotes))
        return element(
            "footer",
            element("h2", text("What this report rests on"), id="notes"),
            element("dl", *rows, class_="facts"),
            *((notes,) if self.footnotes else ()),
        )


def _time(ms: int | None) -> str:
    return quantity_text(None if ms is None else Moment(ms))


def _styles() -> Markup:
    """Return the style sheet, with the palette's colours as its variables."""
    variables = "".join(f"--{name}:{colour};" for name, colour in VARIABLES.items())
    return Markup(
        f":root{{{variables}}}\n{files('fraudstream.ops.report').joinpath('page.css').read_text(encoding='utf-8')}"
    )


def _banner(banner: VerdictBanner) -> Markup:
    sign = element("span", text(_SIGNS[banner.tone]), class_="sign", aria_hidden="true")
    return element(
        "section",
        element("p", sign, element("strong", text(banner.word)), class_="word"),
        element("p", text("Decided by the gate "), element("b", text(banner.gate)), class_="gate"),
        element("p", text(banner.reason)),
        class_=f"banner {banner.tone}",
        aria_label="Verdict",
    )


def _contents(sections: tuple[ReportSection, ...]) -> Markup:
    entries = [(f"s{number}", section.title) for number, section in enumerate(sections, start=1)]
    links = (
        element("li", element("a", text(title), href=f"#{place}"))
        for place, title in (*entries, ("notes", "What this report rests on"))
    )
    return element("nav", element("h2", text("Contents")), element("ol", *links), aria_label="Contents")


def _section(key: str, section: ReportSection) -> Markup:
    parts = joined(*(part.markup(f"{key}p{number}") for number, part in enumerate(section.parts, start=1)))
    heading = element("h2", text(section.title), id=key)
    return element("section", heading, parts, aria_labelledby=key)
