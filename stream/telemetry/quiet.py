"""What OpenTelemetry logs, made quiet: a collector that is away is worth a line now and then, not one a second.

Its messages are redacted and come without tracebacks, whose last line may quote what was to be sent.
"""

import logging
import time

from stream.redaction import redact_text

log = logging.getLogger("fraudstream.telemetry")

_PAUSE_SECONDS = 60.0
_LONGEST = 300
_SDK = "opentelemetry"
_QUOTES_HEADERS = "opentelemetry.util.re"
"""Its messages quote what it cannot read of a collector's headers, and that is where a login stands."""


class Quieter(logging.Handler):
    """Passes a message of one place on once a minute, and says how many were left out."""

    def __init__(self, pause: float = _PAUSE_SECONDS) -> None:
        super().__init__(logging.WARNING)
        self._pause = pause
        self._passed: dict[tuple[str, int], float] = {}
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Pass it on, or count it."""
        place, now = (record.name, record.lineno), time.monotonic()
        if now - self._passed.get(place, -self._pause) < self._pause:
            self._left_out += 1
            return
        self._passed[place] = now
        text = redact_text(_said(record))[:_LONGEST]
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        log.log(record.levelno, "%s%s (%d more left out)", text, f": {kind}" if kind else "", self._left_out)
        self._left_out = 0


def _said(record: logging.LogRecord) -> str:
    """Return a record's message, without what it quotes where that may be a login."""
    return str(record.msg) if record.name == _QUOTES_HEADERS else record.getMessage()


def make_quiet() -> None:
    """Let all that OpenTelemetry logs go through one `Quieter`; once a process."""
    sdk = logging.getLogger(_SDK)
    if not any(isinstance(handler, Quieter) for handler in sdk.handlers):
        sdk.addHandler(Quieter())
        sdk.propagate = False
