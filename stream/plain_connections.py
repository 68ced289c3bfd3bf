"""Says which connections of a process are not encrypted, so that nobody runs one in production without knowing."""

from collections.abc import Iterator

from stream.settings import Settings

_PLAIN_KAFKA = frozenset({"PLAINTEXT", "SASL_PLAINTEXT"})
_PLAIN_REDIS = ("redis://", "redis+cluster://", "redis+sentinel://")


def plain_connections(settings: Settings, *, with_redis: bool) -> Iterator[str]:
    """Yield a warning for each server to which connections are not encrypted; `with_redis` if the process has any."""
    if settings.kafka_security_protocol in _PLAIN_KAFKA:
        yield (
            "connections to Kafka are not encrypted (FRAUDSTREAM_KAFKA_SECURITY_PROTOCOL="
            f"{settings.kafka_security_protocol}): whoever is on the way can read payments"
        )
    if settings.kafka_oauth_token_endpoint.startswith("http://"):
        yield (
            "requests for tokens are not encrypted (FRAUDSTREAM_KAFKA_OAUTH_TOKEN_ENDPOINT begins with http://): "
            "whoever is on the way can take the client secret"
        )
    if with_redis and settings.redis_url.startswith(_PLAIN_REDIS):
        yield (
            "connections to Redis are not encrypted (FRAUDSTREAM_REDIS_URL begins with "
            f"{settings.redis_url.partition('//')[0]}//): whoever is on the way can read histories"
        )
