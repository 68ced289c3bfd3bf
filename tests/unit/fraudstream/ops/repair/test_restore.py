"""A restore is written again while other records come between, checked by reading it, and given up after a while."""

from collections.abc import Callable
from typing import Any

import pytest

from fraudstream.ops.repair import restore as restore_module
from fraudstream.ops.repair.restore import LogState, RestoreRequest, restore
from models.commands import encode
from models.snapshot import RestorePlan
from stream.errors import ControlLogError
from stream.settings import Settings
from support.control_events import accepted, event, read, restore_of

PROMOTED = [encode(accepted(revision)) for revision in range(1, 5)]
SNAPSHOT = RestoreRequest(read(PROMOTED).kept, "ann", "test")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The records from offset 2 on of a log that has lost those before."""
    records: list[bytes] = []

    async def read_log(_settings: Settings) -> LogState:
        return LogState(read(records, begin=2), from_start=False)

    monkeypatch.setattr(restore_module, "read_log", read_log)
    return records


def write_to(log: list[bytes], monkeypatch: pytest.MonkeyPatch, spoil: Callable[[list[bytes]], None]) -> None:
    """Write a restore to the log, and have a judge or a worker write in between."""

    async def write(_settings: Settings, _request: RestoreRequest, planned: RestorePlan) -> None:
        block = list(restore_of(planned.events.values(), f"r-{len(log)}"))
        spoil(block)
        log.extend(block)

    monkeypatch.setattr(restore_module, "_write", write)


async def test_a_verdict_that_comes_between_is_restored_with_the_others(
    log: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = [encode(accepted(5)), encode(accepted(6))]

    def judge(block: list[bytes]) -> None:
        if verdicts:
            block.insert(3, verdicts.pop(0))

    write_to(log, monkeypatch, judge)
    lineup = await restore(Settings(), SNAPSHOT)
    assert lineup.revision == 6
    assert (read(log, begin=2).fold.lineup, read(log, begin=2).trusted) == (lineup, True)
    written = len(log)
    assert await restore(Settings(), SNAPSHOT) == lineup
    assert len(log) == written, "nothing is left to do"


async def test_a_restore_that_is_always_interrupted_ends_with_an_error(
    log: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_to(log, monkeypatch, lambda block: block.insert(3, encode(event("cutover", 0, "x"))))
    with pytest.raises(ControlLogError, match="5 times another record came between the restored ones"):
        await restore(Settings(), SNAPSHOT)


async def test_what_must_not_be_written_is_not(log: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    write_to(log, monkeypatch, lambda _block: pytest.fail("nothing may be written"))
    some: Any = dict(list(SNAPSHOT.snapshot.items())[:1])
    log.append(PROMOTED[-1])
    with pytest.raises(ControlLogError, match="revision 2 of default is neither in the snapshot nor in the log"):
        await restore(Settings(), SNAPSHOT._replace(snapshot=some))
