"""The headers of a score as its payment had them."""

from collections.abc import Iterable

from stream.positions.letters import LETTERS_READ

Headers = tuple[tuple[str, bytes | None], ...]


def passed_on(headers: Iterable[tuple[str, bytes | None]]) -> Headers:
    """Leave out what the first score after a claim says of that."""
    return tuple(one for one in headers if one[0] != LETTERS_READ)
