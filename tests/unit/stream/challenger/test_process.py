"""The challenger's process, started without a worker: it computes the same scores as a worker, or it exits."""

import os
import resource
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest

from benchmarks.parts.faulty import faulty_command
from models.loading import Model, load
from models.problems import ProblemCode
from models.repository import Repository
from models.signing import Role
from shadow.errors import ChallengerProcessError
from shadow.process import ChallengerProcess
from shadow.protocol import Compare, Setup
from stream.challenger.comparer import child_command, child_environment
from stream.control.probes import vectorise_probe
from support.fleet.payments import FEATURES, model_for_tests
from support.signing import holder, sign_model

DECIDED = msgspec.json.encode(
    {
        "transaction_id": "t",
        "card_id": "c",
        "occurred_at": "2026-01-01T00:00:00.000Z",
        "amount_minor": 1,
        "currency": "EUR",
        "score": None,
        "band": None,
        "decision": "approve",
        "model": None,
        "revision": 1,
        "source": {"topic": "t", "partition": 0, "offset": 1},
    }
)
MATRIX = np.random.default_rng(5).normal(size=(7, len(FEATURES.names)))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    folder: Path = tmp_path_factory.mktemp("models")
    return Repository(str(folder))


@pytest.fixture(scope="module")
def digest(repository: Repository) -> str:
    return repository.put(model_for_tests())


@pytest.fixture
def make_process(repository: Repository) -> Callable[[Sequence[str]], ChallengerProcess]:
    return lambda command: ChallengerProcess(command, Setup(repository.url, "", 400), child_environment(os.environ))


def compare_request(digest: str) -> Compare:
    return Compare(digest, MATRIX.shape[1], MATRIX.tobytes(), (DECIDED,) * len(MATRIX))


@pytest.mark.parametrize("command", [child_command(), faulty_command("printing")], ids=["plain", "printing"])
async def test_the_process_scores_as_a_worker_does_at_lower_priority_and_leaves_no_core_file_whatever_the_model_prints(
    repository: Repository,
    digest: str,
    make_process: Callable[[Sequence[str]], ChallengerProcess],
    command: Sequence[str],
) -> None:
    here = load(repository, digest, {FEATURES.fingerprint: vectorise_probe(FEATURES)})
    assert isinstance(here, Model)
    child = make_process(command)
    assert (await child.load(digest)).probe_hash == here.probe_hash
    assert child.pid is not None
    assert psutil.Process(child.pid).nice() == psutil.Process().nice() + 10
    assert resource.prlimit(child.pid, resource.RLIMIT_CORE) == (0, 0)
    for _ in range(2):
        assert list((await child.compare(compare_request(digest), 30)).scores) == here.score(MATRIX).tolist()
    await child.close()


async def test_a_process_beyond_its_memory_limit_exits_and_the_error_gives_its_exit_code(
    digest: str, make_process: Callable[[Sequence[str]], ChallengerProcess]
) -> None:
    child = make_process(faulty_command("hungry"))
    await child.load(digest)
    with pytest.raises(ChallengerProcessError, match=r"it ended with exit code 1$"):
        await child.compare(compare_request(digest), 30)


async def test_a_hanging_process_exits_when_its_input_is_closed(
    digest: str, make_process: Callable[[Sequence[str]], ChallengerProcess]
) -> None:
    child = make_process(faulty_command("hanging"))
    await child.load(digest)
    process = child._process
    assert process is not None
    assert process.stdin is not None
    await child._send(compare_request(digest))
    process.stdin.close()
    assert await process.wait() == 0
    await child.close()


async def test_a_failing_process_prints_the_location_of_the_error_but_nothing_of_the_payment(
    digest: str, make_process: Callable[[Sequence[str]], ChallengerProcess], capfd: pytest.CaptureFixture[str]
) -> None:
    child = make_process(child_command())
    await child.load(digest)
    payment = DECIDED.replace(b'"amount_minor":1', b'"amount_minor":"4111"')
    with pytest.raises(ChallengerProcessError, match=r"it ended with exit code 1$"):
        await child.compare(msgspec.structs.replace(compare_request(digest), scores=(payment,) * len(MATRIX)), 30)
    stderr = capfd.readouterr().err
    assert "the challenger's process ends: ValidationError" in stderr
    assert "shadow/server.py" in stderr
    assert "amount_minor" not in stderr


async def test_with_keys_it_loads_signed_models_alone(repository: Repository, digest: str, tmp_path: Path) -> None:
    signer = holder("mo", Role.MODEL)
    (tmp_path / "keys.toml").write_text(signer.line)
    setup = Setup(repository.url, "", 400, str(tmp_path / "keys.toml"))
    process = ChallengerProcess(child_command(), setup, child_environment(os.environ))
    try:
        refused = await process.load(digest)
        assert [problem.code for problem in refused.problems] == [ProblemCode.UNSIGNED_MODEL]
        sign_model(repository, digest, signer)
        loaded = await process.load(digest)
        assert loaded.probe_hash is not None
    finally:
        await process.close()
        repository.remove_folder(f"signatures/{digest}")
