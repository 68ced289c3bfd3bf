"""Artifacts and other files in a local folder: written, replaced and deleted as a whole, whatever ends the process."""

import os
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from models.artifact import MANIFEST, Contents


def check_folder(root: Path) -> None:
    """Create a folder in `root`, or in the nearest folder above it that exists, and remove it again."""
    nearest = next(place for place in (root, *root.parents) if place.exists())
    with tempfile.TemporaryDirectory(prefix=".fraudstream-", dir=nearest):
        pass


def put_in_folder(root: Path, digest: str, contents: Contents) -> None:
    """Store an artifact as `root/digest`, whole or not at all; one that is there already counts as stored now.

    Raises:
        OSError: it cannot be written.
    """
    target = root / digest
    if _renewed(target, contents):
        return
    root.mkdir(parents=True, exist_ok=True)
    draft = root / f".{digest[:8]}-{secrets.token_hex(8)}"
    draft.mkdir()
    try:
        for name, value in contents.items():
            _write_synced(draft / name, value)
        _move_into_place(draft, target, contents)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _renewed(target: Path, contents: Contents) -> bool:
    """Tell whether an artifact is there, whole, and set the time at which it was stored to now.

    A prune that runs meanwhile looks at that time once more after it has moved the artifact away. So either the prune
    sees that time and moves it back, or the artifact is gone here, and is stored anew.
    """
    try:
        if not _contains(target, contents):
            return False
        with suppress(PermissionError):  # another user's: it is there, and that was asked for
            os.utime(target / MANIFEST)
    except FileNotFoundError:
        return False
    return True


def delete_from_folder(root: Path, digest: str, stored_before_ms: int) -> bool:
    """Delete an artifact, unless it was stored, or stored again, at `stored_before_ms` or later; tell whether it was.

    Raises:
        OSError: it is not there, or cannot be deleted.
    """
    target = root / digest
    moved = root / f".{digest[:8]}-{secrets.token_hex(8)}-deleted"
    target.rename(moved)
    if (moved / MANIFEST).stat().st_mtime_ns // 1_000_000 >= stored_before_ms:
        with suppress(OSError):  # stored anew in between: that one is as good
            moved.rename(target)
        shutil.rmtree(moved, ignore_errors=True)
        return False
    shutil.rmtree(moved)
    _sync(root)
    return True


def _move_into_place(draft: Path, target: Path, contents: Contents) -> None:
    """Rename a complete draft to its digest; another writer's complete artifact stays, a damaged one is replaced."""
    try:
        draft.rename(target)  # fails if the target folder is not empty
    except OSError:
        if not _contains(target, contents):
            _replace(draft, target)
    _sync(target.parent)


def _replace(draft: Path, target: Path) -> None:
    old = draft.with_name(f"{draft.name}-old")
    with suppress(FileNotFoundError):  # another writer has moved it
        target.rename(old)
    try:
        draft.rename(target)
    except OSError:
        if not target.exists():
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def replace_file(target: Path, value: bytes) -> None:
    """Write a file whole or not at all, whatever ends the process or the machine meanwhile; its folder is created.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}-{secrets.token_hex(8)}")
    try:
        _write_synced(draft, value)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    _sync(target.parent)


def _contains(folder: Path, contents: Contents) -> bool:
    names = {path.name for path in folder.iterdir()}
    return names == set(contents) and all((folder / name).read_bytes() == contents[name] for name in names)


def _write_synced(path: Path, value: bytes) -> None:
    with path.open("xb") as file:
        file.write(value)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
