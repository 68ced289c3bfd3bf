"""The judge keeps the snapshot complete, never replaces a longer one, and waits for no repository."""

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.commands import Event, encode
from models.errors import DamagedSnapshotError
from models.lineup import Lineup
from models.snapshot import read_snapshot
from stream.control import snapshots
from stream.control.estate import Estate
from stream.control.follower import Follower
from stream.control.snapshot_store import SnapshotStore
from stream.control.snapshots import Snapshots
from stream.errors import NotReadyError
from stream.settings import Settings
from support.control_events import accepted, event
from support.fleet import slow_store

NAME = "here@model-events.default.jsonl"


class Judged(SimpleNamespace):
    """A follower's log, the snapshots of it, and whether this worker judges."""

    def use(self, settings: Settings) -> None:
        """Make the snapshots those of some settings."""
        self.store = SnapshotStore(settings, Estate(settings))
        self.snapshots = Snapshots(settings, self.follower, self.store, lambda: self.judges)

    async def publish(self, *events: Event) -> None:
        """Append events to the log, and have them followed."""
        first: int = self.follower.log.next_offset
        records: Any = [
            SimpleNamespace(offset=first + at, value=encode(one), headers=()) for at, one in enumerate(events)
        ]
        await self.follower._apply(records, 0)

    def saved(self) -> list[str]:
        """Return the ids of the snapshot's events."""
        try:
            return list(read_snapshot(self.store.read() or b""))
        except DamagedSnapshotError:
            return []


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Judged]:
    for name in ("_POLL_SECONDS", "_COALESCE_SECONDS", "_RETRY_SECONDS", "_PAUSES"):
        monkeypatch.setattr(snapshots, name, 0.01)
    slow_store.register()
    scene = Judged(judges=True, follower=Follower(Settings()), folder=str(tmp_path))
    scene.use(Settings(models=slow_store.url_of(scene.folder), estate="here"))
    yield scene
    slow_store.answer(scene.folder)


async def run_until(judged: Judged, wanted: Iterable[str]) -> None:
    """Run until the snapshot has the wanted events."""
    work = asyncio.create_task(judged.snapshots.run())
    async with asyncio.timeout(10):
        while judged.saved() != list(wanted) or judged.snapshots.unsaved:
            await judged.follower.wait_for_change(0.01)
            assert not work.done()
    work.cancel()


def ids(count: int) -> list[str]:
    return [f"e-{revision}-default" for revision in range(1, count + 1)]


async def test_the_judge_writes_each_event_on_which_a_lineup_depends(judged: Judged) -> None:
    await judged.publish(accepted(1), event("cutover", 1, "cut"), accepted(2))
    assert judged.snapshots.unsaved == 2
    await run_until(judged, ids(2))
    await judged.publish(accepted(3))
    await run_until(judged, ids(3))


async def test_a_worker_that_does_not_judge_writes_nothing_until_it_does(judged: Judged) -> None:
    judged.judges = False
    await judged.publish(accepted(1))
    work = asyncio.create_task(judged.snapshots.run())
    for _ in range(5):
        await judged.follower.wait_for_change(0.01)
    assert (judged.saved(), judged.snapshots.unsaved) == ([], 0)
    work.cancel()
    judged.judges = True
    await run_until(judged, ids(1))


async def test_a_snapshot_with_events_that_the_log_lacks_stays_and_a_damaged_one_is_replaced(
    judged: Judged, caplog: pytest.LogCaptureFixture
) -> None:
    longer = judged.store.seal.write(Lineup("default"), tuple(map(encode, (accepted(1), accepted(2)))))
    judged.store.write(longer)
    await judged.publish(accepted(1))
    work = asyncio.create_task(judged.snapshots.run())
    async with asyncio.timeout(10):
        while "has 1 events that the log lacks, so it stays as it is" not in caplog.text:
            await judged.follower.wait_for_change(0.01)
    work.cancel()
    assert judged.store.read() == longer
    assert judged.snapshots.unsaved == 1
    judged.store.write(longer[:-9])
    await run_until(judged, ids(1))
    assert (Path(judged.folder) / "control" / f"{NAME}.replaced").read_bytes() == longer[:-9]


