"""Store and fetch artifacts in a folder or at any fsspec URL, one subfolder for each digest.

A digest is the only identity: there is no "latest". Every artifact is verified against its digest when it is fetched.
"""

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from models.artifact import FILES, LARGEST_BYTES, Contents, digest_of
from models.errors import DamagedArtifactError, MissingArtifactError, ModelError, RepositoryUnavailableError
from models.problems import Problem, ProblemCode

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PREFIX = re.compile(r"[0-9a-f]{8,64}")
_MANIFEST_LAST = sorted(FILES, key=lambda name: name == "manifest.json")


class Repository:
    """Artifacts by digest. Thread-safe; every call accesses the file system."""

    def __init__(self, url: str) -> None:
        """Open a folder or an fsspec URL, which need not exist yet.

        Raises:
            RepositoryUnavailableError: the URL's file system is unknown or not installed.
        """
        self.url = url
        with _translate_errors(url):
            # fsspec caches listings of object stores; another process's artifact must be visible at once.
            self._files, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False)

    def put(self, contents: Contents) -> str:
        """Store an artifact and return its digest; idempotent.

        In a local folder the write is atomic. An object store has no atomic rename, so the manifest is written last
        and an incomplete artifact fails verification.

        Raises:
            RepositoryUnavailableError: it cannot be written.
        """
        digest = digest_of(contents)
        with _translate_errors(self.url):
            if isinstance(self._files, LocalFileSystem):
                _put_in_folder(Path(self._root), digest, contents)
            else:
                self._files.makedirs(self._path(digest), exist_ok=True)
                for name in _MANIFEST_LAST:
                    self._files.pipe_file(self._path(digest, name), contents[name])
        return digest

    def digests(self) -> tuple[str, ...]:
        """Return the digests of all artifacts, sorted; they are verified only when fetched.

        Raises:
            RepositoryUnavailableError: it cannot be listed.
        """
        with _translate_errors(self.url):
            self._files.invalidate_cache()
            try:
                paths = self._files.ls(self._root, detail=False)
            except FileNotFoundError:
                return ()
        names = (str(path).rstrip("/").rpartition("/")[2] for path in paths)
        return tuple(sorted(name for name in names if _DIGEST.fullmatch(name)))

    def resolve(self, name: str) -> str | Problem:
        """Return the one digest that equals or begins with `name`.

        Raises:
            RepositoryUnavailableError: it cannot be listed.
        """
        if not _PREFIX.fullmatch(name):
            return Problem(ProblemCode.INVALID_FIELD, f"model: {name!r:.80} is not 8 to 64 hexadecimal digits")
        found = [digest for digest in self.digests() if digest.startswith(name)]
        match found:
            case [digest]:
                return digest
            case []:
                return Problem(ProblemCode.UNKNOWN_MODEL, f"no artifact {name} in {self.url}")
            case _:
                listed = ", ".join(digest[: len(name) + 8] for digest in found[:5])
                return Problem(ProblemCode.AMBIGUOUS_MODEL, f"{len(found)} artifacts begin with {name}: {listed}")

    def fetch(self, digest: str) -> dict[str, bytes]:
        """Return an artifact's files by name, verified against the digest.

        Raises:
            MissingArtifactError: no artifact has this digest.
            DamagedArtifactError: the bytes do not match the digest.
            RepositoryUnavailableError: it cannot be read.
        """
        if not _DIGEST.fullmatch(digest):
            raise MissingArtifactError(f"{digest!r:.80} is not a digest of 64 hexadecimal digits")
        with _translate_errors(self.url):
            self._files.invalidate_cache()
            try:
                names = self._checked_names(digest)
                contents = {name: bytes(self._files.cat_file(self._path(digest, name))) for name in names}
            except (FileNotFoundError, NotADirectoryError) as error:
                raise MissingArtifactError(f"no artifact {digest} in {self.url}") from error
        found = digest_of(contents)
        if found != digest:
            raise DamagedArtifactError(f"the files of {digest} in {self.url} have the digest {found}: store it again")
        return contents

    def _checked_names(self, digest: str) -> list[str]:
        """Return the names of an artifact's files after checking that they fit into memory."""
        entries = self._files.ls(self._path(digest), detail=True)
        if not entries:
            raise MissingArtifactError(f"no artifact {digest} in {self.url}")
        names = sorted(str(entry["name"]).rpartition("/")[2] for entry in entries)
        if names != sorted(FILES) or any(entry["type"] != "file" for entry in entries):
            raise DamagedArtifactError(f"{digest} in {self.url} holds {names[:9]}, not {sorted(FILES)}: store it again")
        size = sum(int(entry["size"] or 0) for entry in entries)
        if size > LARGEST_BYTES:
            raise DamagedArtifactError(f"{digest} in {self.url} has {size} bytes, the limit is {LARGEST_BYTES}")
        return names

    def _path(self, *parts: str) -> str:
        return "/".join((self._root.rstrip("/"), *parts))


@contextmanager
def _translate_errors(url: str) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # every fsspec file system has its own errors, and none of them may end a worker
        raise RepositoryUnavailableError(f"{url}: {error}") from error


def _put_in_folder(root: Path, digest: str, contents: Contents) -> None:
    target = root / digest
    if target.exists() and _contains(target, contents):
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
