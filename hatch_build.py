"""Compiles the kernel in C when the package is built: with the machine's C compiler, or with Zig's, which pip installs.

Without either the package is built all the same, and numpy computes what the kernel would, with the same bits.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "features/vector/window_features.c"
LIBRARY = "features/vector/window_features.shared"
FLAGS = ("-std=c11", "-O3", "-ffp-contract=off", "-fno-sanitize=undefined", "-fPIC", "-shared", "-s")
"""A fused multiplication and addition would give other bits than numpy."""
_SECONDS = 120


class KernelHook(BuildHookInterface[Any]):
    """Adds the compiled kernel to a wheel, or puts it into a checkout that is installed editable."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return the compiler that pip has to install where the machine has none."""
        return [] if _compiler() else ["ziglang"]

    def initialize(self, _version: str, build_data: dict[str, Any]) -> None:
        """Compile the kernel."""
        why = _compile(Path(self.root))
        if why:
            self.app.display_warning(f"the kernel in C is not built, features are computed by numpy: {why}")
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["artifacts"].append(LIBRARY)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"


def _compiler() -> list[str]:
    """Return the command of a C compiler; empty if there is none."""
    found = shutil.which(os.environ.get("CC", "cc"))
    if found:
        return [found]
    return [sys.executable, "-m", "ziglang", "cc"] if find_spec("ziglang") else []


def _compile(root: Path) -> str:
    """Compile the kernel beside its source; return why that failed, or nothing."""
    compiler, library = _compiler(), root / LIBRARY
    if not compiler:
        return "there is no C compiler; install one, or the package ziglang"
    made = library.with_suffix(f".{os.getpid()}.shared")
    command = [*compiler, *FLAGS, "-o", str(made), str(root / SOURCE), "-lm"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)  # noqa: S603 - ours
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode:
        return f"{' '.join(command)}: {done.stderr.strip()[-500:]}"
    made.replace(library)
    return ""
