"""An artifact that ends, fills or hangs the process that loads it does so to a child, and nothing else notices."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from fraudstream.ops.watch.explanations.models import ModelShelf
from models.artifact import MANIFEST, MODEL, PROBE_HISTORIES
from models.errors import DamagedArtifactError, RepositoryUnavailableError
from models.lineup import Candidate, Candidates, Lineup
from models.loading import Model, inspect_artifact, load, load_for_replay
from models.problems import ProblemCode
from models.repository import Repository
from stream.control import model_cache, trial
from stream.control.follower import Follower
from stream.control.model_cache import LoadedModels, ModelCache, ModelLoader
from stream.control.trial import ArtifactTrial, TrialLimits, TriedRepository, python_environment
from stream.control.trial_process import verdict
from stream.control.trusted_models import ModelPlace
from stream.settings import Settings
from support.fleet.payments import model_for_tests
from support.model_artifacts import FINGERPRINT, artifact, history_vectors

DIGEST = "d" * 64
PRELUDE = "import os, signal, sys; sys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.buffer.read()\n"


def child(program: str, prelude: str = PRELUDE) -> tuple[str, ...]:
    return (sys.executable, "-c", prelude + program)


def tried(program: str, limits: TrialLimits = trial.LIMITS, prelude: str = PRELUDE) -> str:
    """Try an artifact by another child, and return why it is not read."""
    with pytest.raises(DamagedArtifactError) as refused:
        ArtifactTrial(None, limits, child(program, prelude))(DIGEST, {})
    return str(refused.value)


# --- what becomes of the child


def test_an_artifact_that_loads_passes_and_is_tried_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fraudstream.trial")
    own, contents = ArtifactTrial(""), model_for_tests()
    own(DIGEST, contents)
    own(DIGEST, contents)
    (line,) = caplog.messages
    assert line.startswith(f"tried artifact {DIGEST[:12]} in a process of its own: ")


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGABRT, "SIGABRT"), (40, "signal 40")], ids=str
)
def test_a_child_that_a_signal_ends_is_a_problem_of_the_artifact(number: int, name: str) -> None:
    assert tried(f"os.kill(os.getpid(), {int(number)})") == (
        f"{DIGEST} is not read here, because a process that tried to load it was ended by {name}: use another model, "
        "and find out who has stored this one"
    )


def test_a_child_that_is_killed_for_want_of_memory_is_tried_again_at_once(tmp_path: Path) -> None:
    count = f"open({str(tmp_path / 'tried')!r}, 'a').write('x'); os.kill(os.getpid(), signal.SIGKILL)"
    own = ArtifactTrial(None, trial.LIMITS, child(count))
    for expected in ("x", "xx"):
        with pytest.raises(
            DamagedArtifactError, match="ended by SIGKILL, as where the machine has too little memory: "
        ):
            own(DIGEST, {})
        assert (tmp_path / "tried").read_text() == expected


def test_a_child_that_does_not_end_in_time_is_ended_and_a_problem_of_the_artifact(tmp_path: Path) -> None:
    program = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); import time; time.sleep(600)"
    assert "was not done after 2 s" in tried(program, TrialLimits(seconds=2))
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_child_that_computes_for_ever_is_ended_by_the_kernel() -> None:
    limits = "from shadow.sandbox import limit_cpu; limit_cpu(1)\n"
    assert "needed more than 45 s of processor time" in tried(f"{limits}while True: pass")


def test_a_child_that_ends_without_an_answer_is_a_problem_of_the_artifact() -> None:
    assert "ended with exit code 3" in tried("os._exit(3)")
    assert "ended with exit code 0" in tried("print('{')")


def test_a_child_that_cannot_start_is_no_problem_of_the_artifact_and_is_tried_again() -> None:
    def require(command: tuple[str, ...], why: str, limits: TrialLimits = trial.LIMITS) -> None:
        own = ArtifactTrial(None, limits, command)
        for _ in range(2):
            with pytest.raises(RepositoryUnavailableError, match=why):
                own(DIGEST, {})

    require(("/nowhere/python",), f"^{DIGEST} cannot be tried: no process can be started: No such file or directory$")
    broken = child("raise ModuleNotFoundError('no numpy')", prelude="")
    require(broken, "the process for it ended with exit code 1: ModuleNotFoundError: no numpy$")
    slow = child("import time; time.sleep(600)", prelude="")
    require(slow, "the process for it did not start within 1 s$", TrialLimits(seconds=1))


def test_a_failure_is_remembered_for_a_while_and_then_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = f"open({str(tmp_path / 'tried')!r}, 'a').write('x'); os._exit(9)"
    own = ArtifactTrial(None, trial.LIMITS, child(count))
    for expected in ("x", "x"):
        with pytest.raises(DamagedArtifactError, match="exit code 9"):
            own(DIGEST, {})
        assert (tmp_path / "tried").read_text() == expected
    monkeypatch.setattr(trial, "_RETRY_SECONDS", -1.0)
    own._failures.clear()
    for expected in ("xx", "xxx"):
        with pytest.raises(DamagedArtifactError, match="exit code 9"):
            own(DIGEST, {})
        assert (tmp_path / "tried").read_text() == expected


def test_two_loads_of_an_artifact_at_once_need_one_trial(tmp_path: Path) -> None:
    count = f"open({str(tmp_path / 'tried')!r}, 'a').write('x'); import time; time.sleep(0.3); print('{{}}')"
    own = ArtifactTrial(None, trial.LIMITS, child(count))
    threads = [threading.Thread(target=own, args=(DIGEST, {})) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    assert (tmp_path / "tried").read_text() == "x"


def test_a_child_has_no_setting_and_no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("FRAUDSTREAM_REDIS_URL", "AWS_SECRET_ACCESS_KEY", "OTEL_EXPORTER_OTLP_HEADERS", "HOME"):
        monkeypatch.setenv(name, "secret")
    names = f"open({str(tmp_path / 'names')!r}, 'w').write(' '.join(sorted(os.environ))); print('{{}}')"
    ArtifactTrial(None, trial.LIMITS, child(names))(DIGEST, {})
    single = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONPATH"}
    assert set((tmp_path / "names").read_text().split()) <= single | trial._ENVIRONMENT
    assert python_environment({"A": "1", "B": "2"}, "A".__contains__)["A"] == "1"


# --- the real child


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({MODEL: b"tree\n"}, "^model.txt: does not start like a LightGBM model$"),
        ({MANIFEST: b'{"schema":' * 200_000}, "^manifest.json: "),
    ],
    ids=["text", "deep"],
)
def test_what_the_child_cannot_read_is_refused_in_the_readers_words(change: Mapping[str, bytes], why: str) -> None:
    with pytest.raises(DamagedArtifactError, match=why):
        ArtifactTrial("")(DIGEST, model_for_tests() | change)


def test_an_artifact_that_needs_too_much_memory_is_refused() -> None:
    large = {PROBE_HISTORIES: b'{"histories":[' + b"1," * 3_000_000 + b'1],"vectors":[[1.0]]}'}
    limits = TrialLimits(memory_mb=256)
    with pytest.raises(
        DamagedArtifactError, match="a process that tried to load it needed more than 256 MiB of memory"
    ):
        ArtifactTrial("", limits)(DIGEST, model_for_tests() | large)
    ArtifactTrial("", limits)(DIGEST, model_for_tests())


def test_an_artifact_of_other_features_or_with_other_bits_is_left_to_the_reader_to_judge() -> None:
    ArtifactTrial("")(DIGEST, artifact())
    contents = model_for_tests()
    scores = contents["probe_rows.json"].replace(b'"scores":[0.', b'"scores":[0.9')
    ArtifactTrial("")(DIGEST, contents | {"probe_rows.json": scores})


def test_feature_modules_that_cannot_be_imported_in_the_child_cost_only_the_trial_of_histories() -> None:
    ArtifactTrial("no_such_module_of_features")(DIGEST, model_for_tests())


def test_histories_that_bring_about_an_error_of_ours_are_refused() -> None:
    def fail(_histories: object) -> Any:
        raise IndexError("index 99 is out of bounds")

    found = verdict(artifact(), {FINGERPRINT: fail}, 1024)
    assert found.failed == "met an error that no artifact of ours brings about, IndexError"
    assert verdict(artifact(), {FINGERPRINT: history_vectors}, 1024) == trial.TrialVerdict()  # type: ignore[dict-item]


def test_the_child_writes_its_answer_alone_whatever_a_library_prints(tmp_path: Path) -> None:
    """It is asked as a worker asks it; its standard error stays empty once it has begun to read."""
    environment = python_environment(os.environ, trial._ENVIRONMENT.__contains__)
    done = subprocess.run(
        trial.python_command("stream.control.trial_process", "-", "512", "20"),
        input=msgspec.msgpack.encode(dict(artifact())),
        capture_output=True,
        env=environment,
        timeout=60,
        check=True,
        cwd=tmp_path,
    )
    assert (done.stdout, done.stderr) == (b'ready\n{"damaged":"","failed":"","brief":false}', b"")


# --- who loads by it


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A repository with a good artifact and a planted one: the child that tries that one is ended by a signal."""
    plain = Repository(str(tmp_path))
    good, bad = plain.put(artifact()), plain.put(artifact(seed=2))
    prelude = "import os, signal, sys; sys.stdout.write('ready\\n'); sys.stdout.flush()\n"
    dies = "if b'\"seed\":2' in sys.stdin.buffer.read(): os.kill(os.getpid(), signal.SIGSEGV)\n"
    own = ArtifactTrial(None, trial.LIMITS, child(f"{dies}print('{{}}')", prelude))
    monkeypatch.setattr(trial, "trial_of", lambda _features: own)
    return SimpleNamespace(place=ModelPlace(plain.url), good=good, bad=bad)


