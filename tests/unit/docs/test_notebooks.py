"""The notebooks of `examples/` are plain Python with working links; `make acceptance` runs them."""

import json
import re
import shlex
from pathlib import Path

import click
import pytest

from fraudstream.cli.main import main
from support.notebook import code_of
from support.paths import HOUSE

NOTEBOOKS = sorted((HOUSE / "examples" / "notebooks").glob("*.ipynb"))


def text_of(notebook: Path) -> str:
    cells = json.loads(notebook.read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebooks_code_is_plain_python_and_no_output_is_stored(notebook: Path) -> None:
    compile(code_of(notebook), notebook.name, "exec")
    found = json.loads(notebook.read_text())
    assert (found["nbformat"], found["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in found["cells"]}) == len(found["cells"])
    assert [cell for cell in found["cells"] if cell.get("outputs") or cell.get("execution_count")] == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_every_link_of_a_notebook_exists_and_every_command_too(notebook: Path) -> None:
    text = text_of(notebook)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    assert len(links) > 1
    assert [link for link in links if not (notebook.parent / link).exists()] == []
    lines = re.findall(r"^\$ fraudstream (.+)$", text, re.MULTILINE)
    assert len(lines) > 1
    for line in lines:
        group, name, *options = shlex.split(line)
        top = click.Context(main, **main.context_settings)  # a command keeps the first context's names of --help
        family = main.get_command(top, group)
        assert isinstance(family, click.Group)
        context = click.Context(family, parent=top)
        command = family.get_command(context, name)
        assert command is not None, line
        command.parse_args(click.Context(command, parent=context), options)
