"""Find out whether a partition of an input topic can be read on, or what Kafka no longer has of it.

Nothing is passed over in silence: where records are gone, or the topic is another one than that which was read, the
partition waits until an operator accepts exactly that (`fraudstream topics accept-loss`). Counts of lost records are
upper bounds, since markers and aborted records leave gaps.
"""

from typing import NamedTuple

from aiokafka.structs import OffsetAndMetadata

from fraudstream_client.validity import log_and_offset
from models.judge import InputTopic
from models.logs import AcceptedLoss, Logs
from stream.positions.commit_copies import CommitCopy
from stream.positions.offsets import ResumePoint, is_topic_note, read_topic_note

_ACCEPT = "accept it with `fraudstream topics accept-loss`"
_MADE_ANEW = "its topic was deleted and made anew"


class Progress(NamedTuple):
    """How far a partition was read: the committed offset, and the place of the last decision (-1: none).

    `topic_id` and `log` are those of the topic that was read up to the commit; the id is empty if unknown.
    `same_record` tells whether the record at the last decision is still the one that was decided; None if that cannot
    be checked. `moved` is the offset of a commit that no worker has made, where nothing else says what was read.
    """

    committed: int | None
    decided: int = -1
    topic_id: str = ""
    same_record: bool | None = None
    log: int = 0
    moved: int | None = None


def progress_of_transactions(point: ResumePoint, *, same_record: bool | None) -> Progress:
    """Return how far a partition of transactions was read: by its commit or a copy of it, and by its decisions."""
    at, moved = point.position, point.moved if point.copied is None else None
    return Progress(point.applied, at.standing.last_place, at.topic_id, same_record, at.log, moved)


def progress_of_labels(offset: int, metadata: str) -> Progress:
    """Return how far a partition of labels was read: nothing but the commit says it; its offset is -1 without one."""
    topic_id, log = read_topic_note(metadata)
    return Progress(offset if offset >= 0 else None, topic_id=topic_id, log=log)


class InputPlace(NamedTuple):
    """How far a partition of labels or predictions was read; `copy` is what tells it, where the commit does not."""

    progress: Progress
    copy: CommitCopy | None = None


def is_of_worker(commit: OffsetAndMetadata, topic_id: str | None) -> bool:
    """Tell whether a commit of labels or predictions was made by a worker.

    Brokers without topic ids may keep no metadata either, so there it is taken to be.
    """
    return commit.offset >= 0 and (topic_id is None or is_topic_note(commit.metadata))


def place_of_labels(commit: OffsetAndMetadata, topic_id: str | None, copy: CommitCopy | None) -> InputPlace:
    """Return how far a partition of labels was read, whose topic has this id.

    `copy` is that of this group's commit. One without a topic's id does not tell whether that is the topic of today.
    """
    if is_of_worker(commit, topic_id):
        return InputPlace(progress_of_labels(commit.offset, commit.metadata or ""))
    if copy is not None and is_topic_note(copy.metadata):
        return InputPlace(progress_of_labels(copy.offset, copy.metadata), copy)
    return InputPlace(Progress(None, moved=commit.offset if commit.offset >= 0 else None))


def place_of_predictions(commit: OffsetAndMetadata, topic_id: str | None, copy: CommitCopy | None) -> InputPlace:
    """Return how far a partition of predictions was read, as `place_of_labels` does.

    A copy counts only in its own topic, since nothing is held back where predictions are made anew. Workers of the
    version before committed them without metadata, and without a copy: where there is none, such a commit counts.
    """
    of_topic = copy if copy is not None and read_topic_note(copy.metadata)[0] == topic_id else None
    if of_topic is None and commit.offset >= 0 and not commit.metadata:
        return InputPlace(Progress(commit.offset))
    return place_of_labels(commit, topic_id, of_topic)


class Start(NamedTuple):
    """Where a partition is read on: the number of its log, and the offset.

    `committed` is the commit, if it is one of this log: all before it was read and answered.
    """

    log: int
    offset: int
    committed: int | None = None


class Loss(NamedTuple):
    """What was lost of a partition: accepting it lets log `log` be read from `up_to` on.

    `first` is the first offset of that log that may be lost. `lost` is how many records at most were removed unread;
    None where another topic has taken the place of the one that was read, so that nobody can count.
    """

    log: int
    up_to: int
    lost: int | None
    text: str
    first: int = 0


