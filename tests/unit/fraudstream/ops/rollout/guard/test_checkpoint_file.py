"""A guard's checkpoint: what is saved is read again, and one of no use is discarded with one line in the log."""

import asyncio
import gzip
import logging
from pathlib import Path

import msgspec
import pytest

from fraudstream.ops.rollout.guard.checkpoint_file import CheckpointFile
from guards.checkpoint import state_json
from guards.records import GuardedOutcome, GuardedScore, ScorePlace
from guards.specs import GuardKind, default_guards
from guards.state import GuardState

GUARDS = default_guards()
IDENTITY = {"command_id": "c-1", "model": "d" * 64}
IDS = {"scores": "id-1", "outcomes": ""}


def counted() -> GuardState:
    state = GuardState(GUARDS, "default", {3: 100})
    fields = {"deployment": "default", "decided_by": "model", "revision": 3, "epoch": 1, "source": ScorePlace(7)}
    state.count(0, [GuardedScore("t-1", "c-1", "approve", arm="canary", **fields)], 9, (1, 7))  # type: ignore[arg-type]
    state.count_outcomes(1, [GuardedOutcome("t-1", "c-1", fraud=True, deployment="default")], 4)
    return state


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "guard" / "default.checkpoint"


async def test_what_is_saved_is_read_again_with_its_positions(file: Path) -> None:
    state = counted()
    assert await CheckpointFile(file).save(IDENTITY, state, IDS)
    found = CheckpointFile(file).load(IDENTITY, GuardState(GUARDS, "default"))
    assert found is not None
    assert (state_json(found.state), found.topic_ids) == (state_json(state), IDS)
    assert (found.state.partitions[0].position, found.state.outcomes[1].position) == (9, 4)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_one_of_no_use_is_discarded_with_one_line(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = CheckpointFile(file)
    asyncio.run(checkpoint.save(IDENTITY, counted(), IDS))
    whole = file.read_bytes()
    stored = msgspec.json.decode(gzip.decompress(whole))
    others = [
        whole[:-9],
        whole[:40] + bytes([whole[40] ^ 1]) + whole[41:],
        b"no checkpoint",
        gzip.compress(b"{"),
        gzip.compress(b"[" * 100_000),
        *(
            gzip.compress(msgspec.json.encode(stored | change))
            for change in (
                {"identity": {"command_id": "c-2"}},
                {"state": stored["state"] | {"version": 99}},
                {"topic_ids": 9},
            )
        ),
    ]
    for value in others:
        file.write_bytes(value)
        caplog.clear()
        assert checkpoint.load(IDENTITY, GuardState(GUARDS, "default")) is None
        (line,) = [record.getMessage() for record in caplog.records]
        assert line.startswith(f"the checkpoint in {file} is not used: ")
        assert line.endswith("; everything is counted from the topics")
    file.write_bytes(whole)
    other_guards = {GuardKind.DECLINED: GUARDS[GuardKind.DECLINED]}
    assert checkpoint.load(IDENTITY, GuardState(other_guards, "default")) is None
    assert checkpoint.load(IDENTITY, GuardState(GUARDS, "other")) is None
    assert checkpoint.load(IDENTITY, GuardState(GUARDS, "default")) is not None


def test_none_is_no_problem(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert CheckpointFile(file).load(IDENTITY, GuardState(GUARDS, "default")) is None
    assert [record.levelname for record in caplog.records] == ["INFO"]


async def test_a_file_that_cannot_be_written_is_told_of_once_and_when_it_can_again(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file.parent.write_text("a file where the folder should be")
    checkpoint = CheckpointFile(file)
    for _ in range(3):
        assert not await checkpoint.save(IDENTITY, counted(), IDS)
    file.parent.unlink()
    assert await checkpoint.save(IDENTITY, counted(), IDS)
    first, second = [record.getMessage() for record in caplog.records]
    assert first.startswith(f"the checkpoint cannot be written to {file}: ")
    assert second == f"the checkpoint is written to {file} again"
