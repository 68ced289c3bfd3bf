"""A snapshot holds the events of a log, and a restore that would lose or contradict any is not planned."""

from typing import Any

import pytest

from models.errors import DamagedSnapshotError
from models.lineup import Lineup
from models.snapshot import lost_revision, plan_restore, read_snapshot, snapshot_name, write_snapshot
from support.control_events import accepted, event, read

PROMOTED = [accepted(revision) for revision in range(1, 5)]


def kept(*events: Any) -> Any:
    return read(events).kept


def test_a_snapshot_is_read_as_it_was_written() -> None:
    events = kept(*PROMOTED)
    text = write_snapshot("eu.model-events", read(PROMOTED).fold.lineup, tuple(events.values()))
    assert read_snapshot(text) == events
    head = b'{"schema":"snapshot/1","topic":"eu.model-events","deployment":"default","revision":4,"events":4}'
    assert text.split(b"\n")[0] == head
    assert read_snapshot(write_snapshot("t", Lineup("default"), ())) == {}
    assert snapshot_name("eu.model-events", "default") == "control/eu.model-events.default.jsonl"


def test_an_event_of_several_lines_becomes_one_line() -> None:
    text = write_snapshot("t", Lineup("default"), (b'{"event_id":\n"e",\n"kind":"x"}',))
    assert read_snapshot(text) == {"e": b'{"event_id":"e","kind":"x"}'}


@pytest.mark.parametrize("cut", [0, 5, 120, 400, -2])
def test_a_snapshot_that_is_cut_or_something_else_is_refused(cut: int) -> None:
    text = write_snapshot("t", read(PROMOTED).fold.lineup, tuple(kept(*PROMOTED).values()))
    with pytest.raises(DamagedSnapshotError):
        read_snapshot(text[:cut])


def test_a_revision_that_only_the_snapshot_has_is_lost() -> None:
    assert lost_revision(kept(*PROMOTED), read(PROMOTED[:3]).fold.lineup) == 4
    assert lost_revision(kept(*PROMOTED), read(PROMOTED).fold.lineup) is None
    assert lost_revision({}, Lineup("default")) is None
    assert lost_revision(kept(*PROMOTED), Lineup("other")) is None


def problems(snapshot: Any, log: Any, begin: int = 0) -> tuple[str, ...]:
    return plan_restore("default", kept(*snapshot), read(log, begin=begin), from_start=begin == 0).problems


def test_a_restore_that_lacks_a_revision_is_refused() -> None:
    lost = "revision 3 of default is neither in the snapshot nor in the log"
    assert problems(PROMOTED[:2], PROMOTED[3:], begin=3) == (lost,)
    assert problems(PROMOTED[:2], [event("cutover", 3, "e")], begin=9) == (lost,), "though nothing else says so"
    assert problems(PROMOTED[:2], [event("cutover", 2, "e")], begin=9) == ()
    other = accepted(2, deployment="other")
    assert problems([*PROMOTED[:2]], [other], begin=2) == (
        "revision 1 of other is neither in the snapshot nor in the log",
    )


def test_a_restore_into_a_log_that_was_begun_anew_is_refused() -> None:
    anew = accepted(1, event_id="anew")
    assert problems(PROMOTED, [anew]) == (
        "revision 1 of default is event e-1-default in the snapshot and anew in the log: the log was begun anew",
    )
    assert problems(PROMOTED, PROMOTED[:2]) == ()
    assert problems(PROMOTED, [accepted(5)]) == (), "a judge that still knew the old log went on in the new one"


def test_nothing_is_restored_where_nothing_is_missing() -> None:
    assert not plan_restore("default", kept(*PROMOTED[:2]), read(PROMOTED), from_start=True).needed
    assert not plan_restore("default", {}, read([]), from_start=True).needed
    assert plan_restore("default", kept(*PROMOTED), read([]), from_start=True).missing == 4