class _Read(NamedTuple):
    """What was read of one log: the offset after the last decision, the commit, and the end of the accepted loss.

    Each is None if there is none in this log. `first` is where that loss begins, if it is known. `proven` tells that
    the commit is of the very topic that is there now. `same` is `Progress.same_record`, if the last decision is in this
    log.
    """

    decided: int | None
    committed: int | None
    accepted: int | None
    proven: bool
    same: bool | None
    first: int | None = None

    @property
    def to(self) -> int | None:
        """The offset before which nothing is unread that was not accepted as lost; None if nothing was read."""
        committed = self.committed if self.proven or self.decided is None else None
        return max((one for one in (self.decided, committed, self.accepted) if one is not None), default=None)

    @property
    def resume(self) -> int:
        """The offset before which everything is decided, and applied to the histories as well.

        Where the decisions before an accepted loss may not be applied yet, they are read again, and then the loss is
        passed over: its records may be there still.
        """
        certain = [one for one in (self.decided, self.committed) if one is not None]
        applied = min(certain) if self.committed is not None else 0
        if self.decided is not None and self.first is not None and applied < self.first:
            return applied
        return max(self.accepted or 0, applied)


def find_start(logs: Logs, where: tuple[str, str, int], state: InputTopic, progress: Progress) -> Start | Loss | str:
    """Return where a partition is read on, what was lost of it, or why that cannot be told yet.

    `where` is the deployment, the topic and the partition.
    """
    _, topic, _ = where
    log, newest = logs.number(topic, state.topic_id), max(log_and_offset(progress.decided)[0], progress.log)
    if log is None:
        return _other_topic(logs.last(topic) + 1, state, _MADE_ANEW)
    if log < newest:
        return f"it was read in log {newest}, which is not known here yet"
    read = _read_of(log, state, progress, logs.losses.get(where))
    if read.same is False:
        return _other_topic(log + 1, state, "the record at the last decided offset is another one")
    if _differs(state, progress) and read.same is None and topic not in logs.topics:
        return _other_topic(log + 1, state, _MADE_ANEW)
    if read.to is None and (progress.committed is not None or progress.decided >= 0):
        return _other_topic(log, state, _MADE_ANEW)
    return _start_in(log, read, state, progress.moved)


def _differs(state: InputTopic, progress: Progress) -> bool:
    """Tell whether the topic that was read had another id than that which is there now."""
    return None not in (progress.topic_id or None, state.topic_id) and progress.topic_id != state.topic_id


def _read_of(log: int, state: InputTopic, progress: Progress, accepted: AcceptedLoss | None) -> _Read:
    """Return what was read of a log.

    An offset of another log means another record, even where the topic's id is the same: then its end was cut off.
    """
    decided_log, decided = log_and_offset(progress.decided)
    is_decided = decided >= 0 and decided_log == log
    same = progress.same_record if is_decided else None
    counts = progress.log == log and (same is True or not _differs(state, progress))
    loss = accepted if accepted is not None and accepted.log == log else None
    return _Read(
        decided + 1 if is_decided else None,
        progress.committed if counts else None,
        None if loss is None else loss.up_to,
        counts and (same is True or progress.topic_id == state.topic_id),
        same,
        None if loss is None else loss.first,
    )


def _start_in(log: int, read: _Read, state: InputTopic, moved: int | None) -> Start | Loss:
    """Compare what was read of a log with what the topic holds of it."""
    first = state.begin if read.to is None else read.to
    if moved is not None and max(first, state.begin) < moved <= state.end:
        return _passed_over(log, first, moved)
    if read.to is None:
        return Start(log, state.begin)
    if read.to > state.end:
        return _other_topic(log + 1, state, f"it ends at {state.end}, before offset {read.to}, which was read")
    if read.to < state.begin:
        lost = state.begin - read.to
        text = f"at most {lost} records from offset {read.to} on were removed before they were read"
        return Loss(log, state.begin, lost, f"{text}; find out why (retention?), then {_ACCEPT}", read.to)
    return Start(log, max(state.begin, read.resume), read.committed)


def _passed_over(log: int, first: int, moved: int) -> Loss:
    """Return what a commit that no worker has made would pass over."""
    lost = moved - first
    text = (
        f"its commit was moved to offset {moved}, by no worker: at most {lost} records from offset {first} to "
        f"{moved - 1} would be passed over unread; move it to offset {first} or below while no worker runs, and they "
        f"are read, or {_ACCEPT}"
    )
    return Loss(log, moved, lost, text, first)


def moved_text(moved: int, offset: int) -> str:
    """Return what is logged where a commit that no worker has made does not count."""
    return (
        f"its commit was moved to offset {moved}, by no worker, and does not count: it is read on from offset "
        f"{offset}; nothing is passed over but what `topics accept-loss` or `dead-letters skip` accepts"
    )


def _other_topic(log: int, state: InputTopic, why: str) -> Loss:
    text = f"{why}: what it held unread is lost, and what it holds now is not what was decided"
    return Loss(log, state.begin, None, f"{text}; {_ACCEPT}, and it is read from offset {state.begin} on")
