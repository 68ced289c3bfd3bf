import threading
from pathlib import Path
from traceback import format_exception
from typing import Any

import fsspec
import pytest

import models.repository as repository_module
from models.artifact import FILES, digest_of
from models.errors import DamagedArtifactError, MissingArtifactError, ModelError, RepositoryUnavailableError
from models.loading import inspect_artifact, load
from models.problems import Problem, ProblemCode
from models.repository import Repository
from stream.clock import now_ms
from support.fleet import slow_store
from support.model_artifacts import artifact
from support.threads import in_threads

CONTENTS = {name: f"contents of {name}".encode() for name in FILES}


@pytest.fixture(params=["folder", "file", "memory"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    url = {
        "folder": str(tmp_path / "models"),
        "file": f"file://{tmp_path}/models",
        "memory": f"memory://{tmp_path.name}-{request.node.name}/models",
    }
    return Repository(url[request.param])


def test_a_stored_artifact_is_fetched_by_its_digest(repository: Repository) -> None:
    assert repository.digests() == ()
    digest = repository.put(CONTENTS)
    assert digest == digest_of(CONTENTS)
    assert repository.fetch(digest) == CONTENTS
    assert repository.put(CONTENTS) == digest
    assert repository.digests() == (digest,)


def test_a_manifest_is_read_without_the_other_files_and_with_the_time_when_it_was_stored(
    repository: Repository,
) -> None:
    assert not repository.exists()
    before_ms = now_ms()
    digest = repository.put(CONTENTS)
    stored = repository.manifest(digest)
    assert repository.exists()
    assert stored.value == CONTENTS["manifest.json"]
    assert stored.stored_ms is not None
    assert before_ms - 2_000 <= stored.stored_ms <= now_ms() + 2_000
    with pytest.raises(MissingArtifactError, match=f"manifest.json of {'0' * 64} is missing in "):
        repository.manifest("0" * 64)


def test_a_file_system_that_does_not_tell_when_a_file_was_written_has_manifests_without_a_time(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = repository.put(CONTENTS)

    def modified(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(type(repository._files), "modified", modified)
    assert repository.manifest(digest).stored_ms is None


def test_a_manifest_that_is_too_large_is_not_read(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository_module, "LARGEST_MANIFEST_BYTES", 5)
    digest = repository.put(CONTENTS)
    with pytest.raises(DamagedArtifactError, match="has 25 bytes, the limit is 5"):
        repository.manifest(digest)


def test_the_digest_covers_file_names_and_bytes_but_not_their_order() -> None:
    backwards = dict(reversed(CONTENTS.items()))
    assert digest_of(backwards) == digest_of(CONTENTS)
    swapped = CONTENTS | {"model.txt": CONTENTS["manifest.json"], "manifest.json": CONTENTS["model.txt"]}
    assert digest_of(swapped) != digest_of(CONTENTS)
    assert digest_of({"a": b"b"}) != digest_of({"ab": b""})


def test_a_prefix_of_8_digits_resolves_to_a_digest_and_an_invalid_name_to_a_problem(repository: Repository) -> None:
    digest = repository.put(CONTENTS)
    assert repository.resolve(digest[:8]) == digest
    assert repository.resolve(digest) == digest
    for name, code in ((digest[:7], ProblemCode.INVALID_FIELD), ("0" * 8, ProblemCode.UNKNOWN_MODEL),
                       ("../../etc", ProblemCode.INVALID_FIELD)):  # fmt: skip
        answer = repository.resolve(name)
        assert isinstance(answer, Problem)
        assert answer.code is code


def test_a_prefix_of_two_digests_is_ambiguous(tmp_path: Path) -> None:
    for last in "12":
        (tmp_path / ("a" * 63 + last)).mkdir()
    (tmp_path / "not-a-digest").mkdir()
    answer = Repository(str(tmp_path)).resolve("a" * 10)
    assert isinstance(answer, Problem)
    assert answer.code is ProblemCode.AMBIGUOUS_MODEL


def test_a_changed_byte_is_detected_and_storing_again_repairs_it(repository: Repository) -> None:
    digest = repository.put(CONTENTS)
    repository._files.pipe_file(repository._path(digest, "model.txt"), b"Contents of model.txt")
    with pytest.raises(DamagedArtifactError, match="store it again"):
        repository.fetch(digest)
    assert repository.put(CONTENTS) == digest
    assert repository.fetch(digest) == CONTENTS


def test_an_incomplete_artifact_is_damaged_and_an_absent_one_is_missing(repository: Repository) -> None:
    digest = repository.put(CONTENTS)
    repository._files.rm_file(repository._path(digest, "manifest.json"))
    with pytest.raises(DamagedArtifactError, match="holds"):
        repository.fetch(digest)
    for absent in ("0" * 64, "latest", "../" + digest[3:]):
        with pytest.raises(MissingArtifactError):
            repository.fetch(absent)


def test_a_file_above_the_size_limit_is_refused(tmp_path: Path) -> None:
    repository = Repository(str(tmp_path))
    digest = repository.put(CONTENTS)
    with (tmp_path / digest / "model.txt").open("r+b") as file:
        file.truncate(1 << 40)  # a hole: takes no space on the disk
    with pytest.raises(DamagedArtifactError, match="bytes, the limit is"):
        repository.fetch(digest)


def test_concurrent_writers_leave_one_complete_artifact(tmp_path: Path) -> None:
    contents = artifact()
    start = threading.Barrier(4)

    def put() -> None:
        start.wait()
        Repository(str(tmp_path)).put(contents)

    in_threads(put)
    assert [path.name for path in tmp_path.iterdir()] == [digest_of(contents)]
    assert Repository(str(tmp_path)).fetch(digest_of(contents)) == contents


def test_an_unusable_url_or_path_raises_repository_unavailable(tmp_path: Path) -> None:
    with pytest.raises(RepositoryUnavailableError, match="there is no file system 'nosuch': name a folder, or a URL"):
        Repository("nosuch://place")
    (tmp_path / "file").write_text("")
    with pytest.raises(RepositoryUnavailableError):
        Repository(str(tmp_path / "file" / "models")).put(CONTENTS)


def test_a_repository_exists_once_something_is_stored_in_it(repository: Repository) -> None:
    assert not repository.exists()
    answer = repository.resolve("0" * 8)
    assert isinstance(answer, Problem)
    assert answer.detail.endswith("models, which does not exist")
    with pytest.raises(MissingArtifactError, match="which does not exist"):
        repository.fetch("0" * 64)
    repository.put(CONTENTS)
    assert repository.exists()
    with pytest.raises(MissingArtifactError, match=r"models$"):
        repository.fetch("0" * 64)


def test_a_check_that_a_repository_can_be_written_leaves_nothing_behind(repository: Repository, tmp_path: Path) -> None:
    repository.check_writable()
    assert list(tmp_path.rglob("*")) == []
    assert repository.digests() == ()
    digest = repository.put(CONTENTS)
    repository.check_writable()
    assert [Path(path).name for path in repository._files.ls(repository._path(), detail=False)] == [digest]


@pytest.mark.parametrize("place", ["file", "file/models", "/proc/models"])
def test_a_repository_that_cannot_be_written_is_found_by_the_check(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RepositoryUnavailableError, match=rf"{place} cannot be written: [A-Z]"):
        Repository(str(tmp_path / place)).check_writable()


PLANTED = "pl4nted"
WITH_LOGINS = (
    f"memory://user:{PLANTED}@host/models?sig={PLANTED}",
    f"ftp://user:{PLANTED}@127.0.0.1:1/models?token={PLANTED}",
    f"simplecache::ftp://user:{PLANTED}@127.0.0.1:1/models",
)


@pytest.mark.parametrize("url", WITH_LOGINS)
def test_no_message_holds_the_login_of_the_url(url: str) -> None:
    repository = Repository(url)
    said = [repository.place]
    for call in (repository.digests, lambda: repository.fetch("0" * 64), lambda: repository.resolve("0" * 8)):
        try:
            said.append(str(call()))
        except ModelError as error:
            said.append("".join(format_exception(error)))
    for nowhere in (f"nosuch://user:{PLANTED}@host", f"s3x::file://u:{PLANTED}@h"):
        with pytest.raises(RepositoryUnavailableError) as raised:
            Repository(nowhere)
        said.append("".join(format_exception(raised.value)))
    assert PLANTED not in "\n".join(said)
    assert "host" in said[0] or "127.0.0.1" in said[0], "the place stays"


def test_a_message_of_the_file_system_that_quotes_the_login_is_cleaned(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(f"530 user with password {PLANTED} is refused by ftp://user:{PLANTED}@host")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(RepositoryUnavailableError, match="530 user with password … is refused by ftp://…@host"):
        Repository(f"ftp://user:{PLANTED}@host/models").digests()


def test_a_repository_that_hangs_is_unavailable_after_the_deadline_and_may_answer_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_store.register()
    monkeypatch.setattr(repository_module, "DEADLINE_SECONDS", 0.05)
    monkeypatch.setattr(repository_module, "STORE_SECONDS", 10.0)
    folder = str(tmp_path / "models")
    repository = Repository(slow_store.url_of(folder))
    digest = repository.put(CONTENTS)
    slow_store.hang(folder)
    try:
        for call in (repository.digests, lambda: repository.fetch(digest), lambda: repository.resolve(digest)):
            with pytest.raises(RepositoryUnavailableError, match=r"models: no answer within 0\.05 s"):
                call()
        for found in (load(repository, digest, {}), inspect_artifact(repository, digest)):
            assert isinstance(found, tuple)
            assert [problem.code for problem in found] == [ProblemCode.REPOSITORY_UNAVAILABLE]
    finally:
        slow_store.answer(folder)
    monkeypatch.setattr(repository_module, "DEADLINE_SECONDS", 10.0)
    for thread in threading.enumerate():
        if thread.name == "fraudstream-blocking":
            thread.join(10)
    assert repository.fetch(digest) == CONTENTS
