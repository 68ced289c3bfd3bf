"""What workers say of themselves: the last of each, what held at a time, and what such a `ready` does not disturb."""

from typing import Any

import msgspec

from models.commands import Event, EventKind, encode
from models.lineup import Candidates, follow_candidates
from models.times import format_time
from models.worker_records import DatedRecord, WorkerRecord, WorkerRecords
from support.control_events import MODELS, event

LINES = ("FRAUDSTREAM_FUTURE_SKEW=300",)
FIRST, SECOND = WorkerRecord("g", "0.1.0+g1", "0000000a"), WorkerRecord("g-2", "0.1.0+g1", "0000000b")


def said(record: WorkerRecord, worker: str = "w-1", at_ms: int = 0, **fields: Any) -> Event:
    return event("ready", 0, "e", worker=worker, at=format_time(at_ms), **record._asdict(), **fields)


def folded(*events: Event, only: tuple[str, str] | None = None) -> WorkerRecords:
    workers = WorkerRecords(only)
    for one in events:
        workers.add(one)
    return workers


def test_the_last_of_each_worker_counts_and_that_of_a_time_is_found() -> None:
    workers = folded(said(FIRST, at_ms=10), said(SECOND, at_ms=20), said(FIRST, "w-2", 15))
    assert workers.last("default", "w-1") == SECOND
    assert workers.at("default", 9) == {}
    assert workers.at("default", 15) == {"w-1": DatedRecord(10, FIRST), "w-2": DatedRecord(15, FIRST)}
    assert workers.at("default", 99)["w-1"] == DatedRecord(20, SECOND)
    assert workers.at("other", 99) == {}


def test_the_group_is_that_which_a_worker_of_the_deployment_named_last() -> None:
    workers = folded(said(FIRST), said(SECOND, "w-2"), said(FIRST, deployment="other"))
    assert (workers.group("default"), workers.group("other"), workers.group("none")) == ("g-2", "g", None)


def test_the_lines_of_a_hash_are_kept_whoever_wrote_them() -> None:
    workers = folded(said(FIRST, settings_lines=LINES), said(FIRST, "w-2"))
    assert workers.lines("0000000a") == LINES
    assert workers.lines("0000000b") is None


def test_a_worker_keeps_its_own_records_alone_and_the_lines_and_groups_of_all() -> None:
    workers = folded(said(FIRST, settings_lines=LINES), said(SECOND, "w-2"), only=("default", "w-2"))
    assert (workers.last("default", "w-1"), workers.last("default", "w-2")) == (None, SECOND)
    assert (workers.lines("0000000a"), workers.group("default")) == (LINES, "g-2")


NEWER = FIRST._replace(can=("erase", "hashed_exclude"), exclude_key_check="0f" * 16)


def test_what_each_worker_can_is_what_it_has_announced_last() -> None:
    """A worker that went back to an earlier version announces nothing."""
    log = (said(NEWER), said(NEWER, "w-2", 1), said(FIRST, "w-2", 2), said(NEWER, deployment="other"))
    every, own = folded(*log), folded(*log, only=("default", "w-3"))
    assert every.can("default") == own.can("default") == {"w-1": ("erase", "hashed_exclude"), "w-2": ()}
    assert (every.can("other"), own.can("other"), every.can("none")) == ({"w-1": NEWER.can}, {}, {})
    assert every.last("default", "w-1") == NEWER
    assert every.groups == {"default": "g", "other": "g"}


def test_a_capability_of_a_newer_version_is_kept_as_it_is() -> None:
    assert said(NEWER).can == NEWER.can
    assert msgspec.json.decode(encode(said(NEWER)), type=Event) == said(NEWER)


def test_a_restore_forgets_them_so_that_workers_write_them_again() -> None:
    workers = folded(said(FIRST, settings_lines=LINES), event("restored", 0, "r", command_id="r-1", records=0))
    assert (workers.last("default", "w-1"), workers.lines("0000000a"), workers.group("default")) == (None, None, None)
    assert folded(said(NEWER), event("restored", 0, "r", command_id="r-1", records=0)).can("default") == {}


def test_an_answer_for_a_candidate_is_no_record_and_a_record_is_no_answer() -> None:
    answer = event("ready", 0, "e", command_id="c-1", model=MODELS[0], probe_hash=MODELS[1], code_version="0.1.0")
    assert folded(answer).last("default", "w-1") is None
    asked = event("candidate", 0, "e", command_id="c-1", command="promote", model=MODELS[0])
    pending = follow_candidates(Candidates("default"), asked)
    assert follow_candidates(pending, said(FIRST)) == pending
    assert follow_candidates(pending, answer).answers_to("c-1").keys() == {"w-1"}


def test_a_version_that_knows_none_of_the_fields_reads_a_record_as_a_ready_without_command() -> None:
    """Events are kept for ever and read by every version; this is what an earlier one decodes."""
    fields = {"event_id": str, "deployment": str, "kind": EventKind, "revision": int, "worker": str, "at": str}
    earlier = msgspec.defstruct(
        "Event",
        [*fields.items(), ("command_id", str | None, None)],
        tag_field="schema",
        tag="event/1",
        omit_defaults=True,
        kw_only=True,
    )
    found: Any = msgspec.json.decode(encode(said(FIRST, settings_lines=LINES)), type=earlier)
    assert (found.kind, found.command_id) == ("ready", None)
