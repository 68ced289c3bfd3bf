"""Unusable TLS files are reported before any connection is made; test_secured.py connects with usable ones."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiokafka import client as aiokafka_client
from aiokafka.errors import KafkaConnectionError, UnknownTopicOrPartitionError

from stream.errors import SettingsError
from stream.kafka import client
from stream.kafka.client import check_tls_files, connection_options, explain_error, missing_topic, open_admin
from stream.kafka.sasl import create_connection
from stream.kafka.token_sources import keeper_of
from stream.settings import Settings
from support.kafka.sasl_broker import SaslBroker, running_broker
from support.oauth.provider import CLIENTS, running_provider


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


@pytest.mark.parametrize("name", ["kafka_ssl_cafile", "kafka_oauth_cafile", "redis_cafile"])
def test_a_ca_file_without_certificates_is_rejected(tmp_path: Path, name: str) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("no certificate")
    with pytest.raises(SettingsError, match=rf"FRAUDSTREAM_{name.upper()}: .*notes\.txt holds no PEM certificates"):
        check_tls_files(Settings(**{name: str(file)}))


def test_a_package_that_a_login_needs_is_missed_before_any_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "find_spec", lambda _: None)
    sasl: dict[str, Any] = {"kafka_security_protocol": "SASL_SSL"}
    with pytest.raises(SettingsError, match="FRAUDSTREAM_KAFKA_SASL_MECHANISM: GSSAPI needs the package gssapi"):
        check_tls_files(Settings(**sasl, kafka_sasl_mechanism="GSSAPI"))
    with pytest.raises(SettingsError, match=r"AWS_REGION: needs the signer of AWS: install the extra fraudstream\[aws"):
        check_tls_files(Settings(**sasl, kafka_sasl_mechanism="OAUTHBEARER", kafka_oauth_aws_region="eu-central-1"))


def test_what_a_client_logs_in_with_depends_on_the_mechanism(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiokafka_client, "create_conn", aiokafka_client.create_conn)
    sasl: dict[str, Any] = {"kafka_security_protocol": "SASL_PLAINTEXT"}
    kerberos = Settings(**sasl, kafka_sasl_mechanism="GSSAPI", kafka_sasl_kerberos_domain="brokers.internal")
    options = connection_options(kerberos)
    assert options["sasl_kerberos_service_name"] == "kafka"
    assert options["sasl_kerberos_domain_name"] == "brokers.internal"
    assert "sasl_plain_password" not in options
    by_file = Settings(**sasl, kafka_sasl_mechanism="OAUTHBEARER", kafka_oauth_token_file="/no/token")  # noqa: S106 - a path
    assert connection_options(by_file)["sasl_oauth_token_provider"] is keeper_of(by_file)
    assert aiokafka_client.create_conn is create_connection


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            None,
            "the brokers refuse the token of the token endpoint {endpoint}, which says issuer '{issuer}', audience ",
        ),
        (
            (500, b"<html>"),
            "cannot log in to Kafka: no token yet: the token endpoint {endpoint} gives none: it answered 5",
        ),
    ],
)
async def test_a_login_by_token_that_fails_is_told_in_one_line_for_all_brokers(
    monkeypatch: pytest.MonkeyPatch, fault: tuple[int, bytes] | None, said: str
) -> None:
    monkeypatch.setattr(aiokafka_client, "create_conn", aiokafka_client.create_conn)
    broker = SaslBroker(accepts=lambda _: False)
    with running_provider(fault=fault) as provider:
        async with running_broker(broker):
            address = f"127.0.0.1:{broker.port}"
            settings = Settings(
                brokers=f"{address},{address}",
                kafka_security_protocol="SASL_PLAINTEXT",
                kafka_sasl_mechanism="OAUTHBEARER",
                kafka_oauth_token_endpoint=provider.endpoint,
                kafka_oauth_client_id="worker",
                kafka_oauth_client_secret=CLIENTS["worker"],
            )
            with pytest.raises(KafkaConnectionError) as error:
                async with open_admin(settings):
                    pass
            told = await explain_error(settings, error.value)
    assert told.startswith(said.format(endpoint=provider.endpoint, issuer=provider.issuer))
    assert "\n" not in told
    assert not [secret for secret in (*CLIENTS.values(), *provider.issued) if secret in told]


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
