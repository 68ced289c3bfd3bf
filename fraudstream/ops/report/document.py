"""A report: its headline, its sections and what it rests on, and how it looks as one HTML file.

A command states sections and nothing else; `html()` renders them as a page, `terminal.py` as tables of rich,
`markdown.py` as Markdown. A page needs no other file: styles and pictures are in it, and it has no script. Its content
security policy forbids browsers to fetch anything, whatever a text in it says.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files

from fraudstream.ops.report.markup import Markup, element, prose, text
from fraudstream.ops.report.palette import DARK, VARIABLES
from fraudstream.ops.report.parts import Part, parts_markup
from fraudstream.ops.report.quantities import Moment, quantity_text

RESTS_ON = "What this report rests on"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class Tone(StrEnum):
    """What a headline means for its reader; it gives the headline its colour, its border and its sign."""

    GOOD = "good"
    """Go on."""
    WAIT = "wait"
    """Nothing can be said yet."""
    BAD = "bad"
    """Do not go on."""
    PLAIN = "plain"
    """A finding, from which no act follows."""


SIGNS = {
    Tone.GOOD: "\N{CHECK MARK}",
    Tone.WAIT: "\N{HORIZONTAL ELLIPSIS}",
    Tone.BAD: "\N{MULTIPLICATION SIGN}",
    Tone.PLAIN: "\N{BULLET}",
}


@dataclass(frozen=True, slots=True)
class Headline:
    """The answer of a report in a sentence, which stands before every figure.

    Attributes:
        words: such as "Better: saves EUR 0.40 to 1.10 a card".
        tone: what they mean.
        decision: what was decided and by what, such as "PROMOTE, decided by the gate loss"; may be empty.
        reason: what that rests on; may be empty.
    """

    words: str
    tone: Tone
    decision: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    title: str
    parts: tuple[Part, ...]

    @property
    def is_empty(self) -> bool:
        """Whether none of its parts has data, so that it is left out."""
        return all(part.is_empty for part in self.parts)


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

    def facts(self) -> tuple[tuple[str, str], ...]:
        """Return each fact with its name; times that are not known are left out."""
        times = (("From", self.start_ms), ("To", self.end_ms), ("Made", self.made_ms))
        known = ((name, quantity_text(Moment(ms))) for name, ms in times if ms is not None)
        return ("Measured", self.measured), *known, ("Version", f"fraudstream {self.version}")


@dataclass(frozen=True, slots=True)
class Report:
    """A whole report, for a page and for a terminal alike.

    Attributes:
        title: of the page and of the browser's window.
        subtitle: what is compared with what, in a line.
        headline: the answer; None if the report has none.
        sections: in the order of the contents; those without data are left out.
        provenance: what the figures rest on.
        footnotes: how figures are defined, and what they leave out.
    """

    title: str
    subtitle: str
    headline: Headline | None
    sections: tuple[Section, ...]
    provenance: Provenance
    footnotes: tuple[str, ...] = ()

    @property
    def stated(self) -> tuple[Section, ...]:
        """The sections that have data."""
        return tuple(section for section in self.sections if not section.is_empty)

    def facts(self) -> dict[str, str]:
        """Return what the JSON of a command has beside its figures: the headline's words, if there is one."""
        return {} if self.headline is None else {"headline": self.headline.words}

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
        if self.headline is not None:
            yield _banner(self.headline)
        yield _contents(self.stated)
        for number, section in enumerate(self.stated, start=1):
            yield _section(f"s{number}", section)

    def _footer(self) -> Markup:
        facts = self.provenance.facts()
        rows = (element("div", element("dt", text(name)), element("dd", text(fact))) for name, fact in facts)
        notes = element("ol", *(element("li", prose(note)) for note in self.footnotes))
        return element(
            "footer",
            element("h2", text(RESTS_ON), id="notes"),
            element("dl", *rows, class_="facts"),
            *((notes,) if self.footnotes else ()),
        )


def _styles() -> Markup:
    """Return the style sheet, with the palette's colours as its variables, on a bright and on a dark screen."""
    bright, dark = ("".join(f"--{name}:{colour};" for name, colour in one.items()) for one in (VARIABLES, DARK))
    sheet = files("fraudstream.ops.report").joinpath("page.css").read_text(encoding="utf-8")
    return Markup(
        f":root{{{bright}color-scheme:light dark;}}\n"
        f"@media screen and (prefers-color-scheme: dark){{:root{{{dark}}}}}\n{sheet}"
    )


def _banner(headline: Headline) -> Markup:
    sign = element("span", text(SIGNS[headline.tone]), class_="sign", aria_hidden="true")
    told = (headline.decision, "decision"), (headline.reason, "reason")
    return element(
        "section",
        element("p", sign, element("strong", text(headline.words)), class_="word"),
        *(element("p", prose(words), class_=kind) for words, kind in told if words),
        class_=f"banner {headline.tone}",
        aria_label="Headline",
    )


def _contents(sections: tuple[Section, ...]) -> Markup:
    entries = [(f"s{number}", section.title) for number, section in enumerate(sections, start=1)]
    links = (
        element("li", element("a", text(title), href=f"#{place}")) for place, title in (*entries, ("notes", RESTS_ON))
    )
    return element("nav", element("h2", text("Contents")), element("ol", *links), aria_label="Contents")


def _section(key: str, section: Section) -> Markup:
    heading = element("h2", text(section.title), id=key)
    return element("section", heading, parts_markup(key, section.parts), aria_labelledby=key)
