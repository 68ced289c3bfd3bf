"""Store and fetch artifacts in a folder or at any fsspec URL, one subfolder for each digest; and a few other files.

A digest is the only identity: there is no "latest". Every artifact is verified against its digest when it is fetched.
No message of an error contains the URL's login.
"""

import re
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from models.artifact import FILES, LARGEST_BYTES, MANIFEST, Contents, digest_of
from models.deadline import Deadline
from models.errors import (
    DamagedArtifactError,
    MissingArtifactError,
    ModelError,
    RepositoryUnavailableError,
    UntrustedArtifactError,
)
from models.file_times import modified_ms
from models.folder_store import check_folder, delete_from_folder, put_in_folder, replace_file
from models.logins import secrets_in, secrets_in_options, without_logins
from models.model_signatures import ModelTrust, signature_folder
from models.problems import Problem, ProblemCode

DEADLINE_SECONDS = 30.0
"""How long listing the repository, or fetching an artifact, may take before the repository counts as unavailable."""
STORE_SECONDS = 300.0
"""How long storing an artifact may take; no worker waits for it."""

LARGEST_MANIFEST_BYTES = 16 * 1024 * 1024
"""Upper limit for the size of a manifest that is listed; its largest parts are 4,096 names of features."""

MOST_SIGNATURES = 64
"""Upper limit for the number of signatures of one artifact that are read."""
_SIGNATURE_BYTES = 4096
"""So much of a signature's file is read; one has some 260 bytes."""

_T = TypeVar("_T")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PREFIX = re.compile(r"[0-9a-f]{8,64}")
_MANIFEST_LAST = sorted(FILES, key=lambda name: name == "manifest.json")


class StoredManifest(NamedTuple):
    """The bytes of a manifest, not verified, and when it was stored; None where the file system does not tell."""

    value: bytes
    stored_ms: int | None


