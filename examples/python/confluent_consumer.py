"""Read the valid decisions with confluent-kafka, each exactly once, whatever happens to this process.

    python examples/python/confluent_consumer.py BROKERS TOPIC FILE

Appends them to the file and prints them, until Ctrl-C or SIGTERM. One process for a file; start it again after
partitions were added to the topic.
"""

import argparse
import signal
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from decisions_file import Decision, DecisionsFile

from fraudstream_client import ValidScores


def consume(consumer: Consumer, topic: str, decisions: DecisionsFile) -> None:
    """Append the valid scores of all partitions to the file, from where it ends."""
    partitions = consumer.list_topics(topic, timeout=30.0).topics[topic].partitions
    if not partitions:
        sys.exit(f"the topic {topic} does not exist, or may not be read")
    starts = [(number, decisions.next_offsets.get(number, OFFSET_BEGINNING)) for number in partitions]
    consumer.assign([TopicPartition(topic, number, offset) for number, offset in starts])
    valid: ValidScores[Any] = ValidScores(decisions.standings)
    try:
        while True:
            messages = consumer.consume(500, timeout=0.1)
            if errors := [message.error() for message in messages if message.error() is not None]:
                raise KafkaException(errors[0])
            unreadable = valid.unreadable
            decisions.append(
                Decision(message.partition(), message.offset(), score) for message, score in valid.of(messages)
            )
            if valid.unreadable > unreadable:
                print(
                    f"{topic}: {valid.unreadable} unreadable so far, no score/1: are the workers newer?",
                    file=sys.stderr,
                )
    except KeyboardInterrupt:
        print(f"{valid.void} void, {valid.unreadable} unreadable", file=sys.stderr)


def main() -> None:
    """Read decisions until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="Read the valid decisions with confluent-kafka.")
    parser.add_argument("brokers", help="host:port,host:port")
    parser.add_argument("topic", help="scores, behind the deployment's topic prefix")
    parser.add_argument("file", type=Path, help="where the decisions are kept")
    arguments = parser.parse_args()
    options = {
        "bootstrap.servers": arguments.brokers,
        "group.id": "unused",  # the client insists on one; nothing is committed, since the file has the offsets
        "enable.auto.commit": False,
        "auto.offset.reset": "error",  # if the next score was deleted, say so rather than pass over some
    }
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    with closing(Consumer(options)) as consumer:
        try:
            consume(consumer, arguments.topic, DecisionsFile(arguments.file))
        except KafkaException as failure:
            sys.exit(f"{arguments.topic} at {arguments.brokers}: {failure.args[0].str()}")
        except KeyboardInterrupt:
            print("ended before anything was read", file=sys.stderr)


if __name__ == "__main__":
    main()
