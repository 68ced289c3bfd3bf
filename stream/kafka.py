"""How every client of ours speaks to Kafka: the options that come from the settings, in one place.

And what it means for whoever runs it that a broker does not let us in.
"""

import ssl
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.conn import create_conn
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
)

from stream.certificates import kafka_context
from stream.settings import PREFIX, Settings

LARGEST_OUTPUT_BYTES = 2 * 1024 * 1024
"""Outputs may be larger than inputs (a dead letter has its input's headers and more), so twice Kafka's default."""

_FULL_BATCH_BYTES = 512 * 1024
"""A topic's limit holds for a whole batch: half of Kafka's default fits every topic. A larger record goes alone."""

UNSEEN = "is missing, or we may not see it: docs/security.md lists the ACLs of each role"
_KNOCK_MS = 3_000
_DENIED = (ClusterAuthorizationFailedError, GroupAuthorizationFailedError, TopicAuthorizationFailedError)
_PROTOCOL = (
    f"{PREFIX}KAFKA_SECURITY_PROTOCOL may not be that of this port, or the broker wants a certificate of ours "
    f"({PREFIX}KAFKA_SSL_CERTFILE)"
)


def connection_options(settings: Settings) -> dict[str, Any]:
    """Return what consumers, producers and admin clients share: brokers and security."""
    return {"bootstrap_servers": settings.brokers.split(","), **_security(settings)}


def producer_options(settings: Settings) -> dict[str, Any]:
    """Return a producer's options: acknowledged by all replicas, and never written twice by its own retries."""
    return {
        **connection_options(settings),
        "acks": "all",
        "enable_idempotence": settings.kafka_idempotence,
        "max_batch_size": _FULL_BATCH_BYTES,
        "max_request_size": LARGEST_OUTPUT_BYTES,
        "request_timeout_ms": 10_000,
    }


def _security(settings: Settings) -> dict[str, Any]:
    options: dict[str, Any] = {"security_protocol": settings.kafka_security_protocol}
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = kafka_context(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_sasl_username
        options["sasl_plain_password"] = settings.kafka_sasl_password
    return options


async def must_see(consumer: AIOKafkaConsumer, topic: str) -> None:
    """Refuse a topic that this client is not shown: asked for its offsets, aiokafka would spin for 40 s.

    Raises:
        aiokafka.errors.UnknownTopicOrPartitionError: it is not there, or this client may not know that it is.
    """
    if topic not in await consumer.topics():
        raise UnknownTopicOrPartitionError(f"topic {topic} {UNSEEN}")


async def explain(settings: Settings, error: BaseException) -> str:
    """Say what an error of a client's means and what to do about it; no password is in it.

    A client that no broker let in has lost the reason by then, so each is asked once more.
    """
    if isinstance(error, _DENIED):
        return f"{error}: {_who(settings)} lacks a permission; docs/security.md lists the ACLs of each role"
    if not isinstance(error, KafkaConnectionError):
        return str(error)
    answers = [await _knock(settings, address) for address in settings.brokers.split(",")]
    return "; ".join([str(error), *filter(None, answers)])


async def _knock(settings: Settings, address: str) -> str | None:
    """Connect to one broker and let go again; say what stood in the way."""
    host, _, port = address.rpartition(":")
    try:
        options = {**_security(settings), "request_timeout_ms": _KNOCK_MS}
        connection = await create_conn(host.strip("[]"), int(port), **options)
    except (KafkaError, OSError) as error:
        return f"{address}: {_meaning(settings, error)}"
    connection.close()
    return None


def _meaning(settings: Settings, error: KafkaError | OSError) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"the broker's certificate is not trusted ({error.verify_message}); name the file of the authority "
                f"that signed it in {PREFIX}KAFKA_SSL_CAFILE, and the broker in {PREFIX}BROKERS as its certificate does"
            )
        case ssl.SSLError():
            return f"no TLS with this broker ({error.reason or error}); {_PROTOCOL}"
        case SaslAuthenticationFailed():
            return (
                f"the broker refuses {_who(settings)} ({error}); check {PREFIX}KAFKA_SASL_USERNAME and _PASSWORD, and "
                f"that this user has a {settings.kafka_sasl_mechanism} credential"
            )
        case UnsupportedSaslMechanismError():
            taken = settings.kafka_sasl_mechanism
            return f"the broker does not take {taken}; choose what it takes in {PREFIX}KAFKA_SASL_MECHANISM"
        case KafkaConnectionError() | ConnectionResetError():
            return f"the broker ends the connection ({error}); {_PROTOCOL}"
    return str(error) or type(error).__name__


def _who(settings: Settings) -> str:
    if settings.kafka_security_protocol.startswith("SASL"):
        return f"the user {settings.kafka_sasl_username!r}"
    if settings.kafka_ssl_certfile:
        return f"the owner of {settings.kafka_ssl_certfile}"
    return "a client that does not say who it is"
