"""`fraudstream-client` is a distribution of its own: of this version, small, and with one dependency."""

import ast
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import fraudstream_client
from fraudstream_client import ValidScores
from stream import consumer
from support.page_blocks import blocks
from support.paths import HOUSE

CLIENT = HOUSE / "clients/python"
PROJECT: dict[str, Any] = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]
WHOLE: dict[str, Any] = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]


def test_it_has_the_version_and_the_licence_of_the_project_which_requires_that_very_one() -> None:
    same = ("version", "license", "license-files", "requires-python", "classifiers")
    assert {name: PROJECT[name] for name in same} == {name: WHOLE[name] for name in same}
    assert (CLIENT / "LICENSE").read_bytes() == (HOUSE / "LICENSE").read_bytes()
    assert f"fraudstream-client=={PROJECT['version']}" in WHOLE["dependencies"]
    assert importlib.metadata.version("fraudstream-client") == PROJECT["version"]


def test_it_is_imported_from_this_checkout_and_no_other_distribution_ships_it() -> None:
    spec = importlib.util.find_spec("fraudstream_client")
    assert spec is not None
    assert spec.origin == str(CLIENT / "fraudstream_client/__init__.py")
    owners = importlib.metadata.packages_distributions().get("fraudstream_client", [])
    assert set(owners) <= {"fraudstream-client"}


def test_it_imports_the_standard_library_and_its_one_dependency() -> None:
    assert [re.split(r"[<>=~ ]", one)[0] for one in PROJECT["dependencies"]] == ["msgspec"]
    imported = set()
    for path in (CLIENT / "fraudstream_client").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).partition(".")[0])
            elif isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
    assert imported - sys.stdlib_module_names == {"fraudstream_client", "msgspec"}


def test_its_names_are_sorted_and_documented() -> None:
    assert sorted(fraudstream_client.__all__) == sorted(set(fraudstream_client.__all__))
    assert all(getattr(fraudstream_client, name).__doc__ for name in fraudstream_client.__all__)


def test_the_documented_place_of_before_gives_the_same_rule() -> None:
    assert consumer.ValidScores is ValidScores
    assert {name: getattr(consumer, name) for name in consumer.__all__ if name in fraudstream_client.__all__} == {
        name: getattr(fraudstream_client, name) for name in consumer.__all__ if name in fraudstream_client.__all__
    }


def test_the_examples_of_its_readme_run(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for block in blocks((CLIENT / "README.md").read_text(), "python"):
        exec(compile(block, "README.md", "exec"), names)  # noqa: S102 - our own page
    assert capsys.readouterr().out == "0 void, 1 unreadable\n"
    assert b'"transaction_id":"pay-1"' in names["value"]


@pytest.mark.acceptance
def test_its_wheel_has_its_package_alone_and_passes_without_fraudstream(tmp_path: Path) -> None:
    build = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    subprocess.run(build, cwd=CLIENT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = {name for name in opened.namelist() if ".dist-info/" not in name}
    assert names == {
        str(path.relative_to(CLIENT)) for path in (CLIENT / "fraudstream_client").iterdir() if path.is_file()
    }
    program = (
        f"import sys; sys.path.insert(0, {str(wheel)!r}); import fraudstream_client as found; print(found.__file__);"
        "print([name for name in ('stream', 'models', 'features', 'numpy', 'aiokafka') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], check=True, capture_output=True, text=True)
    place, others = done.stdout.splitlines()
    assert place.startswith(str(wheel))
    assert others == "[]"
