"""Send payments with aiokafka: a line of the file is a record.

    python examples/python/aiokafka_producer.py BROKERS TOPIC FILE

Prints where each payment was stored. It ends with 1 if one was not: send the file again then, the payments that were
stored are recognised by their `transaction_id` and content, and get no second decision.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from payments_file import read_payments, traceparent


async def produce(brokers: str, topic: str, path: Path) -> int:
    """Send the payments of a file, and return how many were not stored."""
    failed = 0
    # Its partitioner is that of the Java client, murmur2 of the key: a card's payments must share a partition. The
    # idempotent producer waits for all replicas in sync; its own retries change neither number nor order.
    async with AIOKafkaProducer(bootstrap_servers=brokers, enable_idempotence=True) as producer:
        sent = [
            (
                payment,
                await producer.send(
                    topic, payment.value, payment.card_id.encode(), headers=[("traceparent", traceparent())]
                ),
            )
            for payment in read_payments(path)
        ]
        for payment, delivery in sent:
            try:
                stored = await delivery
            except KafkaError as error:
                failed += 1
                print(f"{payment.transaction_id} was not stored: {error!r}", file=sys.stderr)
            else:
                print(payment.transaction_id, stored.partition, stored.offset)
    return failed


def main() -> None:
    """Send the payments of a file."""
    parser = argparse.ArgumentParser(description="Send payments with aiokafka.")
    parser.add_argument("brokers", help="host:port,host:port")
    parser.add_argument("topic", help="transactions, behind the deployment's topic prefix")
    parser.add_argument("file", type=Path, help="a transaction/1 in JSON on each line")
    arguments = parser.parse_args()
    try:
        failed = asyncio.run(produce(arguments.brokers, arguments.topic, arguments.file))
    except KafkaError as error:
        sys.exit(f"{arguments.brokers}: {error!r}; nothing is known of the payments: send the file again")
    if failed:
        sys.exit(f"{failed} payments were not stored: send the file again")


if __name__ == "__main__":
    main()
