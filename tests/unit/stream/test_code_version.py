"""The version of the code: from the checkout, from what a build wrote, or that of the release alone."""

import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner

import hatch_build
from fraudstream.cli.main import main
from stream import code_version as module
from stream.code_version import PACKAGES, SUFFIXES, code_version
from stream.pipeline import CODE_VERSION
from support.paths import HOUSE


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make the package one that is installed in a folder; return the file that a build writes there."""
    code_version.cache_clear()
    monkeypatch.setattr(module, "_ROOT", tmp_path)
    monkeypatch.setattr(module, "_BUILD", tmp_path / "build.txt")
    return tmp_path / "build.txt"


@pytest.fixture(autouse=True)
def _forget() -> object:
    yield
    code_version.cache_clear()


def test_in_a_checkout_it_names_the_commit_in_scores_and_on_the_command_line() -> None:
    head = subprocess.run(["git", "-C", HOUSE, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        pytest.skip("the tests run outside of a checkout")
    release, commit = re.escape(version("fraudstream")), head.stdout.strip()[:12]
    code_version.cache_clear()
    assert re.fullmatch(rf"{release}\+g{commit}(\.dirty)?", code_version())
    assert re.fullmatch(rf"{release}\+g[0-9a-f]{{12}}(\.dirty)?", CODE_VERSION), "as of the start of this process"
    assert CliRunner().invoke(main, ["--version"]).stdout == f"fraudstream, version {code_version()}\n"


def test_an_installed_package_has_what_its_build_wrote(installed: Path) -> None:
    installed.write_text("g0123456789ab\n")
    assert code_version() == f"{version('fraudstream')}+g0123456789ab"


def test_without_a_checkout_and_a_build_it_is_the_version_of_the_release(installed: Path) -> None:
    assert not installed.exists()
    assert code_version() == version("fraudstream")


def test_a_build_and_a_checkout_look_at_the_same_sources() -> None:
    assert (hatch_build.PACKAGES, hatch_build.SUFFIXES) == (PACKAGES, SUFFIXES)


def test_a_build_takes_the_commit_of_the_environment_of_the_sdist_or_of_the_checkout_in_this_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(hatch_build.COMMIT, raising=False)
    (tmp_path / "stream").mkdir()
    (tmp_path / "stream/one.py").write_text("1")
    sources = hatch_build.build_of(tmp_path)
    assert re.fullmatch("s[0-9a-f]{12}", sources), "neither git nor an sdist nor a variable tells a commit"
    (tmp_path / "stream/one.py").write_text("2")
    assert hatch_build.build_of(tmp_path) != sources
    (tmp_path / hatch_build.BUILD_FILE).write_text("gaaaaaaaaaaaa.dirty\n")
    assert hatch_build.build_of(tmp_path) == "gaaaaaaaaaaaa.dirty"
    monkeypatch.setenv(hatch_build.COMMIT, "b" * 40)
    assert hatch_build.build_of(tmp_path) == f"g{'b' * 12}"
    monkeypatch.setenv(hatch_build.COMMIT, "HEAD")
    with pytest.raises(ValueError, match="FRAUDSTREAM_COMMIT: expected a commit as git prints it"):
        hatch_build.build_of(tmp_path)
