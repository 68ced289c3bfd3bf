"""Limit the calling process's CPU priority, time, memory and lifetime, so that it cannot disturb decisions.

It is a challenger's process, or one that tries an artifact. A limit that the operating system does not support is
skipped.
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
    """Raise the process's niceness; on Linux also use the batch scheduling policy."""
    os.nice(_NICENESS)
    if sys.platform.startswith("linux"):
        try:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        except OSError as error:
            log.warning("a process beside the worker could not be given SCHED_BATCH: %s", error)


def raise_oom_score() -> None:
    """Make the kernel's OOM killer choose this process first, so that it never costs a worker."""
    try:
        _OOM_SCORE.write_text("1000")
    except OSError as error:
        log.info("the oom_score_adj of a process beside the worker could not be raised: %s", error)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, even if it hangs and does not read its input (Linux)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def disable_core_dumps() -> None:
    """Disable core dumps: they would contain payments, and could fill the disk."""
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as error:
        log.warning("the core dumps of a process beside the worker could not be disabled: %s", error)


def limit_memory(megabytes: int) -> None:
    """Limit this process's private memory; memory-mapped libraries do not count."""
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (megabytes * _MIB, megabytes * _MIB))
    except (OSError, ValueError) as error:
        log.warning("the memory of a process beside the worker could not be limited: %s", error)


def limit_cpu(seconds: int) -> None:
    """Have the kernel end this process by SIGXCPU once it has used so much processor time."""
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    except (OSError, ValueError) as error:
        log.warning("the processor time of a process beside the worker could not be limited: %s", error)
