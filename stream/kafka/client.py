"""How every client of ours speaks to Kafka: the options that come from the settings, in one place.

And what it means for whoever runs it that a broker does not let us in.

The PEM files of TLS: what is made of them, and whether they can be used, before anyone connects with them.

Nothing here speaks to a server; whether a server's certificate is good is said when it is met.

Who is in the consumer group: a worker's client id carries its name, and the group coordinator lists client ids.
"""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
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
    for_code,
)

from stream.errors import SettingsError
from stream.settings import PREFIX, Settings

_CLIENT_PREFIX = "fraudstream-worker-"
LARGEST_OUTPUT_BYTES = 2 * 1024 * 1024
"""Outputs may be larger than inputs (a dead letter has its input's headers and more), so twice Kafka's default."""

_FULL_BATCH_BYTES = 512 * 1024
"""A topic's limit holds for a whole batch: half of Kafka's default fits every topic. A larger record goes alone."""

MISSING_OR_HIDDEN = "is missing, or we may not see it: docs/security.md lists the ACLs of each role"
_KNOCK_MS = 3_000
_DENIED = (ClusterAuthorizationFailedError, GroupAuthorizationFailedError, TopicAuthorizationFailedError)
_PROTOCOL = (
    f"{PREFIX}KAFKA_SECURITY_PROTOCOL may not be that of this port, or the broker wants a certificate of ours "
    f"({PREFIX}KAFKA_SSL_CERTFILE)"
)


def client_id(worker: str) -> str:
    """Return the client id that a worker joins its group with."""
    return _CLIENT_PREFIX + worker


async def group_members(admin: AIOKafkaAdminClient, group: str) -> frozenset[str]:
    """Return the names of the workers that are in the group now.

    Raises:
        aiokafka.errors.KafkaError: the coordinator does not answer.
    """
    found: set[str] = set()
    for response in await admin.describe_consumer_groups([group]):
        for code, _group, _state, _type, _protocol, group_members, *_rest in response.groups:
            if code:
                raise for_code(code)
            found |= {_name(member_id, client_id) for member_id, client_id, *_ in group_members}
    return frozenset(found)


def _name(member_id: str, client_id: str) -> str:
    """Read the worker's name; some brokers keep no client id, but all begin the member's id with it."""
    return (client_id or member_id[: -len("-" + str(UUID(int=0)))]).removeprefix(_CLIENT_PREFIX)


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Return what a TLS connection to a broker needs: whom to trust, and who we are.

    The broker's certificate and its name are always checked, and nothing below TLS 1.2 is spoken.
    """
    context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile or None)
    _present(context, settings)
    return context


def check_tls_files(settings: Settings) -> None:
    """Read every file that the settings name, as a connection would.

    Raises:
        SettingsError: names every variable whose file cannot be used, and why.
    """
    named = ("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile", "redis_cafile")
    unreadable = {name: problem for name in named if (problem := _unreadable(name, settings))}
    problems = list(unreadable.values())
    for name in ("kafka_ssl_cafile", "redis_cafile"):
        problems += [] if name in unreadable else _untrustworthy(name, getattr(settings, name))
    if not unreadable.keys() & {"kafka_ssl_certfile", "kafka_ssl_keyfile"}:
        problems += _unpresentable(settings)
    if problems:
        raise SettingsError("\n".join(problems))


def _present(context: ssl.SSLContext, settings: Settings) -> None:
    """Load our own certificate, if there is one; for an encrypted key, OpenSSL would ask the terminal."""
    if settings.kafka_ssl_certfile:
        context.load_cert_chain(
            settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile or None, password=lambda: "no password"
        )


def _unreadable(name: str, settings: Settings) -> str | None:
    """Say why a file cannot be read, if one is named."""
    file = getattr(settings, name)
    if not file:
        return None
    try:
        Path(file).read_bytes()
    except OSError as error:
        return f"{PREFIX}{name.upper()}: {file} cannot be read: {error.strerror}"
    return None


def _untrustworthy(name: str, file: str) -> Iterator[str]:
    try:
        if file:
            ssl.create_default_context(cafile=file)
    except ssl.SSLError as error:
        yield f"{PREFIX}{name.upper()}: {file} holds no certificates in PEM: {error.reason or error}"


def _unpresentable(settings: Settings) -> Iterator[str]:
    certificate = settings.kafka_ssl_certfile
    try:
        _present(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), settings)
    except ssl.SSLError as error:
        yield (
            f"{PREFIX}KAFKA_SSL_CERTFILE: the certificate in {certificate} and the private key in "
            f"{settings.kafka_ssl_keyfile or certificate} are not one pair, both in PEM, the key not encrypted: "
            f"{error.reason or error}"
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
        options["ssl_context"] = tls_context(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_sasl_username
        options["sasl_plain_password"] = settings.kafka_sasl_password
    return options


async def require_topic(consumer: AIOKafkaConsumer, topic: str) -> None:
    """Refuse a topic that this client is not shown: asked for its offsets, aiokafka would spin for 40 s.

    Raises:
        aiokafka.errors.UnknownTopicOrPartitionError: it is not there, or this client may not know that it is.
    """
    if topic not in await consumer.topics():
        raise UnknownTopicOrPartitionError(f"topic {topic} {MISSING_OR_HIDDEN}")


async def explain_error(settings: Settings, error: BaseException) -> str:
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
