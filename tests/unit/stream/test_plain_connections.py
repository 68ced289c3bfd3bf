"""A process says which of its connections are not encrypted."""

import pytest

from stream.plain_connections import plain_connections
from stream.settings import Settings


@pytest.mark.parametrize(
    ("protocol", "url", "found"),
    [
        ("PLAINTEXT", "redis://r:6379/0", ["PROTOCOL=PLAINTEXT", "begins with redis://"]),
        ("SASL_PLAINTEXT", "rediss://r:6379/0", ["PROTOCOL=SASL_PLAINTEXT"]),
        ("SSL", "redis+cluster://r:6379", ["begins with redis+cluster://"]),
        ("SASL_SSL", "redis+sentinel://r:26379/m", ["begins with redis+sentinel://"]),
        ("SASL_SSL", "rediss+cluster://r:6379", []),
    ],
)
def test_each_connection_that_is_not_encrypted_is_named_without_its_login(
    protocol: str, url: str, found: list[str]
) -> None:
    settings = Settings(kafka_security_protocol=protocol, redis_url=url.replace("//", "//u:pl4nted@"))  # type: ignore[arg-type]
    said = list(plain_connections(settings, with_redis=True))
    assert len(said) == len(found)
    assert all(part in line for part, line in zip(found, said, strict=True))
    assert "pl4nted" not in "".join(said)
    assert not any("Redis" in line for line in plain_connections(settings, with_redis=False))


def test_a_token_endpoint_without_tls_is_named() -> None:
    (line,) = plain_connections(
        Settings(kafka_security_protocol="SASL_SSL", kafka_oauth_token_endpoint="http://u:pl4nted@idp/"),  # noqa: S106
        with_redis=False,
    )
    assert "FRAUDSTREAM_KAFKA_OAUTH_TOKEN_ENDPOINT begins with http://" in line
    assert "pl4nted" not in line
