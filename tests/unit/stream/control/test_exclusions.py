"""Excluded cards are sent only where the workers that run know them as they are named; else nothing is written."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import msgspec
import pytest
from aiokafka.errors import GroupAuthorizationFailedError, KafkaConnectionError

from models.commands import CAPABILITIES, Command, CommandKind, RequestedArm
from models.worker_records import WorkerRecord, WorkerRecords
from stream.control import client
from stream.control import running as running_module
from stream.control.client import CommandRequest, send_command
from stream.control.exclusions import exclusion_problems, require_known_cards
from stream.control.running import Running
from stream.engine.tracing import NoOperationTracing
from stream.errors import UnsentCommandError
from stream.kafka.client import Member
from stream.settings import Settings
from support.control_events import event
from support.hashed_cards import OTHER_KEY, check_by_the_contract, hashed
from support.judged_log import command

CHECK = check_by_the_contract()
NEWER = WorkerRecord("fraudstream-default", "0.1.0+g2", "0a1b2c3d", CAPABILITIES, CHECK)
KEYLESS = NEWER._replace(exclude_key_check=None)
OLDER = WorkerRecord("fraudstream-default", "0.1.0+g1", "0a1b2c3d")
W_1, W_2, OTHER = ("default", "w-1"), ("default", "w-2"), ("green", "w-1")
BY_HASH = {"exclude": hashed("card-1").entries, "exclude_key_check": CHECK}
BY_ID = {"exclude": ("card-1",)}


def split(**fields: Any) -> Command:
    return msgspec.structs.replace(command("split", "s-1", 2), arms={"new": RequestedArm("b" * 64, 100)}, **fields)


def problems(running: Running, **fields: Any) -> list[str]:
    return list(exclusion_problems(split(**fields), running))


def test_hashes_are_sent_where_all_workers_know_them_and_have_the_key() -> None:
    assert problems({W_1: NEWER, W_2: NEWER, OTHER: KEYLESS}, **BY_HASH) == []
    assert problems({}, **BY_HASH) == [], "the judge asks again"


def test_ids_are_sent_where_there_is_no_key_whatever_version_runs() -> None:
    assert problems({W_1: KEYLESS, W_2: OLDER, OTHER: None}, **BY_ID) == []


@pytest.mark.parametrize("record", [OLDER, None], ids=["earlier version", "nothing announced"])
@pytest.mark.parametrize("worker", [W_2, OTHER], ids=" ".join)
def test_hashes_are_not_sent_while_a_worker_of_any_deployment_is_of_an_earlier_version(
    worker: tuple[str, str], record: WorkerRecord | None
) -> None:
    (problem,) = problems({W_1: NEWER, worker: record}, **BY_HASH)
    assert problem.startswith(f"exclude: {'/'.join(worker)} have not announced that they know hashed cards")


@pytest.mark.parametrize(
    ("record", "fields", "problem"),
    [
        (NEWER, BY_ID, "exclude: ids of cards, which the topics keep for ever"),
        (KEYLESS, BY_HASH, "exclude: hashed, and the workers have no hash key"),
        (
            NEWER._replace(exclude_key_check=check_by_the_contract(OTHER_KEY)),
            BY_HASH,
            "exclude: hashed with another key than that of the workers",
        ),
    ],
)
def test_cards_are_not_sent_by_another_name_than_the_deployments_workers_have_for_them(
    record: WorkerRecord, fields: Any, problem: str
) -> None:
    (found,) = problems({W_1: record, W_2: record, OTHER: OLDER} if fields is BY_ID else {W_1: record}, **fields)
    assert found.startswith(problem)
    assert problems({OTHER: record, W_1: NEWER if fields is BY_HASH else KEYLESS}, **fields) == []


# --- which workers run


class Groups:
    """Consumer groups by name; a group that is an error cannot be seen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **groups: Any) -> None:
        self.groups, self.asked = groups, list[str]()

        @asynccontextmanager
        async def admin(_settings: Settings) -> AsyncIterator[None]:
            if isinstance(groups.get("admin"), Exception):
                raise groups["admin"]
            yield

        monkeypatch.setattr(running_module, "open_admin", admin)
        monkeypatch.setattr(running_module, "members_of", self.members)

    async def members(self, _admin: object, group: str) -> frozenset[Member]:
        self.asked.append(group)
        found = self.groups.get(group, frozenset())
        if isinstance(found, Exception):
            raise found
        return frozenset(found)


def log_of(**said: WorkerRecord) -> WorkerRecords:
    """Return what workers of the deployments of these names have said."""
    workers = WorkerRecords()
    for name, record in said.items():
        deployment, _, worker = name.partition("_")
        workers.add(event("ready", 0, name, deployment=deployment, worker=worker, **record._asdict()))
    return workers


SETTINGS = Settings(group="g-default")


async def test_only_workers_that_are_in_their_group_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has ended is on the log for ever; and a worker that never said anything is of an earlier version."""
    members = {Member("w1", "default"), Member("guard", "")}
    groups = Groups(monkeypatch, **{"g-default": members, "g-green": {Member("w1", "green")}})
    green = KEYLESS._replace(group="g-green")
    workers = log_of(default_w1=NEWER, default_gone=OLDER, green_gone=OLDER, green_w1=green)
    await require_known_cards(SETTINGS, split(**BY_HASH), workers)
    assert groups.asked == ["g-default", "g-green"]
    groups.groups["g-green"].add(Member("w2", None))
    with pytest.raises(UnsentCommandError, match="green/w2 have not announced"):
        await require_known_cards(SETTINGS, split(**BY_HASH), workers)


async def test_a_split_that_excludes_nobody_looks_at_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = Groups(monkeypatch, admin=KafkaConnectionError())
    await require_known_cards(SETTINGS, split(), log_of())
    assert groups.asked == []


@pytest.mark.parametrize(
    "unseen", [{"admin": KafkaConnectionError()}, {"g-default": GroupAuthorizationFailedError()}], ids=str
)
async def test_a_group_that_cannot_be_seen_is_left_to_the_judge(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, unseen: dict[str, Exception]
) -> None:
    Groups(monkeypatch, **unseen)
    await require_known_cards(SETTINGS, split(**BY_HASH), log_of(default_w1=OLDER))
    assert "the judge asks again" in caplog.text


class Reader:
    """A reader of a log on which one worker of an earlier version stands."""

    workers = log_of(default_w1=OLDER)

    def __init__(self, _settings: Settings) -> None:
        return

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def require_topic(self, _topic: str) -> None:
        return

    async def read_to_end(self) -> None:
        return


async def test_nothing_is_written_where_an_earlier_version_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_seal(*_: object) -> None:
        return None

    async def fail(*_: object) -> None:
        raise AssertionError("nothing may be sent")

    Groups(monkeypatch, **{"g-default": {Member("w1", "default")}})
    monkeypatch.setattr(client, "LogReader", Reader)
    monkeypatch.setattr(client, "command_seal", no_seal)
    monkeypatch.setattr(client, "_send", fail)
    arms = {"new": RequestedArm("b" * 64, 100)}
    request = CommandRequest(CommandKind.SPLIT, "ann", "", 60.0, expected_revision=1, arms=arms, **BY_HASH)
    with pytest.raises(UnsentCommandError, match="default/w1 have not announced"):
        await send_command(SETTINGS, request, NoOperationTracing())
