"""The commands of the example programs, as examples/README.md gives them."""

from collections.abc import Mapping
from typing import NamedTuple

LIBRARIES = "examples/java/build/libs"
JAVA = ("java", "-cp", f"{LIBRARIES}/*")
BUILD_JARS = ("mvn", "-q", "-f", "examples/java", "package")
BUILD_GO = ("go", "build", "-C", "examples/go", "-o", "build/", "./...")


class ExampleClient(NamedTuple):
    """A producer and a consumer; each command takes brokers, a topic and a file, in the root of the checkout."""

    name: str
    producer: tuple[str, ...]
    consumer: tuple[str, ...]


CLIENTS: Mapping[str, ExampleClient] = {
    client.name: client
    for client in (
        ExampleClient(
            "java", (*JAVA, "examples/java/ProducePayments.java"), (*JAVA, "examples/java/ConsumeDecisions.java")
        ),
        ExampleClient("go", ("examples/go/build/produce",), ("examples/go/build/consume",)),
        ExampleClient(
            "confluent-kafka",
            ("python", "examples/python/confluent_producer.py"),
            ("python", "examples/python/confluent_consumer.py"),
        ),
        ExampleClient(
            "aiokafka",
            ("python", "examples/python/aiokafka_producer.py"),
            ("python", "examples/python/aiokafka_consumer.py"),
        ),
    )
}
