"""Compiles the kernels in C when the package is built, and writes into it what it is built from.

The compiler is the machine's, or Zig's, which pip installs. Without either the package is built all the same: numpy and
LightGBM compute what a kernel would, with the same bits. `stream/build.txt` has the commit, which `stream.code_version`
appends to the version.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
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
BUILD_FILE = "stream/build.txt"
PACKAGES = ("fraudstream", "stream", "features", "models", "shadow", "guards", "metrics", "clients")
"""The folders of a checkout that the code which runs is in; `clients` has a distribution of its own."""
SUFFIXES = (".py", ".c", ".h", ".lua")
COMMIT = "FRAUDSTREAM_COMMIT"
"""The variable that names the commit where there is no git, as in the build of an image."""
_DIGITS = 12
_EDITABLE = "editable"


class KernelHook(BuildHookInterface[Any]):
    """Adds the kernels and the commit to a wheel, the commit to an sdist, and the kernels to an editable checkout.

    A checkout is asked for its commit when it runs: the next commit would make a file wrong.
    """

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return the compiler that pip has to install where the machine has none."""
        return [] if self.target_name != "wheel" or _compiler() else ["ziglang"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the commit, and compile the kernels; one that fails is left out."""
        if version != _EDITABLE:
            self._folder = tempfile.TemporaryDirectory()
            file = Path(self._folder.name, "build.txt")
            file.write_text(f"{build_of(Path(self.root))}\n")
            build_data["force_include"][str(file)] = BUILD_FILE
        if self.target_name == "wheel":
            self._add_kernels(build_data)

    def finalize(self, version: str, _build_data: dict[str, Any], _artifact: str) -> None:
        """Remove what was written for the build alone."""
        if version != _EDITABLE:
            self._folder.cleanup()

    def _add_kernels(self, build_data: dict[str, Any]) -> None:
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


def build_of(root: Path) -> str:
    """Return what tells the code of a build apart: `g` and its commit, or `s` and the hash of its sources.

    The commit is the one that the environment names, that which the sdist was built from, or that of the checkout, with
    `.dirty` where its packages differ from it.
    """
    named = os.environ.get(COMMIT, "").strip()
    if named:
        if not re.fullmatch(r"[0-9a-f]{7,64}(\.dirty)?", named):
            raise ValueError(f"{COMMIT}: expected a commit as git prints it, 7 to 64 hexadecimal digits, got {named!r}")
        commit, dirty, _ = named.partition(".dirty")
        return f"g{commit[:_DIGITS]}{dirty}"
    if (root / BUILD_FILE).is_file():
        return (root / BUILD_FILE).read_text().strip()
    commit = _git(root, "rev-parse", "HEAD") if (root / ".git").exists() else ""
    if commit:
        return f"g{commit[:_DIGITS]}{'.dirty' if _git(root, 'status', '--porcelain', '--', *PACKAGES) else ''}"
    return f"s{_hash_of_sources(root)[:_DIGITS]}"


def _git(root: Path, *words: str) -> str:
    """Return what git prints; nothing if it is not installed or fails."""
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "-C", str(root), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)  # noqa: S603 - ours
    return done.stdout.strip()


def _hash_of_sources(root: Path) -> str:
    digest = hashlib.sha256()
    sources = (path for package in PACKAGES for path in (root / package).rglob("*") if path.suffix in SUFFIXES)
    for path in sorted(sources):
        value = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\n{len(value)}\n".encode() + value)
    return digest.hexdigest()


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
