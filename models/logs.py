"""The logs of the input topics: a topic that is made anew under its name is another log, with a higher number.

A fold over the accepted commands of all deployments, so that every fleet numbers the logs alike. It also holds what
operators have accepted: losses, and offsets that cannot be read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

from models.commands import CommandKind, Event, EventKind


class AcceptedLoss(NamedTuple):
    """A loss that was accepted: in log `log` a partition goes on at `up_to`, whatever was before it.

    `first` is the first offset that may be lost; None if the acceptance does not say it, as those of versions before.
    """

    log: int
    up_to: int
    first: int | None = None


class LostRange(NamedTuple):
    """Offsets of a partition that were accepted as lost, from `first` to before `up_to`.

    `first` is None in acceptances of versions before: the range then begins behind the last decision before `up_to`.
    """

    log: int
    first: int | None
    up_to: int


class SkippedRange(NamedTuple):
    """Records that cannot be read, and that operators let partitions pass over: the log, and the first offset."""

    log: int
    offset: int


@dataclass(frozen=True, slots=True)
class TopicLogs:
    """The logs of one topic: the number of each topic id that is known, and the last number."""

    numbers: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    last: int = 0


@dataclass(frozen=True, slots=True)
class Logs:
    """What is accepted about the input topics: their logs, losses by (deployment, topic, partition), and skips.

    The first log of a topic has the number 0; its id is known only if a loss in it was accepted. `losses` has the last
    loss of each partition, which says where it goes on, `lost` the ranges of all its losses in the order of acceptance.
    """

    topics: Mapping[str, TopicLogs] = field(default_factory=lambda: MappingProxyType({}))
    losses: Mapping[tuple[str, str, int], AcceptedLoss] = field(default_factory=lambda: MappingProxyType({}))
    skipped: Mapping[tuple[str, str, int], frozenset[SkippedRange]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    lost: Mapping[tuple[str, str, int], tuple[LostRange, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def last(self, topic: str) -> int:
        """Return the number of a topic's last log."""
        return self.topics[topic].last if topic in self.topics else 0

    def lost_in(self, where: tuple[str, str, int], log: int) -> Sequence[range]:
        """Return the offsets of a partition that were accepted as lost in a log, where it is known from which on."""
        lost = self.lost.get(where, ())
        return [range(loss.first, loss.up_to) for loss in lost if loss.log == log and loss.first is not None]

    def skipped_in(self, topic: str, partition: int, log: int) -> frozenset[int]:
        """Return the offsets of a log that operators let workers pass over, of whichever deployment."""
        return frozenset(
            one.offset
            for (_, *where), ranges in self.skipped.items()
            if where == [topic, partition]
            for one in ranges
            if one.log == log
        )

    def number(self, topic: str, topic_id: str | None) -> int | None:
        """Return the number of the log with this id; None if it is not known.

        Without ids, or while none of the topic's logs was recorded, it is taken to be the last one.
        """
        known = self.topics.get(topic)
        if known is None or topic_id is None:
            return self.last(topic)
        return known.numbers.get(topic_id)

    def may_be(self, topic: str, topic_id: str | None, log: int) -> bool:
        """Tell whether a log of the topic that has this id may have this number: its own, or the next one.

        The same id is the next log where the end of the last one was cut off; only the next one if the id is new.
        """
        own, last = self.number(topic, topic_id), self.last(topic)
        return log == own or (log == last + 1 and own in (None, last))


def follow_logs(logs: Logs, event: Event) -> Logs:
    """Return the logs after one more event; an acceptance that numbers a log out of order is void."""
    if event.kind is not EventKind.ACCEPTED or event.topic is None or event.partition is None:
        return logs
    where = (event.deployment, event.topic, event.partition)
    if event.command is CommandKind.SKIP and event.offset is not None:
        skipped = logs.skipped.get(where, frozenset()) | {SkippedRange(event.log or 0, event.offset)}
        return replace(logs, skipped=MappingProxyType({**logs.skipped, where: skipped}))
    if event.command is not CommandKind.ACCEPT_LOSS or event.log is None or event.up_to is None:
        return logs
    if not logs.may_be(event.topic, event.topic_id, event.log):
        return logs
    known = logs.topics.get(event.topic, TopicLogs())
    numbers = known.numbers if event.topic_id is None else {**known.numbers, event.topic_id: event.log}
    topic = TopicLogs(MappingProxyType(numbers), max(known.last, event.log))
    lost = LostRange(event.log, event.first, event.up_to)
    return replace(
        logs,
        topics=MappingProxyType({**logs.topics, event.topic: topic}),
        losses=MappingProxyType({**logs.losses, where: AcceptedLoss(event.log, event.up_to, event.first)}),
        lost=MappingProxyType({**logs.lost, where: (*logs.lost.get(where, ()), lost)}),
    )