async def test_a_repository_that_hangs_holds_nothing_up_and_gets_the_snapshot_later(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.repository.DEADLINE_SECONDS", 0.05)
    slow_store.hang(judged.folder)
    await judged.publish(accepted(1))
    work = asyncio.create_task(judged.snapshots.run())
    async with asyncio.timeout(1):
        for _ in range(20):
            await judged.follower.wait_for_change(0.01)
    assert judged.snapshots.unsaved == 1
    assert not work.done()
    work.cancel()
    slow_store.answer(judged.folder)
    monkeypatch.setattr("models.repository.DEADLINE_SECONDS", 10.0)
    await run_until(judged, ids(1))


async def test_a_log_that_is_not_trusted_is_not_written(judged: Judged) -> None:
    judged.follower.log.seek(4, 9)
    await judged.publish(accepted(1), accepted(2))
    work = asyncio.create_task(judged.snapshots.run())
    for _ in range(5):
        await judged.follower.wait_for_change(0.01)
    work.cancel()
    assert judged.saved() == []


async def test_a_worker_that_starts_compares_the_log_with_the_snapshot(
    judged: Judged, caplog: pytest.LogCaptureFixture
) -> None:
    await judged.snapshots.check()
    events = (accepted(1), accepted(2), accepted(1, deployment="other"))
    judged.store.write(judged.store.seal.write(Lineup("default"), tuple(map(encode, events))))
    await judged.publish(accepted(1))
    with pytest.raises(
        NotReadyError, match=r"model-events is whole and ends with revision 1 of default, but slow://.*/control/"
    ) as why:
        await judged.snapshots.check()
    assert "model restore" not in str(why.value), "nobody can say that the log is the one that is wrong"
    await judged.publish(accepted(2))
    await judged.snapshots.check()
    judged.store.write(b"something else")
    await judged.snapshots.check()
    assert "the snapshot of model-events cannot be read: no snapshot of the control log" in caplog.text


def keyed(folder: str, tmp_path: Path, **settings: str) -> Settings:
    key = tmp_path / "snapshot.key"
    key.write_text(f"{'ab' * 32}\n")
    return Settings(models=slow_store.url_of(folder), estate="here", snapshot_key_file=str(key), **settings)


async def test_a_forged_snapshot_keeps_no_worker_waiting_and_is_replaced_by_a_sealed_one(
    judged: Judged, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    forged = judged.store.seal.write(Lineup("default"), tuple(map(encode, (accepted(1), accepted(2)))))
    judged.store.write(forged)
    judged.use(keyed(judged.folder, tmp_path))
    await judged.publish(accepted(1))
    await judged.snapshots.check()
    assert "is not used: its seal is missing: a worker without these keys wrote it, or somebody else did" in caplog.text
    await run_until(judged, ids(1))
    assert list(judged.store.seal.read(judged.store.read() or b"")) == ids(1)
    assert (Path(judged.folder) / "control" / f"{NAME}.replaced").read_bytes() == forged


async def test_where_commands_are_signed_a_snapshot_without_a_key_is_written_and_not_used(
    judged: Judged, caplog: pytest.LogCaptureFixture
) -> None:
    judged.use(Settings(models=slow_store.url_of(judged.folder), estate="here", command_keys="keys.toml"))
    longer = judged.store.seal.write(Lineup("default"), tuple(map(encode, (accepted(1), accepted(2)))))
    judged.store.write(longer)
    await judged.publish(accepted(1))
    await judged.snapshots.check()
    assert "FRAUDSTREAM_SNAPSHOT_KEY_FILE, which would tell whose it is, is not set" in caplog.text
    await judged.publish(accepted(2), accepted(3))
    await run_until(judged, ids(3))
