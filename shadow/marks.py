"""Which offsets of a partition were met: one bit each, so that a day of a busy stream fits into memory.

Nothing here knows what is at an offset.
"""

_BITS = 8


class Marks:
    """A set of offsets that begins with the first that is added; what lies before it is never in it."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._bits = bytearray()
        self._count = 0

    def __len__(self) -> int:
        """Return how many offsets are in it."""
        return self._count

    def __contains__(self, offset: int) -> bool:
        place, bit = self._place(offset)
        return 0 <= place < len(self._bits) and bool(self._bits[place] & bit)

    def add(self, offset: int) -> None:
        """Put an offset in, unless it is before the first."""
        if self._first is None:
            self._first = offset
        place, bit = self._place(offset)
        if place < 0 or offset in self:
            return
        if place >= len(self._bits):
            self._bits.extend(bytes(place + 1 - len(self._bits)))
        self._bits[place] |= bit
        self._count += 1

    def take(self, offset: int) -> bool:
        """Take an offset out, and tell whether it was in."""
        if offset not in self:
            return False
        place, bit = self._place(offset)
        self._bits[place] ^= bit
        self._count -= 1
        return True

    def _place(self, offset: int) -> tuple[int, int]:
        place, bit = divmod(offset - (self._first or 0), _BITS)
        return place, 1 << bit
