"""Charts as inline SVG by matplotlib, of which nothing else in this package knows.

One chart gives the same bytes each time: ids are numbered in its own order, the font's metrics are those of the
DejaVu Sans that matplotlib ships, and neither a date nor a machine's own settings come in. Text stays text, so that it
can be searched and copied, names of any script are shown by the reader's fonts, and the file stays small. DejaVu Sans
is wider than the fonts that the page asks for, so what fits by its metrics fits by theirs.
"""

import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from xml.etree import ElementTree as ET

from fraudstream.ops.report.markup import Markup, element, printable, text
from fraudstream.ops.report.palette import INK, MUTED, PAPER, RULE, SeriesStyle
from stream.errors import MissingMatplotlibError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE_INCHES = 7.0
"""Width of A4 paper between the margins of the page's style sheet."""
BASE_POINTS = 8.5
_LEAST_REM = 36
"""Width of a chart on a narrow screen, on which it scrolls, so that its texts can be read."""
_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FAMILY = re.compile(r"font-family: [^;]*;? ?")
_FONTS = "'DejaVu Sans', Verdana, Arial, Helvetica, sans-serif"
_KEY_INCHES = (0.5, 0.16)
_LABEL_CHARACTERS = 34
_STYLE: Mapping[str, Any] = {
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": False,
    "figure.facecolor": PAPER,
    "font.family": ["DejaVu Sans"],
    "font.size": BASE_POINTS,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "fraudstream",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True, slots=True)
class ChartFrame:
    """What every chart has.

    Attributes:
        title: what is shown, as its heading.
        summary: what it shows in words, for a reader who does not see it; with the figures that matter.
        note: stands under the title, such as what the band means; may be empty.
    """

    title: str
    summary: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """The name of a series, and how it is drawn: as a line with its marker, or as a filled area with its hatch."""

    name: str
    style: SeriesStyle
    filled: bool = False


def figure_markup(
    frame: ChartFrame,
    key: str,
    inches: tuple[float, float],
    paint: Callable[["Figure"], None],
    legend: Sequence[LegendEntry] = (),
) -> Markup:
    """Return a chart as a `figure` with its caption, its picture and its legend.

    Args:
        frame: its title and texts.
        key: begins each id in it.
        inches: width and height.
        paint: draws into an empty figure.
        legend: of its series; it is text of the page, so that long names wrap.

    Raises:
        MissingMatplotlibError: matplotlib is not installed.
    """
    note = (element("p", text(frame.note)),) if frame.note else ()
    caption = element("figcaption", text(frame.title), *note)
    picture = _svg(key, inches, paint)
    picture.set("width", f"{100 * inches[0] / PAGE_INCHES:.0f}%")
    picture.set("style", f"min-width:{_LEAST_REM * inches[0] / PAGE_INCHES:.3g}rem")
    del picture.attrib["height"]
    _describe(picture, key, frame)
    scrolled = element("div", _written(picture), class_="picture", role="region", tabindex="0", aria_label=frame.title)
    keys = (element("li", _legend_key(f"{key}k{place}", entry), text(entry.name)) for place, entry in enumerate(legend))
    below = (element("ul", *keys, class_="legend"),) if legend else ()
    return element("figure", caption, scrolled, *below)


def picture_file(frame: ChartFrame, inches: tuple[float, float], paint: Callable[["Figure"], None]) -> str:
    """Return a chart as the text of an SVG file of its own, such as for a page of documentation.

    Args:
        frame: its texts; the title is not drawn.
        inches: width and height.
        paint: draws into an empty figure.

    Raises:
        MissingMatplotlibError: matplotlib is not installed.
    """
    picture = _svg("p", inches, paint)
    _describe(picture, "p", frame)
    return _written(picture) + "\n"


def wrapped(name: str, characters: int = _LABEL_CHARACTERS) -> str:
    """Return a name for an axis in lines of so many characters at most: it is never cut, a long word is divided."""
    return "\n".join(textwrap.wrap(printable(name), characters)) or printable(name)


