"""The key by which the ids of a deployment's cards, merchants and devices are hashed in Redis."""

from features.history.records import LONGEST_HASH_KEY, use_hash_key
from stream.key_files import read_keys
from stream.settings import PREFIX, Settings


def hash_by_key(settings: Settings) -> None:
    """Hash ids by the deployment's key, if it has one, in all of this process; before anything is hashed.

    Raises:
        SettingsError: the file of the key cannot be used.
    """
    if settings.hash_key_file:
        (key,) = read_keys(f"{PREFIX}HASH_KEY_FILE", settings.hash_key_file, most=1)
        use_hash_key(key[:LONGEST_HASH_KEY])
