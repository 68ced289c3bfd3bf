"""A worker whose challenger has a fault: `python -m benchmarks.parts.hampered slow`."""

import os
import sys
from typing import get_args

from benchmarks.parts.faulty import Fault, faulty_command
from stream.settings import read_settings
from stream.worker.main import run_worker


def hampered_command(fault: Fault) -> tuple[str, ...]:
    """Return the command of such a worker."""
    return (sys.executable, "-P", "-m", "benchmarks.parts.hampered", fault)


if __name__ == "__main__":
    faults: dict[str, Fault] = {fault: fault for fault in get_args(Fault)}
    raise SystemExit(run_worker(read_settings(os.environ), faulty_command(faults[sys.argv[1]])))
