"""Reads files that settings name, with errors that name both."""

from pathlib import Path

from stream.errors import SettingsError


def read_text_file(setting: str, file: str) -> str:
    """Return a file's text.

    Raises:
        SettingsError: it cannot be read, or is no text.
    """
    try:
        return Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise SettingsError(f"{setting}: {file} cannot be read: {why}") from error
