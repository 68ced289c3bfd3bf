"""Limit the calling process's CPU priority, memory and lifetime, so that a challenger cannot disturb decisions.

A limit that the operating system does not support is skipped.
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
            log.warning("the challenger could not be given SCHED_BATCH: %s", error)


def raise_oom_score() -> None:
    """Make the kernel's OOM killer choose this process first, so that a challenger never costs a worker."""
    try:
        _OOM_SCORE.write_text("1000")
    except OSError as error:
        log.info("the challenger's oom_score_adj could not be raised: %s", error)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, even if it hangs and does not read its input (Linux)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def disable_core_dumps() -> None:
    """Disable core dumps: they would contain payments, and could fill the disk."""
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as error:
        log.warning("the challenger's core dumps could not be disabled: %s", error)


def limit_memory(megabytes: int) -> None:
    """Limit this process's private memory; memory-mapped libraries do not count."""
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (megabytes * _MIB, megabytes * _MIB))
    except (OSError, ValueError) as error:
        log.warning("the challenger's memory could not be limited: %s", error)
