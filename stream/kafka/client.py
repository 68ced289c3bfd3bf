"""Options, TLS files and error messages that all Kafka clients share, and the members of the consumer group.

A worker's client id contains its name, so the group coordinator's list of client ids is the list of workers. Broker
errors are explained in terms of the settings that fix them.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
    for_code,
)
from aiokafka.structs import OffsetAndMetadata

from stream.errors import SettingsError, install_extra
from stream.kafka.sasl import create_connection, use_sasl_connections
from stream.kafka.stray import KnownBrokers
from stream.kafka.token_sources import keeper_of, login_trouble, uses_tokens
from stream.settings import PREFIX, Settings

REQUEST_TIMEOUT_MS = 10_000
METADATA_AGE_MS = 10_000
"""How often clients look for moved leaders, added partitions and brokers that are back; 5 minutes by default.

A client that asked while one broker alone was up knows only that one, and reaches nobody when it goes down next.
"""
_CLIENT_PREFIX = "fraudstream-worker-"
_SEPARATOR = "/"
_ATTEMPTS = "attempts"
_MARK = f"@{_ATTEMPTS}"
"""Ends the client id of a worker that counts attempts in epochs; no worker's id contains `@`, but a token may."""
_LONGEST_TOKEN = 64
ANNOUNCED = _ATTEMPTS.encode()
"""What such a worker says in its subscription, too."""
_SUBSCRIBED = struct.pack(">i", len(ANNOUNCED)) + ANNOUNCED
LARGEST_OUTPUT_BYTES = 2 * 1024 * 1024
"""Outputs may be larger than inputs (a dead letter adds headers to its input's), so twice Kafka's default."""

BATCH_BYTES = 512 * 1024
"""A topic's size limit applies to whole batches; half of Kafka's default fits every topic. Larger records go alone.

It is the size before compression. A codec may make a batch larger, snappy by up to a sixth, and that still fits.
"""

HIDDEN = (
    "a topic that we may not see looks the same: docs/how-to/secure.md in fraudstream's repository lists the ACLs of "
    "each role"
)
_CONNECT_TIMEOUT_MS = 3_000
_DENIED = (ClusterAuthorizationFailedError, GroupAuthorizationFailedError, TopicAuthorizationFailedError)
_PROTOCOL = (
    f"{PREFIX}KAFKA_SECURITY_PROTOCOL may not match this port, or the broker requires a client certificate "
    f"({PREFIX}KAFKA_SSL_CERTFILE)"
)


def connection_options(settings: Settings) -> dict[str, Any]:
    """Return the options of every client: brokers, security, and how long to wait for a broker that may be hung."""
    return {
        "bootstrap_servers": KnownBrokers(settings.brokers),
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "metadata_max_age_ms": METADATA_AGE_MS,
        **_security(settings),
    }


@asynccontextmanager
async def open_admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Connect an administration client, and close it at the end.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    admin = AIOKafkaAdminClient(**connection_options(settings))
    try:
        await admin.start()
        yield admin
    finally:
        await asyncio.shield(admin.close())  # which would swallow a cancellation that arrives meanwhile


def producer_options(settings: Settings) -> dict[str, Any]:
    """Return a producer's options: acknowledged by all in-sync replicas, idempotent, and compressed."""
    return {
        **connection_options(settings),
        "acks": "all",
        "enable_idempotence": settings.kafka_idempotence,
        "compression_type": None if settings.compression == "none" else settings.compression,
        "max_batch_size": BATCH_BYTES,
        "max_request_size": LARGEST_OUTPUT_BYTES,
    }


