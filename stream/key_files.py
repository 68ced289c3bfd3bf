"""Reads files of secret keys: a line for each, of at least 32 bytes in hexadecimal or base64."""

import re
from base64 import b64decode
from contextlib import suppress
from pathlib import Path

from stream.errors import SettingsError

KEY_BYTES = 32
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")


def read_keys(setting: str, file: str, most: int) -> tuple[bytes, ...]:
    """Read a file of one to `most` keys; empty lines and those that begin with # are left out.

    Raises:
        SettingsError: the file cannot be read, or holds something else.
    """
    lines = [line.strip() for line in read_text_file(setting, file).splitlines()]
    keys = [_key(setting, line, file) for line in lines if line and not line.startswith("#")]
    if not 1 <= len(keys) <= most:
        wanted = "one key" if most == 1 else "one key, or two while it is replaced"
        advice = f"{wanted}; `openssl rand -hex 32` makes one"
        raise SettingsError(f"{setting}: {file} has {len(keys)} keys: expected {advice}")
    return tuple(keys)


def _key(setting: str, line: str, file: str) -> bytes:
    """Return the bytes of a line; no message quotes it."""
    key = b""
    with suppress(ValueError):  # binascii's is one
        key = bytes.fromhex(line) if _HEX.fullmatch(line) else b64decode(line, validate=True)
    if len(key) >= KEY_BYTES:
        return key
    form = f"at least {KEY_BYTES} bytes in hexadecimal or base64"
    raise SettingsError(f"{setting}: {file} has a line that is not {form}: `openssl rand -hex 32` makes one")


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
