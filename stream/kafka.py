"""How every client of ours speaks to Kafka: the options that come from the settings, in one place."""

import ssl
from typing import Any

from aiokafka.helpers import create_ssl_context

from stream.settings import Settings

LARGEST_OUTPUT_BYTES = 2 * 1024 * 1024
"""Outputs may be larger than inputs (a dead letter has its input's headers and more), so twice Kafka's default."""

_FULL_BATCH_BYTES = 512 * 1024
"""A topic's limit holds for a whole batch: half of Kafka's default fits every topic. A larger record goes alone."""


def connection_options(settings: Settings) -> dict[str, Any]:
    """Return what consumers, producers and admin clients share: brokers and security."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.brokers.split(","),
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_sasl_username
        options["sasl_plain_password"] = settings.kafka_sasl_password
    return options


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


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    context: ssl.SSLContext = create_ssl_context(cafile=settings.kafka_ssl_cafile or None)
    return context
