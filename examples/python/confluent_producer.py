"""Send payments with confluent-kafka: a line of the file is a record.

    python examples/python/confluent_producer.py BROKERS TOPIC FILE

Prints where each payment was stored. It ends with 1 if one was not: mend what it reports, and send the file again; the
payments that were stored are recognised by their `transaction_id` and content, and get no second decision.
"""

import argparse
import sys
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from payments_file import Payment, read_payments, traceparent


class PaymentProducer:
    """Sends payments, and counts those that were not stored."""

    def __init__(self, brokers: str, topic: str) -> None:
        self.failed = 0
        self._topic = topic
        self._producer = Producer(
            {
                "bootstrap.servers": brokers,
                "acks": "all",
                "enable.idempotence": True,  # the client's own retries change neither number nor order
                # librdkafka's default puts cards on other partitions than the clients of Java, Go and aiokafka do; a
                # card's payments must share one.
                "partitioner": "murmur2_random",
                "allow.auto.create.topics": False,  # a mistyped topic is an error, whatever the brokers allow
            }
        )
        if not self._producer.list_topics(topic, timeout=30.0).topics[topic].partitions:
            sys.exit(
                f"the topic {topic} does not exist at {brokers}, or may not be written: mend its name; none was sent"
            )

    def send(self, payment: Payment) -> None:
        """Send a payment, under its card's id as the key."""

        def stored(error: KafkaError | None, record: Message) -> None:
            if error is None:
                print(payment.transaction_id, record.partition(), record.offset())
                return
            self._report(payment, error)

        headers: list[tuple[str, str | bytes | None]] = [("traceparent", traceparent())]
        while True:
            try:
                self._producer.produce(
                    self._topic, payment.value, payment.card_id.encode(), headers=headers, on_delivery=stored
                )
            except BufferError:  # the client's queue is full: let it send
                self._producer.poll(0.1)
            except KafkaException as failure:  # the payment is too large, or the client can send no more
                self._report(payment, failure.args[0])
                return
            else:
                self._producer.poll(0)
                return

    def _report(self, payment: Payment, error: KafkaError) -> None:
        self.failed += 1
        print(f"{payment.transaction_id} was not stored: {error.str()}", file=sys.stderr)

    def close(self) -> None:
        """Wait until every payment is stored, or given up after `delivery.timeout.ms`, by default 5 minutes."""
        self._producer.flush()


def main() -> None:
    """Send the payments of a file."""
    parser = argparse.ArgumentParser(description="Send payments with confluent-kafka.")
    parser.add_argument("brokers", help="host:port,host:port")
    parser.add_argument("topic", help="transactions, behind the deployment's topic prefix")
    parser.add_argument("file", type=Path, help="a transaction/1 in JSON on each line")
    arguments = parser.parse_args()
    payments = read_payments(arguments.file)
    try:
        producer = PaymentProducer(arguments.brokers, arguments.topic)
    except KafkaException as failure:
        sys.exit(f"{arguments.brokers}: {failure.args[0].str()}; no payment was sent: send the file again")
    for payment in payments:
        producer.send(payment)
    producer.close()
    if producer.failed:
        sys.exit(f"{producer.failed} payments were not stored: mend the causes above, then send the file again")


if __name__ == "__main__":
    main()
