"""A deployment's hash key is read from its file, for histories and for excluded cards alike."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from features.history.records import hash_key_check, use_hash_key
from guards.excluded import exclusion_key_check, use_exclusion_key
from stream.errors import SettingsError
from stream.key_files import exclude_by_key, hash_by_key
from stream.settings import Settings
from support.hashed_cards import KEY, check_by_the_contract


@pytest.fixture(autouse=True)
def _without_a_key_afterwards() -> Iterator[None]:
    yield
    use_hash_key(b"")
    use_exclusion_key(b"")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "key").write_text(f"# of production\n{KEY.hex()}\n")
    return Settings(hash_key_file=str(tmp_path / "key"))


def test_a_worker_hashes_ids_in_redis_and_excluded_cards_by_the_key(settings: Settings) -> None:
    hash_by_key(settings)
    assert hash_key_check() != ""
    assert exclusion_key_check() == check_by_the_contract()
    assert exclusion_key_check() != hash_key_check()


def test_a_process_without_histories_knows_excluded_cards_by_the_key(settings: Settings) -> None:
    exclude_by_key(settings)
    assert (hash_key_check(), exclusion_key_check()) == ("", check_by_the_contract())
    exclude_by_key(Settings())
    assert exclusion_key_check() is None


def test_a_file_that_holds_no_key_is_an_invalid_setting(settings: Settings, tmp_path: Path) -> None:
    for text in ("", "short", f"{KEY.hex()}\n{KEY.hex()}"):
        Path(settings.hash_key_file).write_text(text)
        with pytest.raises(SettingsError, match="FRAUDSTREAM_HASH_KEY_FILE"):
            exclude_by_key(settings)
    with pytest.raises(SettingsError, match=r"FRAUDSTREAM_HASH_KEY_FILE: .* cannot be read"):
        exclude_by_key(Settings(hash_key_file=str(tmp_path / "none")))
