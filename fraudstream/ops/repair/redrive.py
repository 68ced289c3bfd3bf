"""Read dead letters and their originals, and send originals again."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from aiokafka.errors import InvalidTimestampError, MessageSizeTooLargeError

from fraudstream.ops.repair.kept_letters import KeptLetter, Originals, Redrive, headers_of, read_letter
from stream.kafka.client import producer_options
from stream.kafka.stray import PlainProducer
from stream.kafka.topics import DEAD_LETTERS, LABELS, PREDICTIONS, TRANSACTIONS
from stream.scan import FetchedRecord, scan_topic
from stream.settings import Settings

Progress = Callable[[str, int, int], None]
_PARTS = 1000
"""A scan's progress is shown in thousandths."""


class Choice(NamedTuple):
    """Which dead letters are meant: all, unless a code, a source topic, a time or names are given."""

    codes: Sequence[str] = ()
    topic: str | None = None
    since_ms: int = 0
    names: Sequence[str] = ()

    def includes(self, letter: KeptLetter) -> bool:
        """Tell whether a letter is meant."""
        return (
            (not self.codes or letter.code in self.codes)
            and self.topic in {None, letter.source.topic}
            and (not self.names or letter.named(self.names))
        )


async def find_letters(settings: Settings, choice: Choice, progress: Progress) -> list[KeptLetter]:
    """Return the chosen dead letters, oldest first.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond, or the topic does not exist.
    """
    found: list[KeptLetter] = []
    async with scan_topic(settings, settings.topic(DEAD_LETTERS.name), choice.since_ms) as scan:
        async for records, share in scan.read():
            letters = [letter for record in records if (letter := read_letter(record)) is not None]
            found += [letter for letter in letters if choice.includes(letter)]
            progress(DEAD_LETTERS.name, round(share * _PARTS), _PARTS)
    return found


async def plan_redrive(
    settings: Settings,
    letters: Sequence[KeptLetter],
    why_void: Callable[[KeptLetter], str],
    progress: Progress,
    *,
    again: bool = False,
) -> Redrive:
    """Read the originals of letters from their topics, and decide which are sent again; `why_void` as for `plan`.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    originals = Originals(letters)
    topics = [settings.topic(one.name) for one in (TRANSACTIONS, LABELS, PREDICTIONS)]
    for topic in topics:
        if not (firsts := originals.firsts(topic)):
            continue
        async with scan_topic(settings, topic, 0) as scan:
            scan.start_at(firsts)
            async for records, share in scan.read():
                originals.add(records)
                progress(topic, round(share * _PARTS), _PARTS)
    return originals.plan(topics, why_void, again=again)


async def original_of(settings: Settings, letter: KeptLetter) -> FetchedRecord | None:
    """Return the record that a letter is about; None if it is gone, or another is at its place.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    originals = Originals([letter])
    async with scan_topic(settings, letter.source.topic, 0) as scan:
        scan.start_at(originals.firsts(letter.source.topic))
        async for records, _ in scan.read():
            originals.add(records)
            if any(record.offset >= letter.source.offset for record in records):
                break
    return originals.of(letter)


async def send_again(settings: Settings, plan: Redrive, progress: Progress) -> Redrive:
    """Send the originals of a plan to their own partitions, one after another, and return what was sent and refused.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond; some may have been sent, and are known by their header.
    """
    done = Redrive([], plan.before, [*plan.refused])
    producer = PlainProducer(**producer_options(settings))
    try:
        await producer.start()
        for letter, original in plan.sent:
            topic, partition, _ = letter.source
            fields: dict[str, Any] = {"partition": partition, "timestamp_ms": original.timestamp}
            fields["headers"] = headers_of(letter, original)
            try:
                await producer.send_and_wait(topic, original.value, original.key, **fields)
            except (MessageSizeTooLargeError, InvalidTimestampError) as error:
                done.refused.append((letter, f"the broker does not take it: {error!r}"))
            else:
                done.sent.append((letter, original))
                progress("redrive", len(done.sent), len(plan.sent))
    finally:
        await producer.stop()
    return done
