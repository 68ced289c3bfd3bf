"""The key by which the ids of a deployment's cards, merchants and devices are hashed: in Redis, and in `exclude`."""

from guards.excluded import LONGEST_KEY, use_exclusion_key
from stream.key_files import read_keys
from stream.settings import PREFIX, Settings


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
