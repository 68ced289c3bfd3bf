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
