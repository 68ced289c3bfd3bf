"""A deployment's own module of rows: found in the working directory, and refused with the location of an error."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from features.declaration import load
from features.errors import DeclarationError
from support.paths import HOUSE

ROWS = """
from features.default_set import FEATURES as DEFAULT
from features.rows import merchant

FEATURES = (
    *DEFAULT,
    merchant("cards", "1d"),
)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a separate folder; modules imported from there are unloaded afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def refused(name: str) -> str:
    with pytest.raises(DeclarationError) as caught:
        load(name)
    return str(caught.value)


def test_a_module_in_the_working_directory_is_found(here: Path) -> None:
    (here / "our_rows.py").write_text(ROWS)
    assert load("our_rows").names[-1] == "merchant_cards_1d"


def test_a_module_in_a_folder_may_import_another_module_of_the_folder(here: Path) -> None:
    (here / "ours").mkdir()
    (here / "ours" / "windows.py").write_text("LONG = '30d'\n")
    text = "from features.rows import card\nfrom ours.windows import LONG\nFEATURES = [card('count', LONG)]\n"
    (here / "ours" / "rows.py").write_text(text)
    assert load("ours.rows").names == ("card_count_30d",)


def test_a_module_in_the_working_directory_does_not_hide_an_installed_one(here: Path) -> None:
    (here / "features.py").write_text("raise RuntimeError")
    assert load("features.default_set").names == load(None).names


def own_package(here: Path, **modules: str) -> None:
    """Write a package `features` of the project that works in this folder."""
    (here / "features").mkdir()
    (here / "features" / "__init__.py").touch()
    for name, text in modules.items():
        (here / "features" / f"{name}.py").write_text(text)


def test_a_module_in_a_folder_named_as_a_package_of_ours_is_found(here: Path) -> None:
    own_package(here, our_rows=ROWS, windows="LONG = '30d'\n")
    assert load("features.our_rows").names[-1] == "merchant_cards_1d"
    (here / "ours.py").write_text(
        "from features.rows import card\nfrom features.windows import LONG\nFEATURES = [card('count', LONG)]\n"
    )
    assert load("ours").names == ("card_count_30d",)


@pytest.mark.parametrize("name", ["features.extended_set", "features"])
def test_a_module_that_one_of_ours_hides_is_refused(here: Path, name: str) -> None:
    own_package(here, extended_set=ROWS)
    place = here / "features" / "extended_set.py" if "." in name else here / "features"
    assert refused(name) == (
        f"{name} cannot be imported from {place}: fraudstream has a module of that name, which would take its place: "
        "rename it"
    )


def test_what_the_init_of_such_a_folder_defines_is_missing_with_the_reason(here: Path) -> None:
    own_package(here)
    (here / "features" / "__init__.py").write_text("LONG = '30d'\n")
    (here / "our_rows.py").write_text("from features import LONG")
    said = refused("our_rows")
    assert said.startswith(f"our_rows cannot be imported: {here / 'our_rows.py'}, line 1: ImportError: ")
    assert said.endswith(
        f"; {here / 'features' / '__init__.py'} is not run, since fraudstream has a package 'features': move what it "
        "has to a module there"
    )


def test_the_installed_program_finds_a_module_in_the_working_directory(here: Path) -> None:
    (here / "our_rows.py").write_text(ROWS)
    script = Path(sys.executable).with_name("fraudstream")
    environment = {**os.environ, "FRAUDSTREAM_FEATURES": "our_rows"}
    completed = subprocess.run(
        [script, "features", "list", "--json"], cwd=here, env=environment, check=True, capture_output=True, text=True
    )
    assert '"merchant_cards_1d"' in completed.stdout


def test_the_example_module_of_the_how_to_page_can_be_loaded(here: Path) -> None:
    page = (HOUSE / "docs" / "how-to" / "add-features.md").read_text()
    examples = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (here / "our_rows.py").write_text("\n".join(examples))
    assert load("our_rows").names[-2:] == ("device_cards_1h", "card_same_weekday_share_30d")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_rows", "there is no module 'no_such_rows': looked in {here} and among installed modules"),
        ("no_such_folder.rows", "there is no module 'no_such_folder.rows': looked in"),
        ("our_rows.py", "there is no module 'our_rows.py': name a module, not its file: our_rows"),
        ("./ours/rows.py", "there is no module './ours/rows.py': name a module, not its file: ours.rows"),
    ],
)
def test_a_missing_module_is_reported_with_the_place_searched_or_the_right_name(
    here: Path, name: str, said: str
) -> None:
    (here / "our_rows.py").write_text(ROWS)
    assert said.format(here=here) in refused(name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\nimport no_such_library\n", "line 2: ModuleNotFoundError: No module named 'no_such_library'"),
        ("x = 1\n1 / 0\n", "line 2: ZeroDivisionError: division by zero"),
        ("FEATURES = (\n", "line 1: '(' was never closed"),
        (
            "from features.rows import card\n\nFEATURES = [\n    card('count'),\n]\n",
            "line 4: card('count'): it needs a window, as in card('count', '7d')",
        ),
        ("from features.rows import cards\n", "line 1: ImportError: cannot import name 'cards' from 'features.rows'"),
    ],
)
def test_an_error_in_the_module_is_reported_with_its_location(here: Path, text: str, said: str) -> None:
    (here / "our_rows.py").write_text(text)
    assert refused("our_rows").startswith(f"our_rows cannot be imported: {here / 'our_rows.py'}, {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"our_rows \(.*/our_rows\.py\) has no FEATURES: give it a tuple of that name, or name another module"),
        ("FEATURES = 'card_count_1d'", r"our_rows\.FEATURES must be a tuple of rows, not a str"),
        ("FEATURES = None", r"our_rows\.FEATURES must be a tuple of rows, not a NoneType"),
        ("FEATURES = ()", r"our_rows\.FEATURES: a feature set needs at least one row"),
        (
            "from features.rows import card\nFEATURES = (card('count', '1d'), 'card_count_1h')",
            r"our_rows\.FEATURES\[1\] must be a row, made by card, .* or own of .*, not a str: 'card_count_1h'",
        ),
        (
            "from features.rows import card\nFEATURES = [card('count', '24h'), card('count', '1d')]",
            r"our_rows\.FEATURES: declared more than once: card_count_1d",
        ),
    ],
)
def test_a_module_without_a_valid_table_is_refused(here: Path, text: str, said: str) -> None:
    (here / "our_rows.py").write_text(text)
    assert re.match(said, refused("our_rows"))
