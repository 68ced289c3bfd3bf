"""The form of a log as JSON lines; apart from `stream.logs`, since no command needs the package behind it."""

from collections.abc import Collection, Mapping
from typing import Any, cast

from pythonjsonlogger.msgspec import MsgspecFormatter

from models.logins import without_logins


class CleanJsonFormatter(MsgspecFormatter):
    """Formats each record as one JSON object on one line, masked like the text.

    Each line has `time`, `level`, `logger` and `message`, a `traceback` where there is one, the fields of `always`, and
    what a record was given as `extra`. Texts are masked before they are encoded: an escaped password would not be found
    afterwards.
    """

    def __init__(self, secrets: Collection[str] = (), always: Mapping[str, str] | None = None) -> None:
        super().__init__(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "traceback", "stack_info": "stack"},
            static_fields=dict(always or {}),
            timestamp="time",
        )
        self._secrets = secrets

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Return the data to encode, its time first."""
        cleaned = cast("dict[str, Any]", self._cleaned({name: log_data[name] for name in log_data if name != "time"}))
        return {"time": log_data["time"].isoformat(timespec="milliseconds").replace("+00:00", "Z"), **cleaned}

    def _cleaned(self, value: object) -> object:
        """Mask all texts of a value; what JSON does not know becomes a text before."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {str(self._cleaned(str(key))): self._cleaned(one) for key, one in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._cleaned(one) for one in value]
        return without_logins(str(value), self._secrets).encode(errors="backslashreplace").decode()
