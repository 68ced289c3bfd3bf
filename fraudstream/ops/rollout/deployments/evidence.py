"""The evidence of a hand-over in words, for the history of commands."""

from collections.abc import Iterator, Mapping
from typing import Any


def in_words(evidence: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines about what the gates said when a hand-over was sent.

    Raises:
        KeyError, TypeError, AttributeError: it has another form; anybody may send evidence of any form.
    """
    gates: Mapping[str, Mapping[str, Any]] = evidence["gates"]
    way_back = ", the way back" if evidence.get("way_back") else ""
    yield f"{'go' if evidence['go'] is True else 'no-go'}{way_back}: {len(gates)} gates"
    for name, gate in gates.items():
        yield f"{name} {'passed' if gate['passed'] is True else 'NOT PASSED'}: {gate['found']}"
