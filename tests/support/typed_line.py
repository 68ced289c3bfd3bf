"""A line that a person types into a shell."""

import subprocess
from collections.abc import Mapping
from pathlib import Path


def typed(line: str, folder: Path, environment: Mapping[str, str], seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a line in a folder, with this environment alone, and return how it ended and what it printed."""
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
