"""What this process trains with: the sources that training runs, their commit, Python, and the libraries' versions."""

import hashlib
import platform
import shutil
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import msgspec

from models.artifact import Provenance

_ROOT = Path(__file__).resolve().parents[3]
_SOURCES = ("features", "metrics", "models", "fraudstream/lab/dataset", "fraudstream/lab/training")
"""What the bits of an artifact depend on: features, training, calibration and measures."""
_LIBRARIES = ("duckdb", "lightgbm", "msgspec", "numpy", "scikit-learn")
_GIT_SECONDS = 10


class _VersionControl(msgspec.Struct):
    """Where a distribution was installed from, as PEP 610 has it."""

    commit_id: str | None = None


class _DirectUrl(msgspec.Struct):
    """The part of `direct_url.json` that is read."""

    vcs_info: _VersionControl | None = None


def provenance_here() -> Provenance:
    """Return what an artifact that is made now by this process is made with."""
    return Provenance(
        code=code_fingerprint(_ROOT, _SOURCES),
        commit=_installed_commit() or _checked_out_commit(_ROOT),
        python=platform.python_version(),
        libraries={name: found for name in _LIBRARIES if (found := _version(name)) is not None},
    )


def code_fingerprint(root: Path, folders: Iterable[str]) -> str:
    """Return the SHA-256 over the paths and bytes of all Python sources in folders of `root`."""
    digest = hashlib.sha256(b"fraudstream code 1\n")
    for path in sorted(path for folder in folders for path in (root / folder).rglob("*.py")):
        value = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\n{len(value)}\n".encode())
        digest.update(value)
    return digest.hexdigest()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _installed_commit() -> str | None:
    """Return the commit that pip installed this distribution from; None if it came from elsewhere."""
    try:
        text = distribution("fraudstream").read_text("direct_url.json")
        found = msgspec.json.decode(text or "{}", type=_DirectUrl)
    except (PackageNotFoundError, msgspec.DecodeError):
        return None
    return None if found.vcs_info is None else found.vcs_info.commit_id


def _checked_out_commit(root: Path) -> str | None:
    """Return the commit of a checkout; None if `root` is none, as in an installed package, or git is not installed."""
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    done = subprocess.run(  # noqa: S603 - of our own folder
        [git, "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False, timeout=_GIT_SECONDS
    )
    return done.stdout.strip() or None
