"""The log of a process, on standard error: no line and no traceback holds a password or a key of the settings."""

import logging
import sys
from collections.abc import Collection

from models.logins import without_logins


class CleanFormatter(logging.Formatter):
    """Formats records as `logging` does, then masks logins in URLs, and `secrets` wherever they stand."""

    def __init__(self, template: str, secrets: Collection[str] = ()) -> None:
        super().__init__(template)
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """Format the whole entry, its traceback included: libraries quote URLs in their errors."""
        return without_logins(super().format(record), self._secrets)


def log_to_stderr(level: int, template: str, secrets: Collection[str] = ()) -> logging.Handler:
    """Write the log of this process to standard error, instead of wherever it went before; return the handler."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(CleanFormatter(template, secrets))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    return handler
