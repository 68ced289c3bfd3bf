"""The colours, markers, dashes and hatches of reports.

Colours are those of Okabe and Ito, Color Universal Design (2008), which people with any colour vision tell apart. Of
the eight, only four have the contrast of 3:1 with white paper that WCAG 2.2 (1.4.11) asks of lines; the others serve
as light fills. No two series differ by colour alone: on a black-and-white print the marker, the dash or the hatch tells
them apart.
"""

from dataclasses import dataclass

BLACK = "#000000"
ORANGE = "#E69F00"
SKY_BLUE = "#56B4E9"
BLUISH_GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
REDDISH_PURPLE = "#CC79A7"
OKABE_ITO = (BLACK, ORANGE, SKY_BLUE, BLUISH_GREEN, YELLOW, BLUE, VERMILLION, REDDISH_PURPLE)

PAPER = "#FFFFFF"
INK = "#1A1A1A"
MUTED = "#555555"
"""Of notes and units."""
RULE = "#C8C8C8"
"""Of lines between rows, and of a chart's grid; they carry no meaning."""
SHADE = "#EFEFEF"
"""Behind heads, and behind what is alike in a matrix."""
GOOD = "#00614A"
"""Bluish green, darkened for text."""
WAIT = "#005A8C"
"""Blue, darkened for text."""
BAD = "#A34700"
"""Vermillion, darkened for text."""

TEXT_COLOURS = (INK, MUTED, GOOD, WAIT, BAD)
"""Of text; each has a contrast of 4.5:1 with `PAPER` and with `SHADE` (WCAG 2.2, 1.4.3)."""
VARIABLES = {
    "paper": PAPER,
    "ink": INK,
    "muted": MUTED,
    "rule": RULE,
    "shade": SHADE,
    "good": GOOD,
    "wait": WAIT,
    "bad": BAD,
}
"""The names by which `page.css` uses them."""
DARK = {
    "paper": "#121212",
    "ink": "#EDEDED",
    "muted": "#B3B3B3",
    "rule": "#4A4A4A",
    "shade": "#242424",
    "good": "#4CC9A0",
    "wait": "#6BB8EE",
    "bad": "#F0915A",
}
"""The same on a dark screen, with the same contrasts; charts are inverted there by `page.css`."""


@dataclass(frozen=True, slots=True)
class SeriesStyle:
    """How one series is drawn; the forms of `marker`, `dash` and `hatch` are matplotlib's."""

    colour: str
    marker: str
    dash: tuple[float, ...]
    """Lengths of strokes and gaps in line widths; empty for an unbroken line."""
    fill: str
    """The colour of an area; its outline and its hatch are in `INK`."""
    hatch: str


_FORMS = (
    ("o", (), ""),
    ("s", (5.0, 2.0), "////"),
    ("^", (1.0, 1.5), "...."),
    ("D", (6.0, 1.5, 1.0, 1.5), "xxxx"),
    ("v", (9.0, 2.0), "||||"),
    ("P", (3.0, 1.0, 1.0, 1.0, 1.0, 1.0), "----"),
    ("X", (2.0, 1.0), "\\\\\\\\"),
    ("*", (8.0, 1.5, 3.0, 1.5), "oooo"),
)
LINE_COLOURS = (BLACK, BLUE, VERMILLION, BLUISH_GREEN)
"""Of lines and markers; each has a contrast of 3:1 with `PAPER`."""
FILL_COLOURS = (SKY_BLUE, ORANGE, YELLOW, REDDISH_PURPLE)
"""Of areas; outlines and hatches in `INK` have a contrast of 3:1 with each."""
STYLES = tuple(
    SeriesStyle(colour, marker, dash, fill, hatch)
    for (marker, dash, hatch), colour, fill in zip(_FORMS, LINE_COLOURS * 2, FILL_COLOURS * 2, strict=True)
)
"""Of the series of a chart, in their order; there are as many as a split has arms, with `live`."""
