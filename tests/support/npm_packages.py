"""Packages of the npm registry that tests use: installed once into `.cache`, all or nothing, without their scripts."""

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path

from support.paths import HOUSE

RESOLVE_SECONDS = 90.0


class NoPackages(Exception):  # noqa: N818 - a state of the machine
    """npm is missing, or the packages cannot be resolved."""


def installed(name: str, *packages: str, seconds: float = RESOLVE_SECONDS) -> Path:
    """Return the folder `node_modules` of some packages, each as `name@version`; npm fills it once.

    Raises:
        NoPackages: there is no `npm` while the folder is empty, or it could not resolve the packages.
    """
    cache = HOUSE / ".cache" / "npm"
    target = cache / name
    if target.is_dir():
        return target / "node_modules"
    if shutil.which("npm") is None:
        raise NoPackages("no npm on PATH")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock, tempfile.TemporaryDirectory(dir=cache) as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes; npm runs in one
        if target.is_dir():
            return target / "node_modules"
        made = Path(folder) / name
        made.mkdir()
        options = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        command = ["npm", "install", "--prefix", str(made), *options, *packages]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise NoPackages(f"npm did not end within {seconds:g} s") from error
        if done.returncode:
            raise NoPackages(f"npm: {done.stderr.strip()[-300:]}")
        made.rename(target)
    return target / "node_modules"
