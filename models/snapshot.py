"""A snapshot of `model-events`, and the plan of a restore from it.

A snapshot is a text: a line that describes it, then a line for each event on which a lineup depends, as it was
published. It has the events of all deployments of the topic, since they share its order.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from models.commands import Event, read_event
from models.errors import DamagedSnapshotError
from models.event_log import EventFold, EventLog
from models.expected import without_pattern
from models.lineup import Lineup


class SnapshotHead(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="snapshot/1"):
    """The first line: the topic, the deployment whose judge wrote it, its revision then, and the number of events."""

    topic: str
    deployment: str
    revision: int
    events: int


class _EventId(msgspec.Struct):
    event_id: str


_head = msgspec.json.Decoder(SnapshotHead).decode
_event_id = msgspec.json.Decoder(_EventId).decode


def snapshot_name(topic: str, deployment: str) -> str:
    """Return the snapshot's place in the model repository."""
    return f"control/{topic}.{deployment}.jsonl"


def write_snapshot(topic: str, lineup: Lineup, events: Sequence[bytes]) -> bytes:
    """Encode a snapshot."""
    head = SnapshotHead(topic=topic, deployment=lineup.deployment, revision=lineup.revision, events=len(events))
    return b"\n".join((msgspec.json.encode(head), *map(_one_line, events), b""))


def _one_line(event: bytes) -> bytes:
    return msgspec.json.format(event, indent=-1) if b"\n" in event else event


def read_snapshot(text: bytes) -> dict[str, bytes]:
    """Return a snapshot's events by id, in their order.

    Raises:
        DamagedSnapshotError: it is no snapshot, or not complete.
    """
    first, *lines = text.split(b"\n")
    try:
        head, events = _head(first), {_event_id(line).event_id: line for line in lines if line}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedSnapshotError(f"no snapshot of the control log: {without_pattern(error)}") from error
    if len(events) != head.events:
        raise DamagedSnapshotError(
            f"the snapshot has {len(events)} events instead of {head.events}: it is not complete"
        )
    return events


def lost_revision(snapshot: Mapping[str, bytes], lineup: Lineup) -> int | None:
    """Return the deployment's newest revision in a snapshot, if the lineup lacks it."""
    fold = _folded(lineup.deployment, snapshot)
    return fold.lineup.revision if fold.lineup.revision > lineup.revision else None


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """The events to write, in their order, how many of them the log lacks, and the lineup that they make.

    `problems` say why they must not be written.
    """

    events: Mapping[str, bytes]
    missing: int
    lineup: Lineup
    needed: bool
    problems: tuple[str, ...] = ()


def plan_restore(deployment: str, snapshot: Mapping[str, bytes], log: EventLog, *, from_start: bool) -> RestorePlan:
    """Plan what a restore has to write: all events of the snapshot, then those that only the log has.

    `log` has been read to its end; `from_start` tells whether from offset 0. Nothing is needed if the log can be
    trusted and has all events.
    """
    events = {**snapshot, **{name: event for name, event in log.kept.items() if name not in snapshot}}
    missing = len(events) - len(log.kept)
    needed = bool(missing) or not log.trusted or bool(log.lost)
    own = _folded(deployment, events)
    problems: list[str] = []
    for one in sorted(_deployments(events.values()) if needed else ()):
        problems += _gaps(one, _folded(one, events), log.fold.named.get(one, 0))
        if from_start:
            problems += _contradictions(one, snapshot, log.kept)
    return RestorePlan(events, missing, own.lineup, needed, tuple(problems))


def _folded(deployment: str, events: Mapping[str, bytes]) -> EventFold:
    fold = EventFold(deployment)
    for value in events.values():
        event = read_event(value)
        fold.add(value, event if isinstance(event, Event) else None)
    return fold


def _deployments(events: Iterable[bytes]) -> set[str]:
    return {event.deployment for value in events if isinstance(event := read_event(value), Event)}


def _gaps(deployment: str, fold: EventFold, named: int) -> list[str]:
    """Say which revision is lost for good; `named` is the highest that a record of the log names."""
    missing = fold.missing_revision or (fold.lineup.revision + 1 if named > fold.lineup.revision else None)
    return [] if missing is None else [f"revision {missing} of {deployment} is neither in the snapshot nor in the log"]


def _contradictions(deployment: str, snapshot: Mapping[str, bytes], log: Mapping[str, bytes]) -> list[str]:
    """Say where the log, which begins at its start, took another way than the snapshot."""
    ours, theirs = _revisions(deployment, snapshot), _revisions(deployment, log)
    differing = [revision for revision in ours.keys() & theirs.keys() if ours[revision] != theirs[revision]]
    if not differing:
        return []
    first = min(differing)
    events = f"event {ours[first]} in the snapshot and {theirs[first]} in the log"
    return [f"revision {first} of {deployment} is {events}: the log was begun anew"]


def _revisions(deployment: str, events: Mapping[str, bytes]) -> dict[int, str]:
    """Return the event that made each revision."""
    fold, found = EventFold(deployment), dict[int, str]()
    for name, value in events.items():
        before, event = fold.lineup.revision, read_event(value)
        fold.add(value, event if isinstance(event, Event) else None)
        if fold.lineup.revision != before:
            found[fold.lineup.revision] = name
    return found