def _security(settings: Settings) -> dict[str, Any]:
    options: dict[str, Any] = {"security_protocol": settings.kafka_security_protocol}
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = tls_context(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        use_sasl_connections()
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options |= _login(settings)
    return options


def _login(settings: Settings) -> dict[str, Any]:
    """Return what a client logs in with, by the mechanism."""
    match settings.kafka_sasl_mechanism:
        case "OAUTHBEARER":
            return {"sasl_oauth_token_provider": keeper_of(settings)}
        case "GSSAPI":
            return {
                "sasl_kerberos_service_name": settings.kafka_sasl_kerberos_service,
                "sasl_kerberos_domain_name": settings.kafka_sasl_kerberos_domain or None,
            }
    return {"sasl_plain_username": settings.kafka_sasl_username, "sasl_plain_password": settings.kafka_sasl_password}


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Return the TLS context for brokers: trusted authorities and the client certificate.

    The broker's certificate and host name are always verified; the minimum is TLS 1.2.
    """
    context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile or None)
    _load_client_certificate(context, settings)
    return context


def _load_client_certificate(context: ssl.SSLContext, settings: Settings) -> None:
    """Load the client certificate, if one is set; without `password`, OpenSSL would prompt for an encrypted key's."""
    if settings.kafka_ssl_certfile:
        context.load_cert_chain(
            settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile or None, password=lambda: "no password"
        )


def check_tls_files(settings: Settings) -> None:
    """Read every file that the settings name for TLS and for a login, as a connection would, but those that may come.

    Raises:
        SettingsError: names every variable whose file cannot be used, or whose package is missing, and why.
    """
    authorities = ("kafka_ssl_cafile", "redis_cafile", "kafka_oauth_cafile")
    of_client = ("kafka_ssl_certfile", "kafka_ssl_keyfile")
    files = (authorities[0], *of_client, *authorities[1:], "kafka_oauth_client_secret_file")
    unreadable = {name: problem for name in files if (problem := _read_problem(name, settings))}
    problems = [*unreadable.values(), *_missing_packages(settings)]
    for name in authorities:
        problems += [] if name in unreadable else _authority_problems(name, getattr(settings, name))
    if not unreadable.keys() & set(of_client):
        problems += _client_certificate_problems(settings)
    if problems:
        raise SettingsError("\n".join(problems))


def _missing_packages(settings: Settings) -> Iterator[str]:
    """Yield which setting needs a package that is not installed."""
    if settings.kafka_sasl_mechanism == "GSSAPI" and find_spec("gssapi") is None:
        yield f"{PREFIX}KAFKA_SASL_MECHANISM: GSSAPI needs the package gssapi, which is not installed"
    if settings.kafka_oauth_aws_region and find_spec("aws_msk_iam_sasl_signer") is None:
        yield f"{PREFIX}KAFKA_OAUTH_AWS_REGION: needs the signer of AWS: {install_extra('aws')}"


def _read_problem(name: str, settings: Settings) -> str | None:
    """Return why a file cannot be read; None if it can or none is set."""
    file = getattr(settings, name)
    if not file:
        return None
    try:
        Path(file).read_bytes()
    except OSError as error:
        return f"{PREFIX}{name.upper()}: {file} cannot be read: {error.strerror}"
    return None


def _authority_problems(name: str, file: str) -> Iterator[str]:
    try:
        if file:
            ssl.create_default_context(cafile=file)
    except ssl.SSLError as error:
        yield f"{PREFIX}{name.upper()}: {file} holds no PEM certificates: {error.reason or error}"


def _client_certificate_problems(settings: Settings) -> Iterator[str]:
    certificate = settings.kafka_ssl_certfile
    try:
        _load_client_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), settings)
    except ssl.SSLError as error:
        yield (
            f"{PREFIX}KAFKA_SSL_CERTFILE: the certificate in {certificate} and the private key in "
            f"{settings.kafka_ssl_keyfile or certificate} must be a pair, both in PEM, the key not encrypted: "
            f"{error.reason or error}"
        )


class Member(NamedTuple):
    """A member of a consumer group: its name, and the deployment whose worker it is.

    The deployment is None for a worker of a version that did not tell, and empty for a member that is no worker.
    `attempts` tells whether it announces that it counts attempts in its epochs, as every version from now on does.
    """

    name: str
    deployment: str | None
    attempts: bool = False

    def is_of(self, deployment: str) -> bool:
        """Tell whether it is a worker of this deployment, as far as it tells."""
        return self.deployment in (deployment, None)


def client_id(settings: Settings) -> str:
    """Return the client id with which a worker joins its group; neither name contains the separator."""
    return f"{_CLIENT_PREFIX}{settings.deployment}{_SEPARATOR}{names_for_judges(settings.worker_id)[-1]}"


