"""The log of a process, on standard error, as text or as JSON lines.

No line and no traceback holds a password or a key of the settings. Libraries log from WARNING on only: what they say at
INFO is about their own workings.
"""

import logging
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Literal, TextIO

from models.logins import without_logins
from stream.printing import printable, printable_lines

LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
"""A line of a worker's log as text."""

OWN_LOGGERS = "fraudstream"
"""The root of our own loggers; all others belong to libraries."""

_TOLD = ("because it is rebalancing", 'Unable connect to "%s:%s"')
"""Texts of aiokafka's lines that repeat, less clearly, what our own lines say."""
BURST_SECONDS = 10.0
_MOST_BURSTS = 1_000

Level = Literal["debug", "info", "warning", "error"]
Form = Literal["text", "json"]


class CleanFormatter(logging.Formatter):
    """Formats records as `logging` does, times in UTC, then masks logins in URLs, and `secrets` wherever they stand."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self, template: str, secrets: Collection[str] = ()) -> None:
        super().__init__(template)
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """Format the whole entry, its traceback included: libraries quote URLs in their errors.

        Only a traceback has lines: an id or a reason in a message begins none, and moves no cursor.
        """
        return without_logins(printable_lines(super().format(record)), self._secrets)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - as `logging` calls it
        """Format the message, on one line."""
        return printable(super().formatMessage(record))


def log_to_stderr(level: int, template: str, secrets: Collection[str] = ()) -> logging.Handler:
    """Write the log of this process to standard error, instead of wherever it went before; return the handler."""
    handler = _log_with(CleanFormatter(template, secrets), level)
    handler.addFilter(is_news)
    return handler


def log_service_to_stderr(level: Level, formatter: logging.Formatter) -> logging.Handler:
    """Write the log of a service to standard error: its own lines from `level` on, those of libraries from WARNING on.

    With `debug`, those of libraries from INFO on. Not lower: aiokafka logs requests at DEBUG, with passwords in them.
    """
    handler = _log_with(formatter, logging.INFO if level == "debug" else logging.WARNING)
    handler.addFilter(is_news)
    handler.addFilter(BurstFilter())
    logging.getLogger(OWN_LOGGERS).setLevel(level.upper())
    logging.captureWarnings(capture=True)
    return handler


def service_formatter(
    form: Form, secrets: Collection[str] = (), always: Mapping[str, str] | None = None
) -> logging.Formatter:
    """Return the formatter of a service's log; `always` are fields of each JSON line."""
    if form == "text":
        return CleanFormatter(LINE, secrets)
    from stream.json_logs import CleanJsonFormatter  # noqa: PLC0415 - a package that no command needs

    return CleanJsonFormatter(secrets, always)


def is_news(record: logging.LogRecord) -> bool:
    """Tell whether a line says something new: our own lines report each rebalance, and that no broker answers.

    aiokafka logs `Unable connect to "host:port"` for each address that it begins with. Its line about a node of a
    cluster that it has reached is worded differently and passes: none of ours reports that.
    """
    return not any(told in str(record.msg) for told in _TOLD)


class BurstFilter(logging.Filter):
    """Passes a line with a field `burst` at most every `seconds` for each value of it, and counts those left out.

    For lines about single records: a fault that all of them have would write one for each. And for the same line of a
    library: aiokafka writes one at each attempt to connect.
    """

    def __init__(self, seconds: float = BURST_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._seconds = seconds
        self._clock = clock
        self._passed: dict[str, float] = {}
        self._left_out: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is logged; add to it how many like it were not."""
        is_own = record.name.partition(".")[0] == OWN_LOGGERS
        key = getattr(record, "burst", None) if is_own else f"{record.name} {record.msg} {record.args}"
        if key is None:
            return True
        now = self._clock()
        self._forget(now)
        if now - self._passed.get(key, -math.inf) < self._seconds:
            self._left_out[key] += 1
            return False
        self._passed[key] = now
        if left_out := self._left_out.pop(key, 0):
            lines = "\n" if "\n" in str(record.msg) else " "
            record.msg = f"{record.msg}{lines}({left_out} more like it since the last one)"
        return True

    def _forget(self, now: float) -> None:
        """Forget bursts that are over, if there are many: libraries write texts of many kinds."""
        if len(self._passed) > _MOST_BURSTS:
            over = [key for key, at in self._passed.items() if now - at >= self._seconds]
            for key in over:
                del self._passed[key]
                self._left_out.pop(key, None)


class CleanHandler(logging.StreamHandler[TextIO]):
    """Writes cleaned lines, and says of one that cannot be written only why: `logging` would print what it holds."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - as `logging` calls it
        """Tell that a line is missing; the error's text may quote it."""
        error = sys.exc_info()[0]
        with suppress(OSError, ValueError):
            self.stream.write(f"a line of {record.name} cannot be logged: {error.__name__ if error else 'unknown'}\n")


def _log_with(formatter: logging.Formatter, level: int) -> logging.Handler:
    handler = CleanHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    return handler
