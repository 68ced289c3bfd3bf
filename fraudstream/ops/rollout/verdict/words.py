"""The verdict in a command's evidence in words, for the history of commands."""

from collections.abc import Iterator, Mapping
from typing import Any

from models.promotion_rules import VERDICT


def verdict_in_words(evidence: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines about the verdict in a command's evidence.

    Raises:
        KeyError, TypeError, AttributeError: it has another form; anybody may send evidence of any form.
    """
    stated: Mapping[str, Any] = evidence[VERDICT]
    yield f"verdict {stated['verdict']} of {stated['at']}, decided by the gate {stated['gate']}"
    for name, gate in stated["gates"].items():
        yield f"{name} {'passed' if gate['passed'] is True else 'NOT PASSED'}: {gate['found']}"
