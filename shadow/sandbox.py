"""What a challenger's process may take of its machine: what is left of the processor, so much memory, no longer a life.

Each of these is asked of the kernel for the process that calls; where a system does not know one, it goes without.
"""

import ctypes
import logging
import os
import resource
import signal
import sys
from pathlib import Path

log = logging.getLogger("fraudstream.shadow")

_NICENESS = 10
_PR_SET_PDEATHSIG = 1
_MIB = 1024 * 1024
_OOM_SCORE = Path("/proc/self/oom_score_adj")


def lower_priority() -> None:
    """Take the processor only where nobody else wants it: niced, and scheduled in batches on Linux."""
    os.nice(_NICENESS)
    if sys.platform.startswith("linux"):
        try:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        except OSError as error:
            log.warning("the challenger is not scheduled in batches: %s", error)


def raise_oom_score() -> None:
    """Have the kernel end this process before all others where memory runs out: a decision must not pay for a trial."""
    try:
        _OOM_SCORE.write_text("1000")
    except OSError as error:
        log.info("the challenger is not the first to go where memory runs out: %s", error)


def die_with_parent() -> None:
    """Have the kernel end this process with its parent, even where it hangs and does not see its input end."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def disable_core_dumps() -> None:
    """Have no image of this process written where it aborts: it would hold payments, and fill a disk at each trial."""
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as error:
        log.warning("the challenger may leave a core file: %s", error)


def limit_memory(megabytes: int) -> None:
    """Refuse this process more private memory than that; libraries that are merely mapped do not count."""
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (megabytes * _MIB, megabytes * _MIB))
    except (OSError, ValueError) as error:
        log.warning("the challenger's memory is not bounded: %s", error)
