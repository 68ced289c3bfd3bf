"""`fraudstream keys new` makes a key that only its owner may read, and the line by which workers trust it."""

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fraudstream.cli.main import main
from models.signing import Role, read_keyring
from stream.control.keys import read_signer
from stream.settings import Settings


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["keys", "new", *arguments])


def test_the_line_trusts_the_key_that_is_written(tmp_path: Path) -> None:
    file = tmp_path / "ann.pem"
    made = run(str(file), "--person", "ann")
    assert made.exit_code == 0, made.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    ((name, key),) = read_keyring(made.stdout).items()
    assert (key.person, key.role) == ("ann", Role.OPERATOR)
    signer = read_signer(Settings(signing_key=str(file)))
    assert signer is not None
    assert signer.key_id == name


def test_with_json_it_prints_one_object(tmp_path: Path) -> None:
    made = run(str(tmp_path / "g.pem"), "--person", "guard", "--role", "guard", "--json")
    facts = json.loads(made.stdout)
    assert read_keyring(facts["line"])[facts["key"]].role is Role.GUARD
    assert (facts["file"], facts["person"], facts["role"]) == (str(tmp_path / "g.pem"), "guard", "guard")


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "ann.pem"
    file.write_text("a key")
    made = run(str(file), "--person", "ann")
    assert (made.exit_code, file.read_text()) == (1, "a key")
    assert "exists, and may be a key that is in use" in made.stderr


@pytest.mark.parametrize("person", ["", "a" * 201])
def test_a_person_that_no_command_may_name_is_refused(tmp_path: Path, person: str) -> None:
    made = run(str(tmp_path / "ann.pem"), "--person", person)
    assert made.exit_code == 2
    assert "expected 1 to 200" in made.stderr
    assert not (tmp_path / "ann.pem").exists()


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    made = run(str(tmp_path / "none" / "ann.pem"), "--person", "ann")
    assert made.exit_code == 1
    assert "cannot be written: No such file or directory" in made.stderr
