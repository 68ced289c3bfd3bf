"""The process that tries an artifact: `python -m stream.control.trial_process FEATURES MEMORY_MB CPU_SECONDS`.

It reads the artifact's files from its standard input, does with them all that a worker, a replay and an explanation do,
and writes what it found to its standard output. It has no login, no connection, and no second artifact.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from features.errors import DeclarationError
from features.vector.sets import load_sets
from models.artifact import Contents
from models.errors import DamagedArtifactError
from models.loading import VectoriseProbe, rehearse
from shadow.errors import NoSeccompError
from shadow.sandbox import (
    die_with_parent,
    disable_core_dumps,
    limit_cpu,
    limit_memory,
    lower_priority,
    raise_oom_score,
)
from shadow.seccomp import restrict
from stream.control.probes import probe_vectorisers
from stream.control.trial import NO_FEATURES, READY, TrialVerdict

_LONGEST_TEXT = 500


def run(features: str, memory_mb: int, cpu_seconds: int) -> None:
    """Try one artifact, and exit with 0; a fault that Python does not see ends the process as it may."""
    out = os.dup(sys.stdout.fileno())
    die_with_parent()
    disable_core_dumps()
    lower_priority()
    raise_oom_score()
    computed = _computed(features)
    os.write(out, READY)
    # What a library prints must get neither into the answer nor, with parts of the artifact, into a log.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.dup2(nowhere, sys.stderr.fileno())
    limit_cpu(cpu_seconds)
    limit_memory(memory_mb)
    contents = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=dict[str, bytes])
    with suppress(NoSeccompError):  # the limits above hold wherever this does not
        restrict(connections=False)
    os.write(out, msgspec.json.encode(verdict(contents, computed, memory_mb)))
    os._exit(0)


def verdict(contents: Contents, computed: Mapping[str, VectoriseProbe], memory_mb: int) -> TrialVerdict:
    """Load an artifact, and return what came of it."""
    try:
        rehearse(contents, computed)
    except DamagedArtifactError as error:
        if "bad_alloc" not in str(error):
            return TrialVerdict(damaged=str(error)[:_LONGEST_TEXT])
        return TrialVerdict(failed=_too_large(memory_mb))  # LightGBM's word for it
    except MemoryError:
        return TrialVerdict(failed=_too_large(memory_mb))
    except Exception as error:  # noqa: BLE001 - whatever a crafted artifact brings about; its text may be of any size
        return TrialVerdict(failed=f"met an error that no artifact of ours brings about, {type(error).__name__}")
    return TrialVerdict()


def _too_large(memory_mb: int) -> str:
    return f"needed more than {memory_mb} MiB of memory"


def _computed(features: str) -> Mapping[str, VectoriseProbe]:
    """Return the probe functions of feature modules; none of those that need more of the environment than is here."""
    if features == NO_FEATURES:
        return {}
    try:
        return probe_vectorisers(load_sets(features))
    except DeclarationError:
        return {}


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
