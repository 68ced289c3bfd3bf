"""Compiles the kernels in C when the package is built: with the machine's compiler, or with Zig's, which pip installs.

Without either the package is built all the same: numpy and LightGBM compute what a kernel would, with the same bits.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Kernel(NamedTuple):
    """A library that is compiled from one source, and what happens without it."""

    source: str
    library: str
    without: str


KERNELS = (
    Kernel(
        "features/vector/window_features.c", "features/vector/window_features.shared", "features are computed by numpy"
    ),
    Kernel("models/tree_margins.c", "models/tree_margins.shared", "models are scored by LightGBM"),
)
FLAGS = ("-std=c11", "-O3", "-ffp-contract=off", "-fno-sanitize=undefined", "-fPIC", "-shared", "-s")
"""A fused multiplication and addition would give other bits than numpy and LightGBM."""
_SECONDS = 120


class KernelHook(BuildHookInterface[Any]):
    """Adds the compiled kernels to a wheel, or puts them into a checkout that is installed editable."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return the compiler that pip has to install where the machine has none."""
        return [] if _compiler() else ["ziglang"]

    def initialize(self, _version: str, build_data: dict[str, Any]) -> None:
        """Compile the kernels; one that fails is left out."""
        built = []
        for kernel in KERNELS:
            why = _compile(Path(self.root), kernel)
            if why:
                self.app.display_warning(f"{kernel.source} is not compiled, {kernel.without}: {why}")
            else:
                built.append(kernel.library)
        if built:
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["artifacts"] += built
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform}"


def _compiler() -> list[str]:
    """Return the command of a C compiler; empty if there is none.

    Zig's would use every instruction of this machine's processor, which the one that runs the image may not have.
    """
    found = shutil.which(os.environ.get("CC", "cc"))
    if found:
        return [found]
    return [sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline"] if find_spec("ziglang") else []


def _compile(root: Path, kernel: Kernel) -> str:
    """Compile a kernel beside its source; return why that failed, or nothing."""
    compiler, library = _compiler(), root / kernel.library
    if not compiler:
        return "there is no C compiler; install one, or the package ziglang"
    made = library.with_suffix(f".{os.getpid()}.shared")
    command = [*compiler, *FLAGS, "-o", str(made), str(root / kernel.source), "-lm"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)  # noqa: S603 - ours
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode:
        return f"{' '.join(command)}: {done.stderr.strip()[-500:]}"
    made.replace(library)
    return ""
