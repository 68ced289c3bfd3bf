"""Which numbers can be card numbers: digits in a range that a card scheme issues from, of its lengths, that pass Luhn.

The ranges are those that schemes and processors publish; a scheme that is not listed is not found. Lengths are 13 to 19
digits, those of ISO/IEC 7812 that are in use.
"""

from bisect import bisect_right
from collections.abc import Iterator

SHORTEST, LONGEST = 13, 19
"""The number of digits of a card number."""

_ALL = range(SHORTEST, LONGEST + 1)
_SIXTEEN, _FROM_SIXTEEN, _FROM_FOURTEEN = range(16, 17), range(16, 20), range(14, 20)
_FIFTEEN = range(15, 16)

_RANGES: tuple[tuple[str, str, str, range], ...] = (
    ("UATP, JCB with 1800", "1", "1", _FIFTEEN),
    ("JCB, 15 digits", "2131", "2131", _FIFTEEN),
    ("Mir", "2200", "2204", _FROM_SIXTEEN),
    ("Borica", "2205", "2205", _SIXTEEN),
    ("Mastercard", "2221", "2720", _SIXTEEN),
    ("Diners Club", "300", "305", _FROM_FOURTEEN),
    ("Diners Club", "3095", "3095", _FROM_FOURTEEN),
    ("American Express", "34", "34", _FIFTEEN),
    ("JCB", "3528", "3589", _FROM_SIXTEEN),
    ("Diners Club", "36", "36", _FROM_FOURTEEN),
    ("American Express", "37", "37", _FIFTEEN),
    ("Diners Club", "38", "39", _FROM_FOURTEEN),
    ("Visa", "4", "4", _ALL),
    ("Maestro and others", "50", "50", _ALL),
    ("Mastercard", "51", "55", _SIXTEEN),
    ("Maestro and others", "56", "59", _ALL),
    ("Discover, UnionPay, RuPay, Maestro, Troy and others", "60", "69", _ALL),
    ("UnionPay", "81", "81", _FROM_SIXTEEN),
    ("RuPay", "82", "82", _SIXTEEN),
    ("Uzcard", "8600", "8600", _SIXTEEN),
    ("Troy", "9792", "9792", _SIXTEEN),
    ("Humo", "9860", "9860", _SIXTEEN),
)
"""A scheme, its first and last beginning, and how many digits its numbers have. None overlaps another."""

_WIDTH = 4
_STARTS = sorted((low.ljust(_WIDTH, "0"), high.ljust(_WIDTH, "9"), lengths) for _, low, high, lengths in _RANGES)
_LOWS = [low for low, _, _ in _STARTS]
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def schemes() -> Iterator[tuple[str, str, str, range]]:
    """Yield each range: the scheme, its first and last beginning, and its lengths."""
    yield from _RANGES


def is_range_number(digits: str) -> bool:
    """Tell whether a text of ASCII digits is a number of a known range that passes Luhn."""
    if not SHORTEST <= len(digits) <= LONGEST:
        return False
    at = bisect_right(_LOWS, digits[:_WIDTH]) - 1
    if at < 0:
        return False
    _, high, lengths = _STARTS[at]
    return digits[:_WIDTH] <= high and len(digits) in lengths and passes_luhn(digits)


def passes_luhn(digits: str) -> bool:
    """Tell whether a text of ASCII digits passes the check of ISO/IEC 7812-1, annex B."""
    backwards = [ord(digit) - 48 for digit in reversed(digits)]
    return (sum(backwards[::2]) + sum(_DOUBLED[digit] for digit in backwards[1::2])) % 10 == 0
