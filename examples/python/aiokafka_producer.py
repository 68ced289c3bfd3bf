"""Send payments with aiokafka: a line of the file is a record.

    python examples/python/aiokafka_producer.py BROKERS TOPIC FILE

Prints where each payment was stored. It ends with 1 if one was not: mend what it reports, and send the file again; the
payments that were stored are recognised by their `transaction_id` and content, and get no second decision.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from payments_file import Payment, read_payments, traceparent


async def refuse_missing(brokers: str, topic: str) -> None:
    """Exit if a topic does not exist; the producer would have the brokers create it, where they allow that.

    The admin client needs the same settings of TLS and SASL as the producer.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        topics = await admin.list_topics()  # of all: to ask for one by its name would create it as well
    finally:
        await admin.close()
    if topic not in topics:
        sys.exit(f"the topic {topic} does not exist at {brokers}, or may not be written: mend its name; none was sent")


async def produce(brokers: str, topic: str, payments: list[Payment]) -> int:
    """Send payments, and return how many were not stored."""
    await refuse_missing(brokers, topic)
    failed = 0
    # Its partitioner is that of the Java client, murmur2 of the key: a card's payments must share a partition. The
    # idempotent producer waits for all replicas in sync; its own retries change neither number nor order.
    async with AIOKafkaProducer(bootstrap_servers=brokers, enable_idempotence=True) as producer:
        sent = []
        for payment in payments:
            headers = [("traceparent", traceparent())]
            try:
                delivery = await producer.send(topic, payment.value, payment.card_id.encode(), headers=headers)
            except MessageSizeTooLargeError as error:
                failed += 1
                print(f"{payment.transaction_id} was not stored: {error!r}", file=sys.stderr)
            else:
                sent.append((payment, delivery))
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
    payments = read_payments(arguments.file)
    try:
        failed = asyncio.run(produce(arguments.brokers, arguments.topic, payments))
    except KafkaError as error:
        sys.exit(f"{arguments.brokers}: {error!r}; nothing is known of the payments: send the file again")
    if failed:
        sys.exit(f"{failed} payments were not stored: mend the causes above, then send the file again")


if __name__ == "__main__":
    main()
