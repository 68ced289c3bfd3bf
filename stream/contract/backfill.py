"""The header of records that only fill the histories: a worker applies such payments and never decides them.

`fraudstream backfill` writes it. It names the backfill and the record's number in it, so that one that was cut off goes
on where it ended.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

BACKFILL_HEADER = "fraudstream-backfill"
_MARK = re.compile(rb"([0-9a-f]{16}):(0|[1-9][0-9]{0,14})")

Headers = Sequence[tuple[str, bytes | None]]


class BackfillMark(NamedTuple):
    """Which backfill a record belongs to (16 hexadecimal digits), and its number there, from 0."""

    backfill: str
    number: int

    def header(self) -> tuple[str, bytes]:
        """Return the header of such a record."""
        return BACKFILL_HEADER, f"{self.backfill}:{self.number}".encode()


def backfill_mark(headers: Headers) -> BackfillMark | None:
    """Return the mark of a record; None if it has none, or one that no backfill has written.

    A record with a header that is not understood is a payment like any other: it must not stay without a decision.
    """
    values = [value for name, value in headers if name == BACKFILL_HEADER]
    if len(values) != 1:
        return None
    found = _MARK.fullmatch(values[0] or b"")
    return None if found is None else BackfillMark(found[1].decode(), int(found[2]))
