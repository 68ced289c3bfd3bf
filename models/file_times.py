"""When files of a repository were written."""

from datetime import UTC, datetime
from typing import Any


def modified_ms(files: Any, path: str) -> int | None:  # noqa: ANN401 - a file system of fsspec, which one module imports
    """Return when a file was written last; None if the file system does not tell."""
    try:
        modified = files.modified(path)
    except (NotImplementedError, KeyError):
        return None
    if not isinstance(modified, datetime):
        return None
    return int(modified.replace(tzinfo=modified.tzinfo or UTC).timestamp() * 1000)
