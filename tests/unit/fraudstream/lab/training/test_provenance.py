"""What an artifact says of its making: the sources that ran, the commit, and the versions of the libraries."""

import hashlib
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import lightgbm
import pytest

from fraudstream.lab.training import provenance
from fraudstream.lab.training.provenance import code_fingerprint, provenance_here
from support.paths import HOUSE


def test_versions_are_those_of_the_packages_that_are_imported() -> None:
    made = provenance_here()
    assert made.python == platform.python_version()
    assert made.libraries["lightgbm"] == lightgbm.__version__
    assert made.libraries["scikit-learn"] == version("scikit-learn")
    assert made == provenance_here()


def test_the_commit_is_that_of_the_checkout() -> None:
    head = subprocess.run(["git", "-C", HOUSE, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        pytest.skip("the tests run outside of a checkout")
    assert provenance._checked_out_commit(HOUSE) == head.stdout.strip()


def test_a_folder_inside_of_somebody_elses_checkout_has_no_commit(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    (tmp_path / "site-packages").mkdir()
    assert provenance._checked_out_commit(tmp_path / "site-packages") is None


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance._checked_out_commit(HOUSE) is None


def test_the_fingerprint_of_code_covers_names_and_bytes_of_sources_and_nothing_else(tmp_path: Path) -> None:
    for name, text in (("a/one.py", "1"), ("a/b/two.py", "22"), ("a/notes.txt", "n"), ("c/three.py", "3")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = code_fingerprint(tmp_path, ("a",))
    expected = hashlib.sha256(b"fraudstream code 1\na/b/two.py\n2\n22a/one.py\n1\n1").hexdigest()
    assert found == expected
    (tmp_path / "a/notes.txt").write_text("other")
    (tmp_path / "c/three.py").write_text("other")
    assert code_fingerprint(tmp_path, ("a",)) == found
    (tmp_path / "a/one.py").rename(tmp_path / "a/uno.py")
    assert code_fingerprint(tmp_path, ("a",)) != found