def test_every_way_to_read_a_planted_artifact_ends_in_a_problem(planted: SimpleNamespace) -> None:
    repository = planted.place.open()
    assert isinstance(repository, TriedRepository)
    computed: Any = {FINGERPRINT: history_vectors}
    for found in (
        load(repository, planted.bad, computed),
        load_for_replay(repository, planted.bad),
        inspect_artifact(repository, planted.bad[:12]),
    ):
        assert isinstance(found, tuple)
        (problem,) = found
        assert problem.code is ProblemCode.DAMAGED_ARTIFACT
        assert problem.detail.startswith(f"{planted.bad} is not read here, because a process that tried to load it was")
        assert "\n" not in problem.detail
    with pytest.raises(DamagedArtifactError, match="ended by SIGSEGV"):
        repository.renew(planted.bad)
    assert isinstance(load(repository, planted.good, computed), Model)
    assert isinstance(load(planted.place.open_untried(), planted.bad, computed), Model), (
        "only the child does not survive"
    )


class Published:
    """A publisher that keeps the events."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    async def publish_event(self, event: Any, _headers: object = ()) -> None:
        self.events.append(event)


async def test_a_worker_goes_on_loading_models_after_a_planted_one(planted: SimpleNamespace) -> None:
    follower, published = Follower(Settings()), Published()
    follower.caught_up = True
    follower.lineup = Lineup("default", 7, planted.good)
    follower.candidates = Candidates("default", {"c-1": Candidate(planted.bad), "c-2": Candidate(planted.good)})
    models = LoadedModels(follower)
    loader = ModelLoader(planted.place.open(), {FINGERPRINT: history_vectors}, "w-1")  # type: ignore[dict-item]
    cache = ModelCache(follower, models, loader, published)  # type: ignore[arg-type]
    looked = asyncio.Event()

    async def wait_for_ever(_seconds: float) -> None:
        looked.set()
        await asyncio.Event().wait()

    follower.wait_for_change = wait_for_ever  # type: ignore[method-assign]
    work = asyncio.create_task(cache.run())
    await looked.wait()
    while cache._running:
        await asyncio.wait(list(cache._running.values()))
    assert {event.command_id: event.kind.value for event in published.events} == {"c-1": "not_ready", "c-2": "ready"}
    refused = next(event for event in published.events if event.command_id == "c-1")
    assert [problem.code for problem in refused.problems] == [ProblemCode.DAMAGED_ARTIFACT]
    serving = models.serving()
    assert serving is not None
    assert serving.live.digest == planted.good
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work


async def test_the_event_loop_turns_while_an_artifact_is_tried(
    planted: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial takes a second: it happens in the thread that loads, and never where payments are decided."""
    threads: list[str] = []
    inner = trial.trial_of(None)

    def noted(digest: str, contents: Any) -> None:
        threads.append(threading.current_thread().name)
        inner(digest, contents)

    monkeypatch.setattr(trial, "trial_of", lambda _features: noted)
    shelf = ModelShelf(planted.place.open())
    for _ in range(1_000):
        found = await shelf.models({planted.good, planted.bad})
        if planted.good in found and "SIGSEGV" in shelf.missing[planted.bad]:
            break
        await asyncio.sleep(0.01)
    else:
        pytest.fail(f"{shelf.loaded}, {shelf.missing}")
    assert set(threads) == {"fraudstream-blocking"}
    assert model_cache.in_thread.__module__ == "models.deadline"
