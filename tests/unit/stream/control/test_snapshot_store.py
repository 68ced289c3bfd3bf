"""Where the snapshot of the control log lies: by estate, at a place of its own, sealed with the keys of a file."""

import json
from base64 import b64encode
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from models.repository import Repository
from stream.control.estate import Estate
from stream.control.snapshot_store import SnapshotStore, all_snapshots, read_snapshot_keys
from stream.errors import SettingsError
from stream.settings import Settings

HEX, BASE64 = "0f" * 32, b64encode(b"another key of thirty-two bytes!").decode()


def store(**settings: str) -> SnapshotStore:
    found = Settings(**settings)  # type: ignore[arg-type]
    return SnapshotStore(found, Estate(found))


def test_two_estates_with_one_repository_and_one_deployment_name_have_a_snapshot_each(tmp_path: Path) -> None:
    one, other = (store(models=str(tmp_path), estate=estate) for estate in ("staging", "production"))
    one.write(b"one")
    other.write(b"other")
    assert (one.read(), other.read()) == (b"one", b"other")
    found = dict(all_snapshots(Settings(models=str(tmp_path)), Repository(str(tmp_path))))
    assert found == {
        "control/production@model-events.default.jsonl": b"other",
        "control/staging@model-events.default.jsonl": b"one",
    }


def test_it_may_lie_elsewhere_with_a_credential_of_its_own(tmp_path: Path) -> None:
    seen: list[object] = []

    class Guarded(MemoryFileSystem):
        protocol = "guarded"

        def __init__(self, *arguments: object, secret: str = "", **options: object) -> None:
            super().__init__(*arguments, **options)
            seen.append(secret)
            if not secret.endswith("of-control"):
                raise PermissionError(f"{secret} may not")

    fsspec.register_implementation("guarded", Guarded, clobber=True)
    options = tmp_path / "options.json"
    options.write_text(json.dumps({"secret": "s3cr3t-of-control"}))
    place = {"models": str(tmp_path / "models"), "snapshots": "guarded://control", "estate": "here"}
    kept = store(**place, snapshots_options_file=str(options))
    kept.write(b"text")
    assert kept.read() == b"text"
    assert seen == ["s3cr3t-of-control"]
    assert kept.place == "guarded://control/here@model-events.default.jsonl"
    assert not (tmp_path / "models").exists()
    settings = Settings(**place, snapshots_options_file=str(options))  # type: ignore[arg-type]
    assert [name for name, _ in all_snapshots(settings, Repository(place["models"]))] == [
        "here@model-events.default.jsonl"
    ]


def test_keys_are_read_in_the_order_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# since June\n{BASE64}\n\n{HEX}\n")
    keys = read_snapshot_keys(Settings(snapshot_key_file=str(file)))
    assert keys == (b"another key of thirty-two bytes!", bytes.fromhex(HEX))
    assert read_snapshot_keys(Settings()) == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has 0 keys: expected one key, or two while it is replaced"),
        (f"{HEX}\n" * 3, "has 3 keys"),
        ("ab" * 24, "is not at least 32 bytes in hexadecimal or base64"),
        ("a pass phrase that is long enough, as one would think", "is not at least 32 bytes"),
    ],
)
def test_a_file_without_good_keys_is_refused_and_no_message_quotes_it(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(SettingsError, match=problem) as refused:
        read_snapshot_keys(Settings(snapshot_key_file=str(file)))
    assert str(refused.value).startswith(f"FRAUDSTREAM_SNAPSHOT_KEY_FILE: {file}")
    assert not any(word in str(refused.value) for word in text.split() if len(word) > 8)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    with pytest.raises(SettingsError, match=r"FRAUDSTREAM_SNAPSHOT_KEY_FILE: .* cannot be read: No such file"):
        store(snapshot_key_file=missing)
    with pytest.raises(SettingsError, match=r"FRAUDSTREAM_SNAPSHOTS_OPTIONS_FILE: .* cannot be read: No such file"):
        store(snapshots=str(tmp_path), snapshots_options_file=missing)
    (tmp_path / "list.json").write_text('["s3cr3t"]')
    with pytest.raises(SettingsError, match="is not one JSON object of options") as refused:
        store(snapshots=str(tmp_path), snapshots_options_file=str(tmp_path / "list.json"))
    assert "s3cr3t" not in str(refused.value)
