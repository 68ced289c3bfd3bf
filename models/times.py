"""Times as the records carry them: RFC 3339 text with a zone, or integer epoch milliseconds.

Date and time are separated by `T` or, as RFC 3339 allows in section 5.6, by a space: pandas and databases write it.
"""

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from models.errors import InvalidTimeError

_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII | re.IGNORECASE,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MINUTE_MS = 60_000
_MINUTES_OF_A_DAY = 24 * 60
_FIRST_DAY = _EPOCH.toordinal()
_CACHED_MINUTES = 1 << 12
EARLIEST_MS = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MILLISECOND
LATEST_MS = (datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC) - _EPOCH) // _MILLISECOND

_SHOWN = 80
_DATE = len("2026-01-31")
_FORMATTED = len("2026-01-31T12:00:00.000Z")


class Moment(NamedTuple):
    """A point in time, and the UTC offset of its text (0 for epoch milliseconds, which carry none)."""

    epoch_ms: int
    utc_offset_minutes: int


def parse_time_ms(value: object) -> Moment:
    """Parse a time, truncated (not rounded) to whole milliseconds.

    A leap second (`:60`) is refused: epoch milliseconds cannot represent it.

    Raises:
        InvalidTimeError: `value` has neither form, lacks a zone, or lies outside the years 1 to 9999.
    """
    if isinstance(value, str):
        return _parse_text(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if not EARLIEST_MS <= value <= LATEST_MS:
            raise _outside(value)
        return Moment(value, 0)
    raise InvalidTimeError(f"{type(value).__name__} is neither RFC 3339 text nor integer epoch milliseconds")


def stated_ms(text: str) -> int:
    """Return a time that an event states, in epoch milliseconds; 0 where there is no such time.

    An event's pattern admits the 31st of June. No worker writes it, but another program may write to the log.
    """
    try:
        return parse_time_ms(text).epoch_ms
    except InvalidTimeError:
        return 0


def format_time(epoch_ms: int) -> str:
    """Format a time as the records do: UTC, three decimals, `Z`."""
    if not EARLIEST_MS <= epoch_ms <= LATEST_MS:
        raise _outside(epoch_ms)
    minute, rest = divmod(epoch_ms, _MINUTE_MS)
    return f"{_minute_text(minute)}{rest // 1000:02d}.{rest % 1000:03d}Z"


@lru_cache(maxsize=_CACHED_MINUTES)
def _minute_text(minute: int) -> str:
    """Return the text of a minute since 1970 up to its seconds; cached, since the times of a stream are near."""
    day, of_day = divmod(minute, _MINUTES_OF_A_DAY)
    return f"{date.fromordinal(_FIRST_DAY + day).isoformat()}T{of_day // 60:02d}:{of_day % 60:02d}:"


def formatted(value: int | str, epoch_ms: int) -> str:
    """Return `format_time(epoch_ms)` of a time that was parsed from `value`: that itself, if it has this form.

    Of the texts that can be parsed, those of 24 characters with a `Z` have three decimals.
    """
    if isinstance(value, str) and len(value) == _FORMATTED and value[_DATE] == "T" and value[-1] == "Z":
        return value
    return format_time(epoch_ms)


def day_of(epoch_ms: int) -> str:
    """Return the UTC day of a time, such as 2026-01-31; days compare as their texts do."""
    return format_time(epoch_ms)[:_DATE]


def _parse_text(text: str) -> Moment:
    if _RFC3339.fullmatch(text) is None:
        raise InvalidTimeError(f"{_shown(text)} is not RFC 3339 with a zone, as in 2026-01-31T12:00:00.000Z")
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise InvalidTimeError(f"{_shown(text)} is not a valid date and time") from error
    since = moment - _EPOCH
    epoch_ms = (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
    offset = None if moment.tzinfo is UTC else moment.utcoffset()
    if not EARLIEST_MS <= epoch_ms <= LATEST_MS:
        raise _outside(text)
    return Moment(epoch_ms, offset.days * _MINUTES_OF_A_DAY + offset.seconds // 60 if offset else 0)


def _outside(value: int | str) -> InvalidTimeError:
    return InvalidTimeError(f"{_shown(value)} is outside the years 1 to 9999")


def _shown(value: int | str) -> str:
    """Quote the beginning of a text or number; `repr` of a whole one would take as long as it is."""
    if isinstance(value, str):
        return f"{value[:_SHOWN]!r:.{_SHOWN}}"
    return str(value) if abs(value) < 10**_SHOWN else f"a number of more than {_SHOWN} digits"
