"""Find out whether a partition of an input topic can be read on, or what Kafka no longer has of it.

Nothing is passed over in silence: where records are gone, or the topic is another one than that which was read, the
partition waits until an operator accepts exactly that (`fraudstream topics accept-loss`). Counts of lost records are
upper bounds, since markers and aborted records leave gaps.
"""

from typing import NamedTuple

from models.judge import InputTopic
from models.logs import AcceptedLoss, Logs
from stream.consumer import log_and_offset
from stream.kafka.offsets import read_topic_note

_ACCEPT = "accept it with `fraudstream topics accept-loss`"
_MADE_ANEW = "its topic was deleted and made anew"


class Progress(NamedTuple):
    """How far a partition was read: the committed offset, and the place of the last decision (-1: none).

    `topic_id` and `log` are those of the topic that was read up to the commit; the id is empty if unknown.
    `same_record` tells whether the record at the last decision is still the one that was decided; None if that cannot
    be checked.
    """

    committed: int | None
    decided: int = -1
    topic_id: str = ""
    same_record: bool | None = None
    log: int = 0


def progress_of_labels(offset: int, metadata: str) -> Progress:
    """Return how far a partition of labels was read: nothing but the commit says it; its offset is -1 without one."""
    topic_id, log = read_topic_note(metadata)
    return Progress(offset if offset >= 0 else None, topic_id=topic_id, log=log)


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

    Each is None if there is none in this log. `proven` tells that the commit is of the very topic that is there now.
    `same` is `Progress.same_record`, if the last decision is in this log.
    """

    decided: int | None
    committed: int | None
    accepted: int | None
    proven: bool
    same: bool | None

    @property
    def to(self) -> int | None:
        """The offset before which nothing is unread that was not accepted as lost; None if nothing was read."""
        committed = self.committed if self.proven or self.decided is None else None
        return max((one for one in (self.decided, committed, self.accepted) if one is not None), default=None)

    @property
    def resume(self) -> int:
        """The offset before which everything is decided, and applied to the histories as well."""
        certain = [one for one in (self.decided, self.committed) if one is not None]
        return max(self.accepted or 0, min(certain) if self.committed is not None else 0)


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
    return _start_in(log, read, state)


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
    return _Read(
        decided + 1 if is_decided else None,
        progress.committed if counts else None,
        accepted.up_to if accepted is not None and accepted.log == log else None,
        counts and (same is True or progress.topic_id == state.topic_id),
        same,
    )


def _start_in(log: int, read: _Read, state: InputTopic) -> Start | Loss:
    """Compare what was read of a log with what the topic holds of it."""
    if read.to is None:
        return Start(log, state.begin)
    if read.to > state.end:
        return _other_topic(log + 1, state, f"it ends at {state.end}, before offset {read.to}, which was read")
    if read.to < state.begin:
        lost = state.begin - read.to
        text = f"at most {lost} records from offset {read.to} on were removed before they were read"
        return Loss(log, state.begin, lost, f"{text}; find out why (retention?), then {_ACCEPT}", read.to)
    return Start(log, max(state.begin, read.resume), read.committed)


def _other_topic(log: int, state: InputTopic, why: str) -> Loss:
    text = f"{why}: what it held unread is lost, and what it holds now is not what was decided"
    return Loss(log, state.begin, None, f"{text}; {_ACCEPT}, and it is read from offset {state.begin} on")
