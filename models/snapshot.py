"""A snapshot of `model-events`, and the plan of a restore from it.

A snapshot is a text: a line that describes it, then a line for each event on which a lineup depends, as it was
published. It has the events of all deployments of the topic, since they share its order.

Whoever may write to the model repository could write one. So it can be sealed: by an HMAC-SHA256 with a key that only
workers and operators have, over the place that it belongs to, its first line and its events.
"""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hmac import compare_digest
from typing import NamedTuple

import msgspec

from models.commands import Event, read_event
from models.errors import DamagedSnapshotError, UnsealedSnapshotError
from models.event_log import EventFold, EventLog
from models.expected import without_pattern
from models.lineup import Lineup


class SnapshotHead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="schema", tag="snapshot/1"):
    """The first line: the topic, the deployment whose judge wrote it, its revision then, and the number of events.

    `estate` is where the topic is; earlier versions did not say it. `seal` is hexadecimal, and empty without a key.
    """

    topic: str
    deployment: str
    revision: int
    events: int
    estate: str = ""
    seal: str = ""


class _EventId(msgspec.Struct):
    event_id: str


_DOMAIN = b"fraudstream snapshot 1 "
_head = msgspec.json.Decoder(SnapshotHead).decode
_event_id = msgspec.json.Decoder(_EventId).decode


class SnapshotScope(NamedTuple):
    """What a snapshot is of: the topic in an estate, as the judge of a deployment knows it."""

    estate: str
    topic: str
    deployment: str

    @property
    def file_name(self) -> str:
        """The name of its file: no estate, topic or deployment has an `@` in its name."""
        return f"{self.estate}@{self.topic}.{self.deployment}.jsonl"


class SnapshotSeal(NamedTuple):
    """How the snapshots of a scope are sealed: with the first key, and one sealed with any of them is used.

    Without keys they are not sealed; where a seal is `required` all the same, none is used.
    """

    scope: SnapshotScope
    keys: tuple[bytes, ...] = ()
    required: bool = False

    def write(self, lineup: Lineup, events: Sequence[bytes]) -> bytes:
        """Encode a snapshot, and seal it."""
        estate, topic, _ = self.scope
        head = SnapshotHead(
            topic=topic, deployment=lineup.deployment, revision=lineup.revision, events=len(events), estate=estate
        )
        body = b"\n".join((*map(_one_line, events), b""))
        if self.keys:
            head = msgspec.structs.replace(head, seal=_seal(self.keys[0], head, body))
        return b"%s\n%s" % (msgspec.json.encode(head), body)

    def read(self, text: bytes) -> dict[str, bytes]:
        """Return the events by id, in their order, of a snapshot that may be used.

        Raises:
            DamagedSnapshotError: it is no snapshot, or not complete.
            UnsealedSnapshotError: it is another scope's, or not sealed as it must be.
        """
        events = read_snapshot(text)
        first, _, body = text.partition(b"\n")
        head = _head(first)
        found = SnapshotScope(head.estate or self.scope.estate, head.topic, head.deployment)
        if found != self.scope:
            raise UnsealedSnapshotError(f"it is a snapshot of {_named(found)}, and not of {_named(self.scope)}")
        if self.required or self.keys:
            self._require_seal(head, body)
        return events

    def _require_seal(self, head: SnapshotHead, body: bytes) -> None:
        if not self.keys:
            why = (
                "commands are signed here, and FRAUDSTREAM_SNAPSHOT_KEY_FILE, which would tell whose it is, is not set"
            )
            raise UnsealedSnapshotError(f"nobody can say who wrote it: {why}")
        if not any(compare_digest(_seal(key, head, body), head.seal) for key in self.keys):
            why = "is not that of a key in FRAUDSTREAM_SNAPSHOT_KEY_FILE" if head.seal else "is missing"
            raise UnsealedSnapshotError(f"its seal {why}: a worker without these keys wrote it, or somebody else did")


def _named(scope: SnapshotScope) -> str:
    return f"{scope.topic} of deployment {scope.deployment} in estate {scope.estate}"


def _seal(key: bytes, head: SnapshotHead, body: bytes) -> str:
    unsealed = msgspec.json.encode(msgspec.structs.replace(head, seal=""))
    return hmac.digest(key, b"%s%s\n%s" % (_DOMAIN, unsealed, body), "sha256").hex()


def _one_line(event: bytes) -> bytes:
    return msgspec.json.format(event, indent=-1) if b"\n" in event else event


def read_snapshot(text: bytes) -> dict[str, bytes]:
    """Return a snapshot's events by id, in their order, whoever wrote it.

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
    lacking: tuple[Event, ...] = ()
    """The events that the log lacks, as far as this version can read them, in their order."""
    live_now: str | None = None
    """What the log says is live before anything is written; None: no model, or it does not say."""


def plan_restore(deployment: str, snapshot: Mapping[str, bytes], log: EventLog, *, from_start: bool) -> RestorePlan:
    """Plan what a restore has to write: all events of the snapshot, then those that only the log has.

    `log` has been read to its end; `from_start` tells whether from offset 0. Nothing is needed if the log can be
    trusted and has all events.
    """
    events = {**snapshot, **{name: event for name, event in log.kept.items() if name not in snapshot}}
    missing = len(events) - len(log.kept)
    lacking = (read_event(value) for name, value in snapshot.items() if name not in log.kept)
    needed = bool(missing) or not log.trusted or bool(log.lost)
    own = _folded(deployment, events)
    problems: list[str] = []
    for one in sorted(_deployments(events.values()) if needed else ()):
        problems += _gaps(one, _folded(one, events), log.fold.named.get(one, 0))
        if from_start:
            problems += _contradictions(one, snapshot, log.kept)
    readable = tuple(event for event in lacking if isinstance(event, Event))
    live_now = log.fold.lineup.live if log.trusted else None
    return RestorePlan(events, missing, own.lineup, needed, tuple(problems), readable, live_now)


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
