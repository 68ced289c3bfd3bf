"""A challenger's process with a fault: `python -m benchmarks.parts.faulty slow`.

It is `stream.challenger.process` with a model that is slow, raises, takes all memory, dies, hangs or prints, to measure
and test that the live path is not affected.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np

from models.errors import ScoringError
from models.loading import Model
from models.policy import Floats
from shadow.server import Score
from stream.challenger.process import run

Fault = Literal["slow", "raising", "hungry", "dying", "hanging", "printing"]

_SLOW_SECONDS = 0.1
_CHUNK = 8 * 1024 * 1024


def faulty_command(fault: Fault) -> tuple[str, ...]:
    """Return the command of a challenger's process with that fault, for `WorkerApp` or `run_worker`."""
    return (sys.executable, "-P", "-m", "benchmarks.parts.faulty", fault)


def _slow(model: Model, matrix: Floats) -> Floats:
    """Score 100 ms later."""
    time.sleep(_SLOW_SECONDS)
    return model.score(matrix)


def _raising(_model: Model, matrix: Floats) -> Floats:
    raise ScoringError(f"a faulty challenger scores none of {len(matrix)} rows")


def _hungry(_model: Model, _matrix: Floats) -> Floats:
    """Allocate and write memory until there is none left."""
    allocated: list[Floats] = []
    while True:
        allocated.append(np.ones(_CHUNK))


def _dying(model: Model, matrix: Floats) -> Floats:
    os.kill(os.getpid(), signal.SIGKILL)
    return model.score(matrix)


def _hanging(model: Model, matrix: Floats) -> Floats:
    threading.Event().wait()
    return model.score(matrix)


def _printing(model: Model, matrix: Floats) -> Floats:
    """Print to standard output, as a careless library would."""
    os.write(sys.stdout.fileno(), b"not a frame of the protocol\n")
    return model.score(matrix)


SCORES: Mapping[str, Score] = MappingProxyType(
    {
        "slow": _slow,
        "raising": _raising,
        "hungry": _hungry,
        "dying": _dying,
        "hanging": _hanging,
        "printing": _printing,
    }
)


if __name__ == "__main__":
    run(SCORES[sys.argv[1]])
