"""Files of secret keys: a line for each, of at least 32 bytes in hexadecimal or base64.

One is the key by which the ids of a deployment's cards, merchants and devices are hashed: in Redis, and in `exclude`.
"""

import re
from base64 import b64decode
from contextlib import suppress
from pathlib import Path

from guards.excluded import LONGEST_KEY, use_exclusion_key
from stream.errors import SettingsError
from stream.settings import PREFIX, Settings

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


def hash_by_key(settings: Settings) -> None:
    """Hash ids by the deployment's key, if it has one, in all of this process; before anything is hashed.

    Raises:
        SettingsError: the file of the key cannot be used.
    """
    from features.history.records import LONGEST_HASH_KEY, use_hash_key  # noqa: PLC0415 - not for the command line

    if key := _key_of(settings):
        use_hash_key(key[:LONGEST_HASH_KEY])
    use_exclusion_key(key[:LONGEST_KEY])


def exclude_by_key(settings: Settings) -> None:
    """Know excluded cards by the deployment's key, if it has one; for a process that has no histories.

    Raises:
        SettingsError: the file of the key cannot be used.
    """
    use_exclusion_key(_key_of(settings)[:LONGEST_KEY])


def _key_of(settings: Settings) -> bytes:
    """Return the deployment's key; empty if it has none."""
    if not settings.hash_key_file:
        return b""
    (key,) = read_keys(f"{PREFIX}HASH_KEY_FILE", settings.hash_key_file, most=1)
    return key
