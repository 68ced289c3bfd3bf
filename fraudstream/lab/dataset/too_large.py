"""Leaves out records that their topic would not take: a broker refuses them each time, so sending again does not end.

A topic's limit, `max.message.bytes`, holds for a batch. What counts here is the size of a batch with this record alone.
The publisher sends a large record without compression, a producer with it.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from aiokafka.admin import AIOKafkaAdminClient

from fraudstream.lab.dataset.records import RecordKind, TimedRecord
from stream.engine.publisher import Headers, Outgoing, size_alone
from stream.kafka.topic_settings import SIZE_SETTING, read_configurations
from stream.kafka.topics import LABELS, TRANSACTIONS
from stream.redaction import shown
from stream.setting_types import Compression
from stream.settings import Settings

TOPICS = {RecordKind.TRANSACTION: TRANSACTIONS, RecordKind.LABEL: LABELS}
_MOST_NAMED = 20
_ADVICE = (
    f"shorten what is long in them, or raise {SIZE_SETTING} on the topic, and run the command again: it sends all of "
    "them, and histories count each once"
)


class TopicLimit(NamedTuple):
    """The name of a topic, and the size of the largest batch that it takes, in bytes; None if that may not be read."""

    topic: str
    largest_bytes: int | None


class _Id(msgspec.Struct):
    transaction_id: str


_read_id = msgspec.json.Decoder(_Id).decode


async def read_limits(settings: Settings, admin: AIOKafkaAdminClient) -> dict[RecordKind, TopicLimit]:
    """Return the limits of the topics of transactions and labels; none of one for which DescribeConfigs is denied.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    found = await read_configurations(settings, admin)
    names = {kind: settings.topic(layout.name) for kind, layout in TOPICS.items()}
    sizes = {topic: one.values.get(SIZE_SETTING) for topic, one in found.items()}
    return {
        kind: TopicLimit(topic, int(size) if (size := sizes.get(topic)) is not None else None)
        for kind, topic in names.items()
    }


class SizeFilter:
    """Tells which records are small enough for their topics, and describes the others.

    Args:
        limits: of the topics.
        codec: by which a record is compressed when it is sent alone.

    Attributes:
        counts: how many are too large, by kind.
        named: the first ones: where each is, what it is, its size and the limit.
    """

    def __init__(self, limits: Mapping[RecordKind, TopicLimit], codec: Compression = "none") -> None:
        self._limits = limits
        self._codec = codec
        self.counts: Counter[RecordKind] = Counter()
        self.named: list[str] = []

    def passes(self, record: TimedRecord, headers: Headers = ()) -> bool:
        """Tell whether a record fits with these headers; one that does not is counted."""
        topic, largest = self._limits[record.kind]
        if largest is None:
            return True
        size = size_alone(Outgoing(0, record.key, record.value, headers), largest, self._codec)
        if size <= largest:
            return True
        self.counts[record.kind] += 1
        if len(self.named) < _MOST_NAMED:
            name = shown(_read_id(record.value).transaction_id)
            self.named.append(
                f"{record.source} {record.place}, {record.kind} {name}: {size:,} bytes, {topic} takes {largest:,}"
            )
        return False

    def lines(self) -> list[str]:
        """Return what was left out and what to do about it; empty if nothing was."""
        total = self.counts.total()
        if not total:
            return []
        more = [f"  and {total - len(self.named):,} more"] if total > len(self.named) else []
        return [
            f"left out, since their topic would refuse them ({SIZE_SETTING}): {total:,}",
            *(f"  {one}" for one in self.named),
            *more,
            _ADVICE,
        ]


def explain_refusal(settings: Settings) -> str:
    """Say what to do if a broker has refused a record or a batch as too large all the same."""
    topics = " and ".join(settings.topic(layout.name) for layout in TOPICS.values())
    return (
        f"a broker refuses records as too large for their topic. Allow DescribeConfigs on {topics} "
        f"(docs/how-to/secure.md in fraudstream's repository), so that {SIZE_SETTING} can be read and what exceeds it "
        f"is left out and named; or raise {SIZE_SETTING} there. Then run the same command again: with limits "
        "that were not known before it writes everything once more, and histories count each record once"
    )
