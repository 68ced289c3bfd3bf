"""A worker that asks for signatures serves no unsigned model, says why, and goes on once the model is signed."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from models.commands import Command, Event, EventKind
from models.lineup import Candidate, Candidates, Lineup
from models.loading import inspect_artifact
from models.problems import ProblemCode
from models.repository import Repository
from models.signing import Role
from stream.control import judge as judge_module
from stream.control import model_cache
from stream.control.follower import Follower
from stream.control.keys import read_model_trust
from stream.control.model_cache import LoadedModels, ModelCache, ModelLoader
from stream.errors import SettingsError
from stream.settings import Settings
from support.judged_log import JudgedLog, command
from support.model_artifacts import FINGERPRINT, artifact, history_vectors
from support.signing import holder, model_trust, sign_model

MO, ANN = holder("mo", Role.MODEL), holder("ann")


@pytest.fixture
def plain(tmp_path: Path) -> Repository:
    return Repository(str(tmp_path / "models"))


@pytest.fixture
def asking(plain: Repository) -> Repository:
    return Repository(plain.url, model_trust(MO))


class Published:
    """A publisher that keeps the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def publish_event(self, event: Event, _headers: object = ()) -> None:
        self.events.append(event)


async def run_once(cache: ModelCache, follower: Any) -> None:
    looked = asyncio.Event()

    async def wait_for_ever(_seconds: float) -> None:
        looked.set()
        await asyncio.Event().wait()

    follower.wait_for_change = wait_for_ever
    work = asyncio.create_task(cache.run())
    await looked.wait()
    while cache._running:
        await asyncio.wait(list(cache._running.values()))
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work


async def test_an_unsigned_live_model_keeps_a_worker_from_being_ready_until_it_is_signed(
    plain: Repository, asking: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_cache, "_RETRY_LOADS_MS", -1)
    digest = plain.put(artifact())
    follower, published = Follower(Settings()), Published()
    follower.caught_up = True
    follower.lineup = Lineup("default", 7, digest)
    models = LoadedModels(follower)
    loader = ModelLoader(asking, {FINGERPRINT: history_vectors}, "w-1")  # type: ignore[dict-item]
    cache = ModelCache(follower, models, loader, published)  # type: ignore[arg-type]
    await run_once(cache, follower)
    assert models.serving() is None
    assert cache.reasons() == [
        f"revision 7 needs model {digest[:12]}: {digest} is not signed; let one of the persons in "  # noqa: ISC004
        "FRAUDSTREAM_MODEL_KEYS sign it by `fraudstream model sign`"
    ]
    sign_model(plain, digest, MO)
    await run_once(cache, follower)
    serving = models.serving()
    assert serving is not None
    assert (serving.live.digest, cache.reasons()) == (digest, [])


async def test_a_worker_answers_for_an_unsigned_candidate_that_it_is_not_ready(
    plain: Repository, asking: Repository
) -> None:
    digest = plain.put(artifact())
    follower, published = Follower(Settings()), Published()
    follower.caught_up = True
    follower.candidates = Candidates("default", {"c-1": Candidate(digest)})
    loader = ModelLoader(asking, {FINGERPRINT: history_vectors}, "w-1")  # type: ignore[dict-item]
    await run_once(ModelCache(follower, LoadedModels(follower), loader, published), follower)  # type: ignore[arg-type]
    (event,) = published.events
    assert (event.kind, event.model, event.command_id) == (EventKind.NOT_READY, digest, "c-1")
    assert [problem.code for problem in event.problems] == [ProblemCode.UNSIGNED_MODEL]


@pytest.fixture
def poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_module, "_POLL_SECONDS", 0.001)


def forced(digest: str) -> Command:
    return msgspec.structs.replace(command("promote", "p", 0, digest), force=True)


@pytest.mark.usefixtures("poll")
@pytest.mark.parametrize("force", [False, True])
async def test_a_judge_that_asks_for_signatures_refuses_a_promotion_also_with_force(
    plain: Repository, asking: Repository, monkeypatch: pytest.MonkeyPatch, *, force: bool
) -> None:
    digest = plain.put(artifact())
    judged = JudgedLog(monkeypatch, {digest: inspect_artifact(asking, digest)})
    await judged.send(msgspec.structs.replace(forced(digest), force=force))
    assert [one.code for one in judged.follower.lineup.answers["p"].problems] == [ProblemCode.UNSIGNED_MODEL]


def test_only_keys_of_the_role_model_may_sign_models(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(f"{MO.line}\n{ANN.line}\n")
    assert read_model_trust(str(keys)) == model_trust(MO)
    assert read_model_trust("") is None
    keys.write_text(ANN.line)
    with pytest.raises(
        SettingsError, match=r"^FRAUDSTREAM_MODEL_KEYS: .* has no key of the role model; `fraudstream keys"
    ):
        read_model_trust(str(keys))
    with pytest.raises(SettingsError, match=r"^FRAUDSTREAM_MODEL_KEYS: .*none.toml cannot be read: No such file"):
        read_model_trust(str(tmp_path / "none.toml"))
