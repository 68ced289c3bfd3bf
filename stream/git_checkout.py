"""Reads the commit of a checkout, and whether its sources differ from that, out of `.git` itself.

A checkout tells its own version at each start, so this costs milliseconds and starts no process. What it cannot read it
does not state: an index of an unknown format is taken for unchanged.
"""

import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from struct import Struct, unpack_from
from struct import error as unpack_error
from typing import NamedTuple

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REFERENCE = "ref: "
_ENTRY = Struct(">2I2I6I20sH")
"""An entry of the index: ctime, mtime (seconds, nanoseconds), device, inode, mode, user, group, size, hash, flags."""
_HEAD = Struct(">4sII")
_EXTENDED = 0x4000
_COMPRESSED_PATHS = 4
_MOST_BYTES_OF_A_COUNT = 5


class _Entry(NamedTuple):
    """What the index holds of a file: when it was last the same, its size, and the hash of its content."""

    mtime_ns: int
    size: int
    blob: bytes


class _Index(NamedTuple):
    """The tracked files by path, and the folders at the top in which something is staged."""

    entries: Mapping[str, _Entry]
    staged: frozenset[str]


def commit_of(root: Path) -> str | None:
    """Return the commit that is checked out in `root`; None if that is no checkout, or has no commit."""
    try:
        folder = _git_folder(root)
        head = (folder / "HEAD").read_text().strip()
        return head if _COMMIT.fullmatch(head) else _resolved(folder, head.removeprefix(_REFERENCE))
    except (OSError, UnicodeDecodeError):
        return None


def has_changes(root: Path, packages: Collection[str], suffixes: tuple[str, ...]) -> bool:
    """Tell whether sources in some folders of a checkout differ from its commit, are new, or are missing."""
    try:
        index = _read_index((_git_folder(root) / "index").read_bytes())
        return index is not None and (
            not index.staged.isdisjoint(packages) or _differs(root, index.entries, packages, suffixes)
        )
    except (OSError, ValueError, LookupError, unpack_error):  # half written, or of a format of the future
        return False


def _git_folder(root: Path) -> Path:
    """Return the folder of a checkout's own state: `.git`, or what it names in a linked worktree."""
    place = root / ".git"
    return place if place.is_dir() else root / place.read_text().removeprefix("gitdir:").strip()


def _resolved(folder: Path, reference: str) -> str | None:
    """Return the commit of a branch: in a file of its own, or among the packed ones, of all worktrees together."""
    shared = folder / "commondir"
    common = folder / shared.read_text().strip() if shared.is_file() else folder
    for place in (folder / reference, common / reference):
        if place.is_file() and _COMMIT.fullmatch(found := place.read_text().strip()):
            return found
    packed = common / "packed-refs"
    lines = packed.read_text().splitlines() if packed.is_file() else ()
    return next((line.split(" ")[0] for line in lines if line.endswith(f" {reference}")), None)


def _differs(root: Path, entries: Mapping[str, _Entry], packages: Collection[str], suffixes: tuple[str, ...]) -> bool:
    found = set(_sources(str(root), packages, suffixes))
    tracked = {path for path in entries if path.endswith(suffixes) and path.partition("/")[0] in packages}
    return found != tracked or any(_is_other(f"{root}/{path}", entries[path]) for path in tracked)


def _sources(root: str, packages: Collection[str], suffixes: tuple[str, ...]) -> Iterator[str]:
    """Yield the sources in some folders, by their path in the checkout."""
    for package in packages:
        for folder, folders, files in os.walk(f"{root}/{package}"):
            folders[:] = [name for name in folders if name != "__pycache__"]
            inside = folder[len(root) + 1 :]
            yield from (f"{inside}/{name}" for name in files if name.endswith(suffixes))


def _is_other(path: str, entry: _Entry) -> bool:
    state = os.stat(path)  # noqa: PTH116 - of hundreds of files, at each start: a Path costs as much as the call
    if (state.st_mtime_ns, state.st_size) == (entry.mtime_ns, entry.size):
        return False
    content = Path(path).read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).digest() != entry.blob


def _read_index(value: bytes) -> _Index | None:
    """Read git's index as its documentation (gitformat-index) has it; None if it is of another version."""
    signature, version, count = _HEAD.unpack_from(value)
    if signature != b"DIRC" or version not in (2, 3, _COMPRESSED_PATHS):
        return None
    entries, at, path = dict[str, _Entry](), _HEAD.size, b""
    for _ in range(count):
        fields = _ENTRY.unpack_from(value, at)
        begin = at + _ENTRY.size + (2 if fields[11] & _EXTENDED else 0)
        kept = 0
        if version == _COMPRESSED_PATHS:
            cut, begin = _count(value, begin)
            kept = len(path) - cut
        end = value.index(b"\0", begin)
        path = path[:kept] + value[begin:end]
        # Before version 4, an entry is filled up with zeros to a multiple of 8 bytes, one at least.
        at = end + 1 if version == _COMPRESSED_PATHS else at + (end - at + 8) // 8 * 8
        entries[path.decode(errors="surrogateescape")] = _Entry(fields[2] * 10**9 + fields[3], fields[9], fields[10])
    return _Index(entries, frozenset(_staged(value, at)))


def _count(value: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length, and where what is behind it begins."""
    found = value[at] & 0x7F
    for place in range(at, at + _MOST_BYTES_OF_A_COUNT):
        if not value[place] & 0x80:
            return found, place + 1
        found = ((found + 1) << 7) | (value[place + 1] & 0x7F)
    raise ValueError(f"no number at byte {at}")


def _staged(value: bytes, at: int) -> Iterator[str]:
    """Yield the folders at the top whose trees git has to write anew: something was added to the index there.

    The extension `TREE` has the tree of each folder as of the last commit; -1 entries say that it holds no more.
    """
    while at + 8 <= len(value) - 20:
        name, (size,) = value[at : at + 4], unpack_from(">I", value, at + 4)
        if name == b"TREE":
            yield from _invalid_folders(value[at + 8 : at + 8 + size])
        at += 8 + size


def _invalid_folders(trees: bytes) -> Iterator[str]:
    at, open_folders = 0, list[int]()
    while at < len(trees):
        end = trees.index(b"\0", at)
        line = trees.index(b"\n", end)
        entries, folders = (int(number) for number in trees[end + 1 : line].split())
        if len(open_folders) == 1 and entries < 0:
            yield trees[at:end].decode()
        at = line + 1 + (20 if entries >= 0 else 0)
        open_folders.append(folders)
        while open_folders and not open_folders[-1]:
            open_folders.pop()
            if open_folders:
                open_folders[-1] -= 1
