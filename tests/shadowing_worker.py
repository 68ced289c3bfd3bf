"""A worker whose challenger has a fault: `python shadowing_worker.py slow`."""

import os
import sys
from pathlib import Path

from stream.bench.faulty import Fault


def command(fault: Fault) -> tuple[str, ...]:
    return (sys.executable, str(Path(__file__).resolve()), fault)


if __name__ == "__main__":
    from stream.bench.faulty import faulty_command
    from stream.settings import read_settings
    from stream.worker import run_worker

    raise SystemExit(run_worker(read_settings(os.environ), faulty_command(sys.argv[1])))  # type: ignore[arg-type]
