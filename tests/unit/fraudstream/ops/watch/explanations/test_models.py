"""The shelf of models: the ones used last stay, and one that is missing is asked for again after a pause."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from fraudstream.ops.watch.explanations import models
from fraudstream.ops.watch.explanations.models import ModelShelf
from models.loading import Model, load_for_replay
from models.problems import Problem
from models.repository import Repository
from support.model_artifacts import artifact


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a model to be loaded, however busy the machine is."""
    monkeypatch.setattr(models, "_PATIENCE_SECONDS", 60.0)


class Clock:
    """The wall clock of the shelf."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    monkeypatch.setattr(models, "now_ms", made)
    return made


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(str(tmp_path))


async def test_the_models_used_last_stay_loaded(repository: Repository) -> None:
    first, second, third = (repository.put(artifact(seed=seed)) for seed in range(3))
    shelf = ModelShelf(repository, most=2)
    kept = (await shelf.models({first}))[first]
    await shelf.models({second})
    assert (await shelf.models({first}))[first] is kept
    await shelf.models({third})
    assert shelf.loaded == (first, third)
    assert set(await shelf.models({first, second, third})) == {first, second, third}


async def test_a_missing_model_is_named_and_found_once_it_is_there(
    repository: Repository, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    contents = artifact(seed=1)
    digest = Repository(str(Path(repository.url) / "elsewhere")).put(contents)
    shelf = ModelShelf(repository)
    assert await shelf.models({digest}) == {}
    assert digest in shelf.missing
    assert f"alerts of model {digest[:12]} wait, it cannot be loaded" in caplog.text
    repository.put(contents)
    assert await shelf.models({digest}) == {}, "it is asked for again only after a pause"
    clock.ms += 5_000
    assert set(await shelf.models({digest})) == {digest}
    assert shelf.missing == {}


def damage(folder: Path) -> None:
    (path,) = folder.rglob("model.txt")
    path.write_bytes(path.read_bytes()[:-1])


async def test_a_repository_that_does_not_answer_holds_up_its_models_alone(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, slow = repository.put(artifact(seed=1)), repository.put(artifact(seed=2))
    answers = Event()

    def load(repository: Repository, digest: str) -> Model | tuple[Problem, ...]:
        assert digest != slow or answers.wait(30)
        return load_for_replay(repository, digest)

    monkeypatch.setattr(models, "load_for_replay", load)
    monkeypatch.setattr(models, "_PATIENCE_SECONDS", 0.2)
    shelf = ModelShelf(repository)
    await shelf.models({there})
    assert set(await shelf.models({there, slow})) == {there}
    assert shelf.missing == {slow: "it is being loaded"}
    answers.set()
    for _ in range(500):
        await asyncio.sleep(0.01)
        if slow in await shelf.models({there, slow}):
            break
    assert set(shelf.loaded) == {there, slow}
    assert shelf.missing == {}


async def test_a_damaged_model_waits_and_is_forgotten_with_its_alerts(repository: Repository, tmp_path: Path) -> None:
    digest = repository.put(artifact(seed=1))
    damage(tmp_path)
    shelf = ModelShelf(repository)
    assert await shelf.models({digest}) == {}
    assert "digest" in shelf.missing[digest]
    shelf.forget_missing(set())
    assert shelf.missing == {}