class Repository:
    """Artifacts by digest. Thread-safe; every call accesses the file system, and blocks until its deadline."""

    def __init__(self, url: str, trust: ModelTrust | None = None, *, options: Mapping[str, Any] | None = None) -> None:
        """Name a folder or an fsspec URL, which need not exist yet; it is opened at the first call.

        With `trust`, only artifacts that one of its keys has signed are fetched. `options` are the file system's.

        Raises:
            RepositoryUnavailableError: the URL's file system is unknown or not installed.
        """
        self.url = url
        self.place = without_logins(url)
        """The URL as it may be shown."""
        self._options = dict(options or {})
        self._secrets = secrets_in(url) | secrets_in_options(self._options)
        self._trust = trust
        self._deadline = Deadline()
        self._opened: tuple[fsspec.AbstractFileSystem, str] | None = None
        with self._translated_errors():
            for protocol in _protocols(url):
                _require_file_system(protocol)

    def exists(self) -> bool:
        """Tell whether the folder or the place is there; an object store's is, once something is stored in it.

        Raises:
            RepositoryUnavailableError: it does not answer.
        """
        return self._within(DEADLINE_SECONDS, self._exists)

    def check_writable(self) -> None:
        """Write a file where an artifact would be stored, and remove it again; folders that are missing are not made.

        Raises:
            RepositoryUnavailableError: it cannot be written.
        """
        self._within(DEADLINE_SECONDS, self._check_writable)

    def put(self, contents: Contents) -> str:
        """Store an artifact and return its digest; idempotent.

        In a local folder the write is atomic. An object store has no atomic rename, so the manifest is written last
        and an incomplete artifact fails verification.

        Raises:
            RepositoryUnavailableError: it cannot be written.
        """
        return self._within(STORE_SECONDS, lambda: self._put(contents))

    def digests(self) -> tuple[str, ...]:
        """Return the digests of all artifacts, sorted; they are verified only when fetched.

        Raises:
            RepositoryUnavailableError: it cannot be listed.
        """
        return self._within(DEADLINE_SECONDS, self._digests)

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
                return Problem(ProblemCode.UNKNOWN_MODEL, self._within(DEADLINE_SECONDS, lambda: self._missing(name)))
            case _:
                listed = ", ".join(digest[: len(name) + 8] for digest in found[:5])
                return Problem(ProblemCode.AMBIGUOUS_MODEL, f"{len(found)} artifacts begin with {name}: {listed}")

    def fetch(self, digest: str) -> dict[str, bytes]:
        """Return an artifact's files by name, verified against the digest.

        Raises:
            MissingArtifactError: no artifact has this digest.
            DamagedArtifactError: the bytes do not match the digest.
            UntrustedArtifactError: models must be signed, and no signature of this one counts.
            RepositoryUnavailableError: it cannot be read.
        """
        if not _DIGEST.fullmatch(digest):
            raise MissingArtifactError(f"{digest!r:.80} is not a digest of 64 hexadecimal digits")
        return self._within(DEADLINE_SECONDS, lambda: self._fetch(digest))

    def renew(self, digest: str) -> dict[str, bytes]:
        """Store an artifact again, so that it counts as stored now, and return its files as `fetch` does.

        Whoever makes a model that names another one does so first: a prune that runs meanwhile then keeps that one.

        Raises:
            ArtifactError, RepositoryUnavailableError: as `fetch` and `put` do.
        """
        contents = self.fetch(digest)
        self.put(contents)
        return contents

    def manifest(self, digest: str) -> StoredManifest:
        """Return an artifact's manifest without its other files, so it is not verified against the digest.

        Raises:
            MissingArtifactError: no artifact has this digest, or its manifest is missing.
            DamagedArtifactError: it is too large for a manifest.
            RepositoryUnavailableError: it cannot be read.
        """
        return self._within(DEADLINE_SECONDS, lambda: self._manifest(digest))

    def signatures(self, digest: str, first: Collection[str] = ()) -> dict[str, bytes]:
        """Return the files of an artifact's signatures by name, not verified; those of the keys in `first` come first.

        A file that cannot be read is returned as empty.

        Raises:
            RepositoryUnavailableError: it cannot be read.
        """
        return self._within(DEADLINE_SECONDS, lambda: self._signatures(digest, first))

    def read(self, name: str) -> bytes | None:
        """Return a file that is no artifact; None if there is none of this name.

        Raises:
            RepositoryUnavailableError: it cannot be read.
        """
        return self._within(DEADLINE_SECONDS, lambda: self._read(name))

    def write(self, name: str, value: bytes) -> None:
        """Write or replace a file that is no artifact, as a whole.

        Raises:
            RepositoryUnavailableError: it cannot be written.
        """
        self._within(DEADLINE_SECONDS, lambda: self._write(name, value))

    def names(self, folder: str) -> tuple[str, ...]:
        """Return the names of the files in a folder, such as an artifact's, sorted; none if there is no such folder.

        Raises:
            RepositoryUnavailableError: it cannot be listed.
        """
        return self._within(DEADLINE_SECONDS, lambda: self._names(folder))

    def delete(self, digest: str, stored_before_ms: int) -> bool:
        """Delete an artifact that was last stored before a time, in epoch ms; False if it was stored later than that.

        In a local folder nobody sees half an artifact, and one that another process stores meanwhile stays. An object
        store has no atomic rename: there the manifest goes first, so what is left of an artifact fails verification.

        Raises:
            MissingArtifactError: it is not there.
            RepositoryUnavailableError: it cannot be deleted.
        """
        return self._within(STORE_SECONDS, lambda: self._delete(digest, stored_before_ms))

    def remove_folder(self, folder: str) -> None:
        """Remove a folder that holds no artifact, with all files in it; nothing happens if there is none.

        Raises:
            RepositoryUnavailableError: it cannot be removed.
        """
        self._within(STORE_SECONDS, lambda: self._remove_folder(folder))

    def _within(self, seconds: float, work: Callable[[], _T]) -> _T:
        with self._translated_errors():
            return self._deadline.call(work, seconds)

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except ModelError:
            raise
        except Exception as error:  # noqa: BLE001 - see below
            # Every fsspec file system has its own errors, and none of them may end a worker. Their texts may quote the
            # URL, so they are not chained. What failed may have lost its connection, so it is opened again.
            self._opened = None
            why = without_logins(str(error), self._secrets) or type(error).__name__
            raise RepositoryUnavailableError(f"{self.place}: {why}") from None

    def _open(self) -> tuple[fsspec.AbstractFileSystem, str]:
        """Return the file system and the repository's path in it; many file systems connect when they are made."""
        opened = self._opened
        if opened is None:
            # fsspec caches listings of object stores; another process's artifact must be visible at once.
            opened = fsspec.core.url_to_fs(
                self.url, use_listings_cache=False, skip_instance_cache=True, **self._options
            )
            self._opened = opened
        return opened

    @property
    def _files(self) -> fsspec.AbstractFileSystem:
        return self._open()[0]

    def _path(self, *parts: str) -> str:
        return "/".join((self._open()[1].rstrip("/"), *parts))

    def _exists(self) -> bool:
        self._files.invalidate_cache()
        return bool(self._files.exists(self._path()))

    def _missing(self, name: str) -> str:
        return f"no artifact {name} in {self.place}" + ("" if self._exists() else ", which does not exist")

    def _check_writable(self) -> None:
        try:
            if isinstance(self._files, LocalFileSystem):
                check_folder(Path(self._path()))
            else:
                self._files.makedirs(self._path(), exist_ok=True)
                probe = self._path(f".writable-{secrets.token_hex(8)}")
                self._files.pipe_file(probe, b"")
                self._files.rm_file(probe)
        except OSError as error:
            why = without_logins(error.strerror or str(error), self._secrets)
            raise RepositoryUnavailableError(f"{self.place} cannot be written: {why}") from None

    def _put(self, contents: Contents) -> str:
        digest = digest_of(contents)
        if isinstance(self._files, LocalFileSystem):
            put_in_folder(Path(self._path()), digest, contents)
        else:
            self._files.makedirs(self._path(digest), exist_ok=True)
            for name in _MANIFEST_LAST:
                self._files.pipe_file(self._path(digest, name), contents[name])
        return digest

    def _read(self, name: str) -> bytes | None:
        self._files.invalidate_cache()
        try:
            return bytes(self._files.cat_file(self._path(name)))
        except FileNotFoundError:
            return None

    def _write(self, name: str, value: bytes) -> None:
        if isinstance(self._files, LocalFileSystem):
            replace_file(Path(self._path(name)), value)
        else:
            self._files.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(self._path(name), value)

    def _names(self, folder: str) -> tuple[str, ...]:
        self._files.invalidate_cache()
        try:
            entries = self._files.ls(self._path(folder), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return ()
        names = (str(entry["name"]).rpartition("/")[2] for entry in entries if entry["type"] == "file")
        return tuple(sorted(name for name in names if not name.startswith(".")))

    def _delete(self, digest: str, stored_before_ms: int) -> bool:
        if isinstance(self._files, LocalFileSystem):
            try:
                return delete_from_folder(Path(self._path()), digest, stored_before_ms)
            except FileNotFoundError:
                raise MissingArtifactError(self._missing(digest)) from None
        stored_ms = self._manifest(digest).stored_ms
        if stored_ms is None or stored_ms >= stored_before_ms:
            return False
        for name in reversed(_MANIFEST_LAST):
            self._files.rm_file(self._path(digest, name))
        with suppress(OSError, NotImplementedError):  # object stores have no folders
            self._files.rmdir(self._path(digest))
        return True

    def _remove_folder(self, folder: str) -> None:
        self._files.invalidate_cache()
        with suppress(FileNotFoundError):
            self._files.rm(self._path(folder), recursive=True)

    def _signatures(self, digest: str, first: Collection[str]) -> dict[str, bytes]:
        names = self._signature_names(digest, first)[:MOST_SIGNATURES]
        found = dict.fromkeys(names, b"")
        for name in names:
            with suppress(OSError):
                found[name] = self._signature(digest, name)
        return found

    def _signature_names(self, digest: str, first: Collection[str]) -> list[str]:
        """Return the names of an artifact's signatures; those of some keys before all others."""
        return sorted(self._names(signature_folder(digest)), key=lambda name: name.removesuffix(".json") not in first)

    def _signature(self, digest: str, name: str) -> bytes:
        return bytes(self._files.cat_file(self._path(signature_folder(digest), name), 0, _SIGNATURE_BYTES))

    def _require_signed(self, digest: str, trust: ModelTrust) -> None:
        """Require one good signature by a trusted key; of no other key is a file read, since anybody may have put it.

        Raises:
            UntrustedArtifactError: there is none.
            OSError: there may be one, in a file that cannot be read.
        """
        names = self._signature_names(digest, trust.keyring)
        found = dict.fromkeys(names[:MOST_SIGNATURES], b"")
        unread: OSError | None = None
        for name in names:
            if name.removesuffix(".json") in trust.keyring:
                try:
                    found[name] = self._signature(digest, name)
                except OSError as error:
                    unread = error
        try:
            trust.require(digest, found)
        except UntrustedArtifactError:
            if unread is not None:
                raise unread from None
            raise

    def _digests(self) -> tuple[str, ...]:
        self._files.invalidate_cache()
        try:
            paths = self._files.ls(self._path(), detail=False)
        except FileNotFoundError:
            return ()
        names = (str(path).rstrip("/").rpartition("/")[2] for path in paths)
        return tuple(sorted(name for name in names if _DIGEST.fullmatch(name)))

    def _fetch(self, digest: str) -> dict[str, bytes]:
        self._files.invalidate_cache()
        try:
            names = self._checked_names(digest)
            contents = {name: bytes(self._files.cat_file(self._path(digest, name))) for name in names}
        except (FileNotFoundError, NotADirectoryError):
            raise MissingArtifactError(self._missing(digest)) from None
        found = digest_of(contents)
        if found != digest:
            raise DamagedArtifactError(f"the files of {digest} in {self.place} have the digest {found}: store it again")
        if self._trust is not None:
            self._require_signed(digest, self._trust)
        return contents

    def _manifest(self, digest: str) -> StoredManifest:
        self._files.invalidate_cache()
        path = self._path(digest, MANIFEST)
        try:
            size = int(self._files.info(path)["size"] or 0)
            if size > LARGEST_MANIFEST_BYTES:
                limit = f"the limit is {LARGEST_MANIFEST_BYTES}"
                raise DamagedArtifactError(f"{MANIFEST} of {digest} in {self.place} has {size} bytes, {limit}")
            return StoredManifest(bytes(self._files.cat_file(path)), modified_ms(self._files, path))
        except (FileNotFoundError, NotADirectoryError):
            raise MissingArtifactError(f"{MANIFEST} of {digest} is missing in {self.place}") from None

    def _checked_names(self, digest: str) -> list[str]:
        """Return the names of an artifact's files after checking that they fit into memory."""
        entries = self._files.ls(self._path(digest), detail=True)
        if not entries:
            raise MissingArtifactError(f"no artifact {digest} in {self.place}")
        names = sorted(str(entry["name"]).rpartition("/")[2] for entry in entries)
        if names != sorted(FILES) or any(entry["type"] != "file" for entry in entries):
            held = f"{digest} in {self.place} holds {names[:9]}"
            raise DamagedArtifactError(f"{held}, not {sorted(FILES)}: store it again")
        size = sum(int(entry["size"] or 0) for entry in entries)
        if size > LARGEST_BYTES:
            raise DamagedArtifactError(f"{digest} in {self.place} has {size} bytes, the limit is {LARGEST_BYTES}")
        return names


def is_remote(url: str) -> bool:
    """Tell whether a repository is reached by connections."""
    return bool(set(_protocols(url)) - {"file", "local"})


def keeps_files(url: str) -> bool:
    """Tell whether a repository keeps copies in files of its own, as chains with a cache do."""
    return "::" in url


def _protocols(url: str) -> list[str]:
    """Return the file systems of a URL; there are several in a chain such as `simplecache::s3://bucket`."""
    parts = url.split("::")
    named = [part if "://" in part or len(parts) == 1 else f"{part}://" for part in parts]
    return [fsspec.core.split_protocol(part)[0] or "file" for part in named]


def _require_file_system(protocol: str) -> None:
    """Fail if a file system is unknown to fsspec, or its package is not installed, which the message names.

    Raises:
        ValueError: fsspec knows none of this name.
        ImportError: its package is not installed.
    """
    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError as error:
        raise ValueError(
            f"there is no file system {protocol!r}: name a folder, or a URL that begins as one of fsspec's does, such "
            "as s3://, gs:// or abfs://"
        ) from error
