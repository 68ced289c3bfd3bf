"""What many dead letters cost a repair, which reads all that are kept: `python -m benchmarks.dead_letters`.

It writes letters about `transactions` to `dead-letters` of a prefix of its own, on the brokers of the environment, and
times reading them as a repair does, and the memory that their index takes.
"""

import asyncio
import json
import os
import time
import tracemalloc
import uuid
from collections.abc import Sequence

import click
import msgspec

from models.terms import Term
from stream.contract.codes import DeadLetterCode
from stream.engine.publisher import Publisher
from stream.engine.unpacking import FetchedRecord
from stream.kafka.topics import DEAD_LETTERS, TRANSACTIONS, apply
from stream.positions.dead_letters import DeadLetter, LetterOrigin, to_records
from stream.positions.refused import read_letters, refused_by
from stream.settings import Settings, read_settings

_AT_ONCE = 2_000


def _letters(settings: Settings, first: int, count: int, partitions: int) -> Sequence[DeadLetter]:
    """Return letters about payments that are ahead of their records' time."""
    topic, value = settings.topic(TRANSACTIONS.name), b'{"transaction_id":"t","card_id":"card-1"}' + b" " * 200
    return [
        DeadLetter(
            FetchedRecord(topic, number % partitions, number // partitions, 0, 0, b"card-1", value, ()),
            DeadLetterCode.IN_THE_FUTURE,
            "occurred_at: it is later than the record's timestamp and the allowed skew permit",
        )
        for number in range(first, first + count)
    ]


async def _fill(settings: Settings, count: int, partitions: int) -> None:
    publisher = Publisher(settings)
    await publisher.start()
    where, origin = (settings.topic(DEAD_LETTERS.name), 0), LetterOrigin(settings.deployment, 0, {0: 1024, 1: 1024})
    try:
        for first in range(0, count, _AT_ONCE):
            some = _letters(settings, first, min(_AT_ONCE, count - first), partitions)
            await publisher.publish({where: to_records(some, origin)})
    finally:
        await publisher.stop()


@click.command()
@click.option("--letters", type=click.IntRange(1), default=1_000_000, show_default=True)
@click.option("--partitions", type=click.IntRange(1), default=12, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
def main(letters: int, partitions: int, rounds: int) -> None:
    """Write letters, read them so many times, and print the seconds of each reading and the bytes of the index."""
    settings = msgspec.structs.replace(read_settings(os.environ), topic_prefix=f"letters-{uuid.uuid4().hex[:8]}-")
    asyncio.run(apply(settings, partitions, 1))
    asyncio.run(_fill(settings, letters, partitions))
    seconds = []
    for number in range(rounds):
        if number == rounds - 1:
            tracemalloc.start()
        began = time.monotonic()
        refused = refused_by(asyncio.run(read_letters(settings, Term())), {}, settings.topic(TRANSACTIONS.name))
        seconds.append(round(time.monotonic() - began, 2))
    held, peak = tracemalloc.get_traced_memory()
    found = sum(map(len, refused.offsets.values()))
    figures = {"letters": letters, "found": found, "seconds": seconds[:-1] or seconds, "held_bytes": held, "peak": peak}
    click.echo(json.dumps(figures))


if __name__ == "__main__":
    main()