def names_for_judges(worker_id: str) -> tuple[str, ...]:
    """Return the names that judges may know a worker by: its own, and what a version before this one takes for it.

    That version reads the whole end of a client id as the name, with the mark. A static member may be known to it
    without, since the coordinator keeps the client id of the process that a static member's new one replaces. A name
    that has no room for the mark goes without: then the subscription alone announces.
    """
    marked = f"{worker_id}{_MARK}"
    return (worker_id, marked) if len(marked) <= _LONGEST_TOKEN else (worker_id,)


async def members_of(admin: AIOKafkaAdminClient, group: str) -> frozenset[Member]:
    """Return the current members of a group.

    Raises:
        aiokafka.errors.KafkaError: the coordinator does not respond.
    """
    found: set[Member] = set()
    for response in await admin.describe_consumer_groups([group]):
        for code, _group, _state, _type, _protocol, members, *_rest in response.groups:
            if code:
                raise for_code(code)
            found |= {_member(*member[:4]) for member in members}
    return frozenset(found)


async def group_members(admin: AIOKafkaAdminClient, settings: Settings) -> frozenset[str]:
    """Return the names of the deployment's workers that are currently in its group.

    Raises:
        aiokafka.errors.KafkaError: the coordinator does not respond.
    """
    members = await members_of(admin, settings.group)
    return frozenset(one.name for one in members if one.is_of(settings.deployment))


def _member(member_id: str, client_id: str, _host: str = "", subscription: bytes = b"") -> Member:
    """Read a member's client id; some brokers keep none, but every member id begins with it.

    What it announces is in its subscription, if the coordinator tells it, which it does between rebalances; else in the
    client id. A static member's subscription is that of its newest process, its client id that of its first one.
    """
    whole = client_id or member_id[: -len("-" + str(UUID(int=0)))]
    attempts = subscription.endswith(_SUBSCRIBED) if subscription else whole.endswith(_MARK)
    if not whole.startswith(_CLIENT_PREFIX):
        return Member(whole, "", attempts)
    deployment, separator, name = whole.removeprefix(_CLIENT_PREFIX).removesuffix(_MARK).partition(_SEPARATOR)
    return Member(name, deployment, attempts) if separator else Member(deployment, None, attempts)


def missing_topic(topic: str) -> str:
    """Return the message that a topic is missing, and what to do."""
    return (
        f"topic {topic} is missing: create it with `fraudstream topics apply --partitions N`, or check "
        f"{PREFIX}BROKERS and {PREFIX}TOPIC_PREFIX"
    )


async def require_topic(client: AIOKafkaConsumer | AIOKafkaProducer, topic: str) -> None:
    """Fail at once if the topic is missing or hidden: aiokafka would retry a request about it for 10 to 40 s.

    It asks for all topics, since a request for one creates it on brokers that create topics by themselves.

    Raises:
        aiokafka.errors.UnknownTopicOrPartitionError: the topic does not exist, or we may not see it.
    """
    if isinstance(client, AIOKafkaProducer):
        topics = (await client.client.fetch_all_metadata()).topics()
    else:
        topics = await client.topics()
    if topic not in topics:
        raise UnknownTopicOrPartitionError(missing_topic(topic))


async def explain_error(settings: Settings, error: BaseException) -> str:
    """Explain a client's error and what to do about it; the text holds no password.

    aiokafka drops the reason for a failed connection, so this connects to each broker once more to find it.
    """
    if isinstance(error, _DENIED):
        return (
            f"{error}: {_principal(settings)} lacks a permission; docs/how-to/secure.md in fraudstream's repository "
            "lists the ACLs of each role"
        )
    if isinstance(error, UnknownTopicOrPartitionError) and error.args:
        return f"{error.args[0]}{_or_hidden(settings)}"  # ours: `str(error)` begins with the name of the class
    if isinstance(error, KafkaError) and (trouble := login_trouble(settings)) is not None:
        return trouble
    if not isinstance(error, KafkaConnectionError):
        return str(error)
    addresses = settings.brokers.split(",")
    reasons = [reason for one in addresses if (reason := await _connect_problem(settings, one)) is not None]
    if len(reasons) < len(addresses):
        return "; ".join([str(error), *reasons])
    return f"no broker can be used: {'; '.join(reasons)}"


