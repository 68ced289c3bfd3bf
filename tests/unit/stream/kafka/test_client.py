"""Unusable TLS files are reported before any connection is made; test_secured.py connects with usable ones."""

import asyncio
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError, UnknownTopicOrPartitionError

from stream.errors import SettingsError
from stream.kafka.client import check_tls_files, explain_error, missing_topic
from stream.settings import Settings


def test_every_unreadable_tls_file_is_reported(tmp_path: Path) -> None:
    settings = Settings(
        kafka_ssl_cafile=str(tmp_path / "none.pem"),
        kafka_ssl_certfile=str(tmp_path),
        kafka_ssl_keyfile=str(tmp_path / "none.key"),
        redis_cafile=str(tmp_path / "none"),
    )
    with pytest.raises(SettingsError, match="cannot be read") as refused:
        check_tls_files(settings)
    assert str(refused.value).splitlines() == [
        f"FRAUDSTREAM_KAFKA_SSL_CAFILE: {tmp_path}/none.pem cannot be read: No such file or directory",
        f"FRAUDSTREAM_KAFKA_SSL_CERTFILE: {tmp_path} cannot be read: Is a directory",
        f"FRAUDSTREAM_KAFKA_SSL_KEYFILE: {tmp_path}/none.key cannot be read: No such file or directory",
        f"FRAUDSTREAM_REDIS_CAFILE: {tmp_path}/none cannot be read: No such file or directory",
    ]


@pytest.mark.parametrize("name", ["kafka_ssl_cafile", "redis_cafile"])
def test_a_ca_file_without_certificates_is_rejected(tmp_path: Path, name: str) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("no certificate")
    with pytest.raises(SettingsError, match=rf"FRAUDSTREAM_{name.upper()}: .*notes\.txt holds no PEM certificates"):
        check_tls_files(Settings(**{name: str(file)}))


async def test_a_missing_topic_may_be_a_hidden_one_only_where_brokers_check_permissions() -> None:
    missing = UnknownTopicOrPartitionError(missing_topic("scores"))
    plain = await explain_error(Settings(), missing)
    assert plain.startswith("topic scores is missing: create it with `fraudstream topics apply --partitions N`, or ")
    assert "permission" not in plain
    secured = Settings(kafka_security_protocol="SASL_SSL", kafka_sasl_username="ann")
    assert "; or the user 'ann' lacks a permission to see it: docs/how-to/secure.md" in await explain_error(
        secured, missing
    )


async def test_brokers_that_cannot_be_reached_are_named_with_the_reason_and_the_setting() -> None:
    refused = "Connection refused: start Kafka there, or correct FRAUDSTREAM_BROKERS"
    said = await explain_error(Settings(brokers="127.0.0.1:1,127.0.0.1:2"), KafkaConnectionError("AddressFamily"))
    assert said == f"no broker can be used: 127.0.0.1:1: {refused}; 127.0.0.1:2: {refused}"


async def test_a_broker_that_ends_the_connection_is_named_with_the_setting_of_the_protocol() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        closed = await explain_error(Settings(brokers=f"127.0.0.1:{port}"), KafkaConnectionError("gone"))
    assert closed.startswith(f"no broker can be used: 127.0.0.1:{port}: the broker ends the connection")
    assert "FRAUDSTREAM_KAFKA_SECURITY_PROTOCOL may not match this port" in closed
