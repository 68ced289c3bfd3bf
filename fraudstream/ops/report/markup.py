"""HTML elements as strings: whatever is not `Markup` is escaped, so that no name in a report can become an element.

`Markup` is a type of its own: mypy refuses a plain string where markup is expected, so a text cannot get into a page
without `text`.
"""

import html
import re
from typing import NewType

Markup = NewType("Markup", str)
"""HTML that may stand in a page as it is."""

_VOID = frozenset({"br", "meta"})
_CODE = re.compile("`([^`]+)`")
_LONGEST_WHOLE = 30
"""A word of a command is broken only if it has more characters."""
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""Characters that HTML or XML forbids, and those that reorder the text around them (Unicode's bidirectional controls):
with these a name could show the digits of a neighbouring figure in another order."""


def printable(value: str) -> str:
    """Return a text with U+FFFD in place of characters that HTML or XML forbids or that reorder their neighbours."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", value)


def text(value: str) -> Markup:
    """Return a text as markup that shows it."""
    return Markup(html.escape(printable(value), quote=True))


def breakable(value: str) -> Markup:
    """Return a text as markup whose long names are broken after underscores, if they must be."""
    return Markup(text(value).replace("_", "_<wbr>"))


def prose(value: str) -> Markup:
    """Return a text as markup; what is between backticks is a command, which is broken between its words alone."""
    return joined(*(_command(part) if at % 2 else text(part) for at, part in enumerate(_CODE.split(value))))


def _command(value: str) -> Markup:
    words = (element("span", text(word), **_whole(word)) for word in value.split())
    return element("code", Markup(" ".join(words)))


def _whole(word: str) -> dict[str, str]:
    return {"class_": "token"} if len(word) <= _LONGEST_WHOLE else {}


def joined(*parts: Markup) -> Markup:
    """Return markup one after the other."""
    return Markup("".join(parts))


def element(tag: str, *children: Markup, **attributes: str) -> Markup:
    """Return an element.

    Args:
        tag: its name, such as `td`.
        children: what is in it, in this order.
        attributes: their values are escaped; `class_` is written `class`, and `aria_label` is written `aria-label`.
    """
    given = "".join(f' {name.rstrip("_").replace("_", "-")}="{text(value)}"' for name, value in attributes.items())
    if tag in _VOID:
        return Markup(f"<{tag}{given}>")
    return Markup(f"<{tag}{given}>{''.join(children)}</{tag}>")
