"""A judge on a log in memory in place of `model-events`, for unit tests of what it looks up and in which order."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from models.commands import Command, CommandKind, Event, encode
from models.judge import HeldArtifact
from models.loading import Model
from models.problems import Problem
from models.times import format_time
from stream.clock import now_ms
from stream.control import judge as judge_module
from stream.control.estate import Estate
from stream.control.follower import Follower
from stream.control.judge import Judge
from stream.control.model_cache import LoadedModels, ModelCache, ModelLoader
from stream.engine.batches import Batch, CommitLedger
from stream.settings import Settings

ESTATE = "here"


class Logged:
    """A record on either topic."""

    def __init__(self, offset: int, value: bytes, headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        self.offset, self.value, self.headers = offset, value, headers


class EventLog:
    """The publisher's side of `model-events`: an event is folded as soon as it is published."""

    def __init__(self, follower: Follower) -> None:
        self.events: list[Event] = []
        self._follower = follower

    async def publish_event(self, event: Event, _headers: object = ()) -> int:
        self.events.append(event)
        record: Any = Logged(len(self.events) - 1, encode(event))
        await self._follower._apply([record], 0)
        return len(self.events) - 1


class Repository:
    """Artifacts by name; `wait` is set where the repository answers."""

    place = "store://models"

    def __init__(self) -> None:
        self.asked: list[str] = []


class JudgedLog:
    """A judge of a group with one member, its log, and the models that this worker has loaded."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        held: Mapping[str, HeldArtifact | tuple[Problem, ...]],
        settings: Settings | None = None,
    ) -> None:
        settings = msgspec.structs.replace(settings or Settings(), worker_id="w-1", estate=ESTATE)
        self.follower = Follower(settings)
        self.follower.caught_up = True
        self.log = EventLog(self.follower)
        self.models = LoadedModels(self.follower)
        self.repository = Repository()
        loader = ModelLoader(self.repository, {"f": lambda _: None}, "w-1")  # type: ignore[arg-type,dict-item,return-value]
        self.cache = ModelCache(self.follower, self.models, loader, self.log)  # type: ignore[arg-type]
        self.parts: dict[str, Any] = {
            "settings": settings,
            "follower": self.follower,
            "loader": loader,
            "cache": self.cache,
            "publisher": self.log,
            "admin": None,
            "estate": Estate(settings),
        }
        self.judge = Judge(**self.parts)
        self._offset = 0
        self._held = held

        async def end_offset(*_: object) -> int:
            return len(self.log.events)

        async def members(*_: object) -> frozenset[str]:
            return frozenset({"w-1"})

        monkeypatch.setattr(judge_module, "end_offset", end_offset)
        monkeypatch.setattr(judge_module, "group_members", members)
        monkeypatch.setattr(judge_module, "inspect_artifact", self._inspect)

    def _inspect(self, repository: Repository, name: str) -> HeldArtifact | tuple[Problem, ...]:
        repository.asked.append(name)
        return self._held[name]

    def load(self, digest: str) -> None:
        """Have a model loaded in this worker."""
        model = object.__new__(Model)
        model.digest, model.manifest = digest, msgspec.defstruct("Manifest", [("fingerprint", str)])("f")  # type: ignore[assignment]
        self.models.add(digest, model)

    def restart(self) -> None:
        """Let another worker judge, which has read all events and no command."""
        self.judge = Judge(**self.parts)

    async def send(self, *commands: Command) -> Batch:
        """Have commands judged that one poll returned."""
        return await self.send_records(*(Logged(0, encode(command)) for command in commands))

    async def send_records(self, *logged: Logged) -> Batch:
        """Have records judged that one poll returned."""
        records: Any = [Logged(self._offset + at, one.value, one.headers) for at, one in enumerate(logged)]
        self._offset += len(records)
        ledger = CommitLedger()
        batch = Batch("model-control", 1, {0: records}, ledger, asyncio.Event())
        ledger.track(judge_module.TopicPartition("model-control", 0), 1, records[-1].offset)
        await self.judge.judge_batch(batch)
        return batch

    async def await_verdicts(self, count: int = 1) -> None:
        """Wait until so many verdicts are given."""
        while len(self.verdicts) < count:
            await self.follower.wait_for_change(1.0)

    @property
    def verdicts(self) -> list[tuple[str, str]]:
        """The events by kind and command id."""
        return [(event.kind.value, str(event.command_id)) for event in self.log.events]


def command(kind: str, command_id: str, revision: int, model: str | None = None, seconds: float = 60.0) -> Command:
    """Return a forced command, so that it waits for no worker."""
    now = now_ms()
    return Command(
        command_id=command_id,
        deployment="default",
        expected_revision=revision,
        kind=CommandKind(kind),
        model=model,
        actor="test",
        reason="",
        issued_at=format_time(now),
        expires_at=format_time(now + round(seconds * 1000)),
        force=True,
        watch_seconds=0 if kind == "promote" else None,
    )
