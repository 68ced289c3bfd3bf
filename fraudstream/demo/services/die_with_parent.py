"""Executes the command in its arguments so that it dies with its parent process.

It runs as a file, without our packages: `python die_with_parent.py PARENT_PID COMMAND…`. On Linux the kernel kills the
command when the parent dies, even by SIGKILL; elsewhere only the parent's own clean-up does.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Ask the kernel for a SIGKILL when the parent dies, and exit if it is already dead."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(f"process {parent}, which started this one, is gone")


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - executing another program, without a shell, is its purpose
