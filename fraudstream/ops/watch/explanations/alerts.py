"""Read a partition of `scores` in order, and keep what is to be explained: valid scores that are not `approve`.

A partition's state is an offset and the validity standing before it: both are in the commit, so that a restart judges
the next score as a reader of the whole partition would.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from fraudstream_client.outputs import Decision, Score
from fraudstream_client.validity import Headers, Standing
from stream.readers import UNREADABLE, ScoreView, read_scores
from stream.scan import FetchedRecord

_NOTE = 1
"""The version of what a commit's metadata hold."""


_decode = msgspec.json.Decoder(Score).decode


class ReadProgress(NamedTuple):
    """How far a partition is: the offset of the next record, and the validity standing before it."""

    offset: int
    standing: Standing = Standing()

    def note(self, topic_id: str) -> str:
        """Return the metadata of the commit of this offset."""
        return msgspec.json.encode([_NOTE, *self.standing, topic_id]).decode()


class CommittedProgress(NamedTuple):
    """What a commit says: the standing before its offset (None if it does not tell), and which topic it is of."""

    standing: Standing | None
    topic_id: str


def read_commit(metadata: str | None) -> CommittedProgress:
    """Read the metadata of a commit; of another program's, nothing is known."""
    try:
        version, epoch, place, topic_id = msgspec.json.decode(metadata or "", type=tuple[int, int, int, str])
    except (msgspec.DecodeError, RecursionError):
        return CommittedProgress(None, "")
    return CommittedProgress(Standing(epoch, place) if version == _NOTE else None, topic_id)


class Alert(NamedTuple):
    """A score to explain, and where its partition goes on as long as it is not explained."""

    score: Score
    key: bytes | None
    headers: Headers
    written_ms: int
    before: ReadProgress


@dataclass(slots=True)
class ReadPart:
    """Some records of a partition: the alerts among them, in order, and the progress behind all of them."""

    alerts: list[Alert]
    after: ReadProgress


@dataclass(slots=True)
class PartitionReader:
    """Reads one partition's records in order.

    Attributes:
        progress: behind what was read.
        deployment: whose scores are explained; those without a name are of the time before deployments had one.
        first: scores before this offset are read for their validity alone.
        void: scores that are not valid.
        unreadable: the offsets of records to explain that are no scores, or none that this version can read.
    """

    progress: ReadProgress
    deployment: str
    first: int = 0
    void: int = field(default=0, init=False)
    unreadable: list[int] = field(default_factory=list, init=False)

    def read(self, records: Sequence[FetchedRecord]) -> ReadPart:
        """Read the next records, and return what is to be explained."""
        read = zip(records, read_scores(records), strict=True)
        alerts = [alert for record, viewed in read if (alert := self._read(record, viewed.view)) is not None]
        return ReadPart(alerts, self.progress)

    def _read(self, record: FetchedRecord, view: ScoreView | None) -> Alert | None:
        before = ReadProgress(record.offset, self.progress.standing)
        self.progress = ReadProgress(record.offset + 1, before.standing)
        if view is None:
            self._note_unreadable(record)
            return None
        self.progress = ReadProgress(record.offset + 1, before.standing.after(view.epoch, view.place))
        if not before.standing.is_valid(view.epoch, view.place):
            self.void += 1
            return None
        own = view.deployment in ("", self.deployment) and record.offset >= self.first
        if view.decision is Decision.APPROVE or not own:
            return None
        try:
            score = _decode(record.value or b"")
        except UNREADABLE:
            self._note_unreadable(record)
            return None
        return Alert(score, record.key, record.headers, record.timestamp, before)

    def _note_unreadable(self, record: FetchedRecord) -> None:
        if record.offset >= self.first:
            self.unreadable.append(record.offset)