def _legend_key(key: str, entry: LegendEntry) -> Markup:
    """Return a small picture of how a series is drawn, hidden from screen readers."""

    def paint(figure: "Figure") -> None:
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        style = entry.style
        if entry.filled:
            axes.fill_between(
                [0.05, 0.95], 0.08, 0.92, facecolor=style.fill, edgecolor=INK, hatch=style.hatch, linewidth=0.6
            )
        else:
            dashes = (0, style.dash) if style.dash else "solid"
            axes.plot([0.0, 1.0], [0.5, 0.5], color=style.colour, linestyle=dashes)
            axes.plot([0.5], [0.5], color=style.colour, marker=style.marker, markersize=5)

    picture = _svg(key, _KEY_INCHES, paint)
    picture.set("aria-hidden", "true")
    return _written(picture)


def _svg(key: str, inches: tuple[float, float], paint: Callable[["Figure"], None]) -> ET.Element:
    """Return a picture without what only a file of its own needs, its ids beginning with `key`."""
    with _house_style() as figure_class:
        figure = figure_class(figsize=inches, layout="constrained")
        paint(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    picture = ET.fromstring(buffer.getvalue())  # noqa: S314 - matplotlib wrote it just now
    for dropped in ("metadata", "defs"):
        _drop_first(picture, f"{_SVG}{dropped}")
    _rename(picture, key)
    picture.set("xmlns", "http://www.w3.org/2000/svg")
    return picture


@contextmanager
def _house_style() -> Iterator[type["Figure"]]:
    """Set the style of all charts for a block, whatever the machine's own settings are.

    Raises:
        MissingMatplotlibError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - of the extra `report`
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise MissingMatplotlibError from error
    with warnings.catch_warnings(), mpl.rc_context():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")  # the reader's fonts may have it
        mpl.rcdefaults()
        cast("Any", mpl.rcParams).update(_STYLE)  # its type wants literal names
        yield Figure


def _drop_first(picture: ET.Element, tag: str) -> None:
    """Take away the first child of that tag: matplotlib's metadata, and its style sheet, which would be the page's."""
    found = picture.find(tag)
    if found is not None:
        picture.remove(found)


def _rename(picture: ET.Element, key: str) -> None:
    """Number the ids in their order, write names as they are inside of HTML, and take indentation away."""
    names: dict[str, str] = {}

    def renamed(name: str) -> str:
        return names.setdefault(name, f"{key}i{len(names)}")

    used = {name for node in picture.iter() for name in _referenced(node)}
    for node in picture.iter():
        node.tag, node.tail = node.tag.removeprefix(_SVG), None
        if node.tag != "text":
            node.text = None
        name = node.attrib.pop("id", None)
        if name in used:
            node.set("id", renamed(name))
        if _HREF in node.attrib:
            node.set("href", f"#{renamed(node.attrib.pop(_HREF).removeprefix('#'))}")
        for attribute, value in node.attrib.items():
            written = _REFERENCE.sub(lambda found: f"url(#{renamed(found[1])})", value)
            node.set(attribute, _FAMILY.sub("", written) if attribute == "style" else written)


def _referenced(node: ET.Element) -> Iterator[str]:
    if _HREF in node.attrib:
        yield node.attrib[_HREF].removeprefix("#")
    for value in node.attrib.values():
        yield from _REFERENCE.findall(value)


def _describe(picture: ET.Element, key: str, frame: ChartFrame) -> None:
    """Put title and summary into the picture, where screen readers look for them."""
    for place, (tag, words) in enumerate((("title", frame.title), ("desc", frame.summary))):
        told = ET.Element(tag, {"id": f"{key}{tag}"})
        told.text = printable(words)
        picture.insert(place, told)
    picture.set("role", "img")
    picture.set("aria-labelledby", f"{key}title {key}desc")
    picture.set("font-family", _FONTS)


def _written(picture: ET.Element) -> Markup:
    return Markup(ET.tostring(picture, encoding="unicode"))
