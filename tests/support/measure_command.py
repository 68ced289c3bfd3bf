"""Measures a command: how long it takes, and the peak memory of all its processes together.

`measure_command.py COMMAND…` writes both to standard error.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import psutil

LOOK_SECONDS = 0.1


class Measured(NamedTuple):
    """How a command ended, its time and memory; pages that several of its processes share are counted once."""

    exit_code: int
    output: str
    errors: str
    seconds: float
    peak_mb: float


def measure(command: Sequence[str], environment: Mapping[str, str], seconds: float) -> Measured:
    """Run a command with these environment variables added; kill it after `seconds`."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        began, peak_bytes = time.monotonic(), 0
        process = subprocess.Popen(command, env=os.environ | environment, stdout=output, stderr=errors)
        while process.poll() is None:
            peak_bytes = max(peak_bytes, held_by(process.pid))
            if time.monotonic() - began > seconds:
                process.kill()
            time.sleep(LOOK_SECONDS)
        took_s = time.monotonic() - began
        output.seek(0)
        errors.seek(0)
        return Measured(process.returncode, output.read(), errors.read(), took_s, peak_bytes / 1e6)


def held_by(pid: int) -> int:
    """Return the bytes that a process and its descendants hold in memory; 0 if it is gone."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(map(_own, family))


def _own(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


if __name__ == "__main__":
    found = measure(sys.argv[1:], {}, float("inf"))
    sys.stdout.write(found.output)
    sys.stderr.write(f"{found.errors}\n{found.seconds:.1f} s, {found.peak_mb:,.0f} MB at its peak\n")
    sys.exit(found.exit_code)
