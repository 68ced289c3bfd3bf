import threading
from pathlib import Path
from typing import Any

import pytest

from models.artifact import FILES, digest_of
from models.errors import DamagedArtifactError, MissingArtifactError, RepositoryUnavailableError
from models.problems import Problem, ProblemCode
from models.repository import Repository
from support.model_artifacts import artifact

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


def test_an_artifact_with_a_folder_in_place_of_a_file_is_damaged(tmp_path: Path) -> None:
    repository = Repository(str(tmp_path))
    digest = repository.put(CONTENTS)
    (tmp_path / digest / "model.txt").unlink()
    (tmp_path / digest / "model.txt").mkdir()
    with pytest.raises(DamagedArtifactError):
        repository.fetch(digest)


def test_concurrent_writers_leave_one_complete_artifact(tmp_path: Path) -> None:
    contents = artifact()
    start = threading.Barrier(4)

    def put() -> None:
        start.wait()
        Repository(str(tmp_path)).put(contents)

    threads = [threading.Thread(target=put) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in tmp_path.iterdir()] == [digest_of(contents)]
    assert Repository(str(tmp_path)).fetch(digest_of(contents)) == contents


def test_an_unusable_url_or_path_raises_repository_unavailable(tmp_path: Path) -> None:
    with pytest.raises(RepositoryUnavailableError, match="nosuch"):
        Repository("nosuch://place")
    (tmp_path / "file").write_text("")
    with pytest.raises(RepositoryUnavailableError):
        Repository(str(tmp_path / "file" / "models")).put(CONTENTS)
