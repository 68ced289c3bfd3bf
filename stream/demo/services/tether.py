"""Becomes the command in its arguments, tied to the life of the process that started it.

Run as a file, before anything of ours is importable: `python tether.py PARENT_PID COMMAND…`. On Linux the kernel kills
the command when its parent dies, SIGKILL included; elsewhere the parent's own clean-up has to do.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def tie(parent: int) -> None:
    """Ask the kernel for a SIGKILL on the parent's death, and leave at once if that has already happened."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(f"process {parent}, which started this one, is gone")


if __name__ == "__main__":
    tie(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - becoming another program, without a shell, is its purpose
