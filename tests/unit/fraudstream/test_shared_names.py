"""A program in a repository of its own, with folders named as our packages, uses its modules and ours."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import fraudstream
import fraudstream.features

PROGRAM = """
import features.mine
import models.scorer
from fraudstream import Score, Standing, ValidScores, trace_of
from fraudstream.features import FeatureSet
print(*FeatureSet(features.mine.FEATURES).names, models.scorer.NAME, ValidScores().void, Standing().last_place)
"""
"""Imports its own modules first, as an import sorter puts them; ours need `features` and `models` as well."""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "features").mkdir()
    (tmp_path / "models").mkdir()
    (tmp_path / "features" / "mine.py").write_text(
        "from fraudstream.features import DEFAULT, card\nFEATURES = (*DEFAULT[:1], card('amount_sum', '14d'))\n"
    )
    (tmp_path / "models" / "scorer.py").write_text("import models\nNAME = getattr(models, 'NAME', 'unnamed')\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


def run(folder: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout or done.stderr.splitlines()[-1]


@pytest.mark.parametrize("packages", [False, True], ids=["folders", "packages"])
@pytest.mark.parametrize("ours_first", [False, True], ids=["theirs first", "ours first"])
def test_a_program_uses_its_own_modules_and_ours(repository: Path, *, packages: bool, ours_first: bool) -> None:
    if packages:
        (repository / "features" / "__init__.py").touch()
        (repository / "models" / "__init__.py").write_text("NAME = 'own'\n")
    if ours_first:
        program = repository / "program.py"
        program.write_text("import fraudstream.features\n" + program.read_text())
    said = f"card_count_10m card_amount_sum_14d {'own' if packages else 'unnamed'} 0 -1\n"
    assert run(repository, "program.py") == (0, said)
    assert run(repository, "-m", "program") == (0, said)


def test_a_module_in_the_place_of_one_of_ours_is_named(repository: Path) -> None:
    (repository / "features" / "__init__.py").touch()
    rows = repository / "features" / "rows.py"
    rows.touch()
    failed, said = run(repository, "program.py")
    assert failed == 1
    assert said.startswith(f"ImportError: {rows} takes the place of fraudstream's module features.rows, in ")
    assert said.endswith(": rename it")


@pytest.mark.parametrize("module", ["fraudstream", "fraudstream.features"])
def test_every_name_of_a_front_module_is_the_one_that_the_packages_have(module: str) -> None:
    front = importlib.import_module(module)
    for name in front.__all__:
        found = getattr(front, name)
        home = getattr(found, "__module__", None)
        assert home is None or getattr(importlib.import_module(home), found.__name__) is found
    assert fraudstream.features.card.__module__ == "features.rows"


def test_a_name_that_is_none_of_ours_is_an_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'ValidScore'"):
        fraudstream.ValidScore  # noqa: B018 - the access is what is tried


def test_the_documented_imports_of_before_go_on() -> None:
    for module, name in (
        ("stream.consumer", "ValidScores"),
        ("features.declaration", "FeatureSet"),
        ("features.declaration", "load"),
        ("features.default_set", "FEATURES"),
        ("features.default_set_2", "FEATURES"),
        ("features.rows", "card"),
        ("features.rows", "prediction_age"),
        ("features.formulas", "Formula"),
        ("features.reason_codes", "ReasonCode"),
        ("models.loading", "load"),
        ("models.repository", "Repository"),
        ("stream.control.probes", "vectorise_probe"),
    ):
        assert hasattr(importlib.import_module(module), name)
