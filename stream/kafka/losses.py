"""Find out whether a partition of an input topic can be read on, or what Kafka no longer has of it.

Nothing is passed over in silence: where records are gone, or the topic is another one than that which was read, the
partition waits until an operator accepts exactly that (`fraudstream topics accept-loss`). Counts of lost records are
upper bounds, since markers and aborted records leave gaps.
"""

from typing import NamedTuple

from models.judge import InputTopic
from models.logs import Logs
from stream.consumer import log_and_offset

_ACCEPT = "accept it with `fraudstream topics accept-loss`"


class Progress(NamedTuple):
    """How far a partition was read: the committed offset, and the place of the last decision (-1: none).

    `topic_id` is the id of the topic that was read, empty if unknown. `same_record` tells whether the record at the
    last decision is still the one that was decided; None if that cannot be checked.
    """

    committed: int | None
    decided: int = -1
    topic_id: str = ""
    same_record: bool | None = None


class Start(NamedTuple):
    """Where a partition is read on: the number of its log, and the offset."""

    log: int
    offset: int


class Loss(NamedTuple):
    """What was lost of a partition: accepting it lets log `log` be read from `up_to` on.

    `lost` is how many records at most were removed unread; None where another topic has taken the place of the one that
    was read, so that nobody can count.
    """

    log: int
    up_to: int
    lost: int | None
    text: str


def find_start(logs: Logs, where: tuple[str, str, int], state: InputTopic, progress: Progress) -> Start | Loss | str:
    """Return where a partition is read on, what was lost of it, or why that cannot be told yet.

    `where` is the deployment, the topic and the partition.
    """
    _, topic, _ = where
    log, accepted = logs.number(topic, state.topic_id), logs.losses.get(where)
    decided_log, decided_offset = log_and_offset(progress.decided)
    if log is None:
        return _other_topic(logs.last(topic) + 1, state, "its topic was deleted and made anew")
    if log < decided_log:
        return f"it was decided in log {decided_log}, which is not known here yet"
    following = _following(progress, decided_offset if decided_log == log else -1)
    if accepted is not None and accepted.log == log and (decided_log < log or (following or 0) <= accepted.up_to):
        return _start_at(log, accepted.up_to, accepted.up_to, state)
    if log > (decided_log if progress.decided >= 0 else 0):
        return _other_topic(log, state, "its topic was deleted and made anew")
    if _is_other(logs, topic, state, progress):
        other = "its topic was deleted and made anew"
        if progress.same_record is not None:
            other = "the record at the last decided offset is another one"
        return _other_topic(log + 1, state, other)
    return _start_at(log, following, progress.committed, state)


def _following(progress: Progress, decided_offset: int) -> int | None:
    """Return the offset after all that was read; None if nothing was."""
    if decided_offset >= 0:
        return decided_offset + 1
    return progress.committed


def _is_other(logs: Logs, topic: str, state: InputTopic, progress: Progress) -> bool:
    """Tell whether the topic is another one, though no new log of it is known."""
    if progress.same_record is not None:
        return not progress.same_record
    known = topic in logs.topics
    return not known and None not in (progress.topic_id or None, state.topic_id) and progress.topic_id != state.topic_id


def _start_at(log: int, following: int | None, committed: int | None, state: InputTopic) -> Start | Loss:
    """Compare the offset after all that was read with what the topic holds.

    What lies between the commit and that offset is decided, but may be missing in the histories: it is read again.
    """
    if following is None:
        return Start(log, state.begin)
    if following > state.end:
        return _other_topic(log + 1, state, f"it ends at {state.end}, before offset {following}, which was read")
    if following < state.begin:
        lost = state.begin - following
        text = f"at most {lost} records from offset {following} on were removed before they were read"
        return Loss(log, state.begin, lost, f"{text}; find out why (retention?), then {_ACCEPT}")
    return Start(log, max(state.begin, min(committed or 0, following)))


def _other_topic(log: int, state: InputTopic, why: str) -> Loss:
    text = f"{why}: what it held unread is lost, and what it holds now is not what was decided"
    return Loss(log, state.begin, None, f"{text}; {_ACCEPT}, and it is read from offset {state.begin} on")
