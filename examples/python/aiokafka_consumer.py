"""Read the valid decisions with aiokafka, each exactly once, whatever happens to this process.

    python examples/python/aiokafka_consumer.py BROKERS TOPIC FILE

Appends them to the file and prints them, until Ctrl-C or SIGTERM. One process for a file; start it again after
partitions were added to the topic.
"""

import argparse
import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from decisions_file import Decision, DecisionsFile

from fraudstream_client import ValidScores


async def partitions_of(brokers: str, topic: str) -> list[TopicPartition]:
    """Return the partitions of a topic."""
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        described = await admin.describe_topics()  # all: to ask for one by its name may create it
    finally:
        await admin.close()
    partitions = [partition for one in described if one["topic"] == topic for partition in one["partitions"]]
    if not partitions:
        sys.exit(f"the topic {topic} does not exist, or may not be read")
    return [TopicPartition(topic, partition["partition"]) for partition in partitions]


async def consume(brokers: str, topic: str, decisions: DecisionsFile, valid: ValidScores[Any]) -> None:
    """Append the valid scores of all partitions to the file, from where it ends."""
    if (task := asyncio.current_task()) is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    partitions = await partitions_of(brokers, topic)
    # Nothing is committed, since the file has the offsets. If the next score was deleted, `none` says so rather than
    # pass over some.
    options = {"enable_auto_commit": False, "auto_offset_reset": "none"}
    async with AIOKafkaConsumer(bootstrap_servers=brokers, **options) as consumer:
        consumer.assign(partitions)
        unread = []
        for place in partitions:
            if place.partition in decisions.next_offsets:
                consumer.seek(place, decisions.next_offsets[place.partition])
            else:
                unread.append(place)
        if unread:
            await consumer.seek_to_beginning(*unread)
        while True:
            batches = await consumer.getmany(timeout_ms=1_000)
            records = [record for batch in batches.values() for record in batch]
            unreadable = valid.unreadable
            decisions.append(Decision(record.partition, record.offset, score) for record, score in valid.of(records))
            if valid.unreadable > unreadable:
                print(
                    f"{topic}: {valid.unreadable} unreadable so far, no score/1: are the workers newer?",
                    file=sys.stderr,
                )


def main() -> None:
    """Read decisions until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="Read the valid decisions with aiokafka.")
    parser.add_argument("brokers", help="host:port,host:port")
    parser.add_argument("topic", help="scores, behind the deployment's topic prefix")
    parser.add_argument("file", type=Path, help="where the decisions are kept")
    arguments = parser.parse_args()
    decisions = DecisionsFile(arguments.file)
    valid: ValidScores[Any] = ValidScores(decisions.standings)
    try:
        asyncio.run(consume(arguments.brokers, arguments.topic, decisions, valid))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print(f"{valid.void} void, {valid.unreadable} unreadable", file=sys.stderr)
    except KafkaError as error:
        sys.exit(f"{arguments.topic} at {arguments.brokers}: {error!r}")


if __name__ == "__main__":
    main()
