"""The fold of `model-events` by one deployment, and whether it can be trusted: whether no record of it was lost.

Kafka may lose the beginning of the log (a retention set by other tooling), all of it (the topic was made anew), or what
lies within (compaction). A log is whole from offset 0 on, or from the last complete restore on: `fraudstream model
restore` writes all events back, in order, between the events `restoring` and `restored`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from models.commands import Event, EventKind, read_event
from models.lineup import Candidates, Lineup, follow, follow_candidates
from models.logs import Logs, follow_logs
from models.model_record import ModelRecord, follow_record
from models.terms import Term, follow_term
from models.two_persons import NOBODY, follow_countersigned

NOT_KEPT = frozenset(
    kind.value
    for kind in (
        EventKind.CANDIDATE,
        EventKind.READY,
        EventKind.NOT_READY,
        EventKind.CUTOVER,
        EventKind.HANDOVER,
        EventKind.SHADOW,
        EventKind.ROW_TIME,
        EventKind.RESTORING,
        EventKind.RESTORED,
    )
)
"""The kinds on which no lineup depends; all others, those of a newer version too, are kept to be restored."""


class _AnyEvent(msgspec.Struct):
    """What an event of any version holds."""

    event_id: str
    kind: str


_any_event = msgspec.json.Decoder(_AnyEvent).decode


class EventFold:
    """One deployment's lineup, candidates, countersignatures and record of models; logs, term, and what is restored."""

    def __init__(self, deployment: str) -> None:
        self.lineup = Lineup(deployment)
        self.candidates = Candidates(deployment)
        self.logs = Logs()
        self.term = Term()
        self.countersigned = NOBODY
        self.record = ModelRecord()
        self.missing_revision: int | None = None
        """The first revision that the log lacks, though a record of it names a later one; None if there is none."""
        self.named: dict[str, int] = {}
        """The highest revision of each deployment that a record names, acceptances left out: they may be void."""
        self.kept: dict[str, bytes] = {}
        """The records to be restored, by `event_id`, each once, in the order of the log."""

    def add(self, value: bytes, event: Event | None) -> None:
        """Fold the next record; `event` is None where this version cannot read it.

        A void hand-over counts as unsaid: its judge answers the command again.
        """
        if event is not None and self.term.is_void(event):
            return
        if event is not None:
            self._follow(event)
        name = _kept_name(value, event)
        if name is not None:
            self.kept.setdefault(name, value)

    def _follow(self, event: Event) -> None:
        # An acceptance names the revision that it makes, any other event one that its writer has read in this log.
        makes_one = event.kind is EventKind.ACCEPTED
        known = self.lineup.revision + makes_one
        if not makes_one:
            self.named[event.deployment] = max(event.revision, self.named.get(event.deployment, 0))
        if event.deployment == self.lineup.deployment and event.revision > known and self.missing_revision is None:
            self.missing_revision = self.lineup.revision + 1
        before, self.lineup = self.lineup, follow(self.lineup, event)
        self.record = follow_record(self.record, before, event, self.lineup)
        self.candidates = follow_candidates(self.candidates, event)
        self.logs = follow_logs(self.logs, event)
        self.term = follow_term(self.term, event)
        self.countersigned = follow_countersigned(self.countersigned, self.lineup, event)


def _kept_name(value: bytes, event: Event | None) -> str | None:
    """Return the id of an event that is kept; None for others, and for records that are no events."""
    if event is not None:
        return None if event.kind.value in NOT_KEPT else event.event_id
    try:
        other = _any_event(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None if other.kind in NOT_KEPT else other.event_id


@dataclass(frozen=True, slots=True)
class _Restore:
    """A restore that has begun at `offset`, and the fold of what it has written so far."""

    command_id: str | None
    offset: int
    fold: EventFold


class EventLog:
    """The log of a deployment as far as it has been read: its fold, and what of it is lost."""

    def __init__(self, deployment: str) -> None:
        self.fold = EventFold(deployment)
        self.next_offset = 0
        """The offset of the next record to read."""
        self._deployment = deployment
        self._begin = 0
        self._whole_from = 0
        self._unread_lost = 0
        self._restore: _Restore | None = None

    @property
    def trusted(self) -> bool:
        """Whether the fold is that of all records; if not, a restore is needed."""
        return not self._unread_lost and self.fold.missing_revision is None

    @property
    def lost(self) -> int:
        """How many records are gone that whoever reads the log from now on needs; 0 after a restore."""
        return max(0, self._begin - self._whole_from, self._unread_lost)

    @property
    def kept(self) -> Mapping[str, bytes]:
        """The records to be restored, by `event_id`."""
        return self.fold.kept

    def why_untrusted(self, topic: str) -> str | None:
        """Say what of the log is lost, and what to do; None if it can be trusted."""
        if self._unread_lost:
            lost = f"{topic} has lost {self._unread_lost} records before offset {self._begin} that were not read"
        elif self.fold.missing_revision is not None:
            lost = f"{topic} lacks the record of revision {self.fold.missing_revision}, or a newer version wrote it"
        else:
            return None
        return f"{lost}, so it does not say which model is live: restore them by `fraudstream model restore`"

    def seek(self, begin: int, end: int) -> int:
        """Begin to read, or go on, and return from where; the log begins at `begin`, and reaches at least to `end`."""
        if end < self.next_offset:  # made anew: what was read of the old one stays valid
            self.next_offset, self._whole_from, self._restore = 0, 0, None
        if begin > self.next_offset:
            self._unread_lost = max(self._unread_lost, begin - self.next_offset)
            self.next_offset = begin
        self._begin = begin
        return self.next_offset

    def read_to(self, offset: int) -> None:
        """Note that all records before `offset` have been read, where the last offsets hold none."""
        self.next_offset = max(self.next_offset, offset)

    def add(self, offset: int, value: bytes) -> Event | None:
        """Fold the next record, and return its event; None for a record that this version cannot read."""
        found = read_event(value)
        event = found if isinstance(found, Event) else None
        self.next_offset = offset + 1
        if event is not None and event.kind is EventKind.RESTORING:
            self._restore = _Restore(event.command_id, offset, EventFold(self._deployment))
        elif event is not None and event.kind is EventKind.RESTORED:
            self._end_restore(offset, event)
        else:
            self.fold.add(value, event)
            if self._restore is not None:
                self._restore.fold.add(value, event)
        return event

    def _end_restore(self, offset: int, event: Event) -> None:
        """Trust what a restore has written, if no other record lies within it."""
        restore, self._restore = self._restore, None
        if restore is None or restore.command_id != event.command_id or restore.fold.missing_revision is not None:
            return
        if offset - restore.offset - 1 != event.records:
            return
        if not self.trusted:
            self.fold = restore.fold
            self._unread_lost = 0
        self._whole_from = restore.offset
