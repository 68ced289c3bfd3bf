"""The checkpoint of incidents: stored as it was, and of no use where it is damaged or another's."""

import gzip
import logging
from pathlib import Path

import msgspec
import pytest

from fraudstream.ops.watch.incidents.checkpoint import IncidentCheckpoint, StoredIncidents
from support.incident_world import SETTINGS, PastReader, begin_at, troubled_past


def stored(seed: int = 1) -> StoredIncidents:
    """Return what a guard stores half-way through a past."""
    reader = PastReader(troubled_past(seed), begin_at())
    reader.read({tp: len(records) // 2 for tp, records in reader.past.records.items()})
    reader.tell()
    return StoredIncidents("bank", "", reader.state, {"scores": "id-1"}, reader.told)


async def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    file = IncidentCheckpoint(tmp_path / "guard.json.gz")
    assert await file.save(stored())
    assert (tmp_path / "guard.json.gz.incidents").exists()
    loaded = file.load(SETTINGS)
    assert loaded is not None
    assert msgspec.to_builtins(loaded) == msgspec.to_builtins(stored())
    assert list(loaded.outbox) == stored().outbox


@pytest.mark.parametrize(
    "damage",
    [b"", b"no gzip", gzip.compress(b"{"), gzip.compress(b"{}"), gzip.compress(b"x")[:9]],
    ids=["empty", "not compressed", "no JSON", "fields missing", "cut off"],
)
async def test_a_damaged_one_is_not_used_and_the_log_says_so(
    damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "c.incidents").write_bytes(damage)
    assert IncidentCheckpoint(tmp_path / "c").load(SETTINGS) is None
    assert "is not used" in caplog.text


@pytest.mark.parametrize("changes", [{"deployment": "other"}, {"topic_prefix": "eu."}])
async def test_that_of_another_deployment_or_prefix_is_not_used(changes: dict[str, str], tmp_path: Path) -> None:
    file = IncidentCheckpoint(tmp_path / "c")
    await file.save(stored())
    assert file.load(msgspec.structs.replace(SETTINGS, **changes)) is None


async def test_none_is_no_fault_and_one_that_cannot_be_written_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert IncidentCheckpoint(tmp_path / "c").load(SETTINGS) is None
    assert [line.levelname for line in caplog.records] == ["INFO"]
    (tmp_path / "file").write_text("in the way")
    file = IncidentCheckpoint(tmp_path / "file" / "c")
    assert [await file.save(stored()) for _ in range(3)] == [False] * 3
    assert len([line for line in caplog.messages if "cannot be written" in line]) == 1
