"""Runs a notebook's code as one program: its cells are plain Python, so that no kernel is needed."""

import json
import os
import subprocess
import sys
from pathlib import Path


def code_of(notebook: Path) -> str:
    """Return the code of a notebook, its cells in order."""
    cells = json.loads(notebook.read_text())["cells"]
    return "\n\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def run_notebook(notebook: Path, folder: Path, **environment: str) -> str:
    """Run a notebook in a folder and return what it prints; the commands of this environment come first."""
    folder.mkdir()
    program = folder / "notebook.py"
    program.write_text(code_of(notebook))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, program.name],
        cwd=folder,
        env=os.environ | {"PATH": path} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
