"""Dead letters as text for people: readable at any width, ids and places whole, and harmless to a terminal."""

import textwrap
from collections.abc import Mapping
from typing import Any

from fraudstream.ops.repair.kept_letters import KeptLetter
from stream.printing import printable

SHOWN_CHARACTERS = 4_000
"""Of a value, for people: a dead letter may have 2 MiB."""
_IDS = (("transaction", "transaction_id"), ("card", "card_id"), ("deployment", "deployment"))


def listed(letter: KeptLetter, columns: int) -> str:
    """Return what a list shows of a letter: ids and its place whole, and the detail wrapped at `columns`."""
    facts = letter.facts()
    first = f"{facts['time']}  {letter.code}  {letter.source}"
    ids = "  ".join(f"{title} {facts[name]}" for title, name in _IDS if facts[name])
    indent = " " * 2
    wrapped = textwrap.fill(
        printable(letter.detail),
        columns,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
    return "\n".join(line for line in (printable(first), indent + printable(ids), wrapped) if line.strip())


def shown(facts: Mapping[str, Any], headers: Mapping[str, str], value: str) -> str:
    """Return a letter with its headers and the first `SHOWN_CHARACTERS` of its value."""
    lines = [f"{name}: {fact}" for name, fact in facts.items() if fact not in {None, ""}]
    lines += ["headers:", *(f"  {name}: {text}" for name, text in headers.items())]
    more = len(value) - SHOWN_CHARACTERS
    lines += [f"value (its first {SHOWN_CHARACTERS} characters; --json has {more} more):" if more > 0 else "value:"]
    return "\n".join(map(printable, (*lines, *value[:SHOWN_CHARACTERS].split("\n"))))