async def _connect_problem(settings: Settings, address: str) -> str | None:
    """Connect to one broker and disconnect; return why that failed, or None."""
    host, _, port = address.rpartition(":")
    try:
        options = {**_security(settings), "request_timeout_ms": _CONNECT_TIMEOUT_MS}
        connection = await create_connection(host.strip("[]"), int(port), **options)
    except (KafkaError, OSError) as error:
        return f"{address}: {_explanation(settings, error)}"
    connection.close()
    return None


def _explanation(settings: Settings, error: KafkaError | OSError) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return (
                f"the broker's certificate is not trusted ({error.verify_message}); set {PREFIX}KAFKA_SSL_CAFILE to "
                f"the authority that signed it, and use in {PREFIX}BROKERS the host name that the certificate states"
            )
        case ssl.SSLError():
            return f"the TLS handshake failed ({error.reason or error}); {_PROTOCOL}"
        case SaslAuthenticationFailed():
            return _login_refusal(settings, error)
        case UnsupportedSaslMechanismError():
            mechanism = settings.kafka_sasl_mechanism
            return f"the broker does not support {mechanism}; set {PREFIX}KAFKA_SASL_MECHANISM to one that it does"
        case IllegalSaslStateError() | KafkaConnectionError() | ConnectionResetError():
            logs_nobody_in = isinstance(error, IllegalSaslStateError)
            does = "expects no login on this port" if logs_nobody_in else f"ends the connection ({error})"
            return f"the broker {does}; {_PROTOCOL}"
    return _connect_failure(error)


def _login_refusal(settings: Settings, error: SaslAuthenticationFailed) -> str:
    """Return why a login failed, and what to look at."""
    if uses_tokens(settings):
        return login_trouble(settings) or str(error)
    return (
        f"the broker refuses {_principal(settings)} ({error}); check {PREFIX}KAFKA_SASL_USERNAME and "
        f"_PASSWORD, and that this user has a {settings.kafka_sasl_mechanism} credential"
    )


def _connect_failure(error: KafkaError | OSError) -> str:
    """Return the operating system's words for a connection that failed; asyncio puts the address before them."""
    match error:
        case socket.gaierror():
            return f"{error.strerror}: correct {PREFIX}BROKERS, or the name service"
        case ConnectionRefusedError():
            return f"Connection refused: start Kafka there, or correct {PREFIX}BROKERS"
    return str(error) or type(error).__name__


def _or_hidden(settings: Settings) -> str:
    """Return what else a missing topic may mean where brokers check permissions."""
    if settings.kafka_security_protocol == "PLAINTEXT":
        return ""
    return (
        f"; or {_principal(settings)} lacks a permission to see it: docs/how-to/secure.md in fraudstream's "
        "repository lists the ACLs of each role"
    )


def _principal(settings: Settings) -> str:
    if settings.kafka_security_protocol.startswith("SASL"):
        by_ticket = {
            "OAUTHBEARER": "the subject of this process's token",
            "GSSAPI": "this process's Kerberos principal",
        }
        return by_ticket.get(settings.kafka_sasl_mechanism, f"the user {settings.kafka_sasl_username!r}")
    if settings.kafka_ssl_certfile:
        return f"the owner of {settings.kafka_ssl_certfile}"
    return "an anonymous client"


async def committed_offsets(
    settings: Settings, admin: AIOKafkaAdminClient, tps: list[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """Return the group's committed offsets; -1 for a partition without one.

    Raises:
        aiokafka.errors.KafkaError: the coordinator does not respond.
    """
    committed: dict[TopicPartition, OffsetAndMetadata] = await admin.list_consumer_group_offsets(
        settings.group, partitions=tps
    )
    if any(tp not in committed for tp in tps):
        # A coordinator that is still loading omits partitions, which aiokafka mistakes for an empty group.
        raise GroupCoordinatorNotAvailableError(f"the coordinator returned no offsets of group {settings.group}")
    return committed
