"""Secured Kafka and Redis: each role has the permissions of docs/how-to/secure.md and no more."""

import asyncio
import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError
from click.testing import CliRunner

from features.declaration import load
from features.errors import StoreRefusedError, StoreUnavailableError
from features.redis.client import COMMANDS
from features.redis.store import RedisStore
from fraudstream.cli.main import main
from fraudstream.demo.services.errors import NotReady
from fraudstream_client.outputs import Score
from fraudstream_client.validity import ValidScores
from models.policy import Policy
from stream.errors import SettingsError
from stream.kafka.client import check_tls_files, connection_options, explain_error, producer_options
from stream.kafka.topics import check_readable
from stream.positions.dead_letters import VALUES
from stream.settings import Settings, read_settings
from support.certificates import Authority, NoCertificates
from support.fleet.fleet import Fleet, until
from support.fleet.incidents import running_receiver
from support.fleet.payments import payment, put_model
from support.fleet.workers import EXPLAIN_COMMAND, GUARD_COMMAND, Worker
from support.kafka.jars import NoJars
from support.kafka.secured import PASSWORDS, SecuredCluster
from support.redis.replicated import NAME, secured_sentinel
from support.redis.secured import PASSWORD, SecuredRedis, secured_redis
from support.security_page import acl_commands, documented, redis_rules

pytestmark = pytest.mark.integration

PAST, PAYMENTS = 20, 40
OF_CANARY = 200
"""Payments of 50 cards: with one salt in a million, fewer than the 9 declines that the guard needs are the canary's."""
SECRETS = (*PASSWORDS.values(), PASSWORD)

WRONG = "not-this-one"
SENTINEL_PASSWORD = "sentinel-secret"  # noqa: S105 - of a sentinel that lives for a test

Environment = dict[str, str]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    try:
        return Authority(tmp_path_factory.mktemp("authority"))
    except NoCertificates as reason:
        pytest.skip(f"no certificates: {reason}")


@pytest.fixture(scope="module")
def untrusted_authority(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Authority:
    """An authority with the same name that signed no certificate here."""
    return Authority(tmp_path_factory.mktemp("stranger"), authority.folder.name)


@pytest.fixture(scope="module")
def broker(authority: Authority) -> Iterator[SecuredCluster]:
    """A broker whose only ACLs are those of the page."""
    try:
        cluster = SecuredCluster(authority)
    except NoJars as reason:
        pytest.skip(f"no secured Apache Kafka: {reason}")
    try:
        cluster.start()
        cluster.acls(acl_commands())
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def redis(authority: Authority) -> Iterator[SecuredRedis]:
    try:
        with secured_redis(authority) as server:
            yield server
    except NotReady as reason:
        pytest.skip(f"no redis-server with TLS: {str(reason).splitlines()[0]}")  # the wheel's is built without TLS


@pytest.fixture(scope="module")
def environments(broker: SecuredCluster, redis: SecuredRedis, authority: Authority) -> dict[str, Environment]:
    """The environment of each role; all topics exist, without a prefix, as on the page."""
    found = {
        role: {
            "BROKERS": broker.by_password,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_USERNAME": role,
            "KAFKA_SASL_PASSWORD": password,
            "KAFKA_SSL_CAFILE": str(authority.file),
            "REDIS_URL": redis.url(),
            "REDIS_CAFILE": str(authority.file),
            "MODELS": str(authority.folder / "models"),
            "SESSION_TIMEOUT": "3",
            "TOPIC_PREFIX": "",
        }
        for role, password in PASSWORDS.items()
    }
    assert run(found["operator"], "topics", "apply", "--partitions", "2")[0] == 0
    return found


@pytest.fixture
def role(
    environments: dict[str, Environment], tmp_path: Path, start_worker: Callable[..., Worker]
) -> Callable[[str], Fleet]:
    """A function that returns a fleet with a role's environment."""
    return lambda name: Fleet(environments[name], tmp_path, start_worker)


def run(environment: Environment, *arguments: str, **changes: str) -> tuple[int, str]:
    """Run a command in this process and return its exit code and output, which must contain no secret."""
    named = {f"FRAUDSTREAM_{name}": text for name, text in (environment | changes).items()}
    done = CliRunner().invoke(main, arguments, env=named)
    assert not [secret for secret in (*SECRETS, WRONG) if secret in done.output]
    return done.exit_code, done.output


def read(environment: Environment) -> Settings:
    return read_settings({f"FRAUDSTREAM_{name}": text for name, text in environment.items()})


def by_certificate(broker: SecuredCluster, authority: Authority, name: str) -> Environment:
    """Return the settings that differ for a client that authenticates by a certificate."""
    certificate, key = authority.vouch(name)
    return {
        "BROKERS": broker.by_certificate,
        "KAFKA_SECURITY_PROTOCOL": "SSL",
        "KAFKA_SASL_USERNAME": "",
        "KAFKA_SASL_PASSWORD": "",
        "KAFKA_SSL_CERTFILE": str(certificate),
        "KAFKA_SSL_KEYFILE": str(key),
    }


def write_payments(file: Path, numbers: Iterable[int] = range(PAYMENTS)) -> Path:
    """Write labelled payments."""
    rows = [payment(number) | {"fraud": "false", "labelled_at": "2026-01-03T00:00:00Z"} for number in numbers]
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    file.write_text("\n".join(lines) + "\n")
    return file


async def valid_scores(settings: Settings, group: str, count: int) -> list[Score]:
    """Read the scores as a member of a group, until so many are valid."""
    reader: ValidScores[Any] = ValidScores()
    consumer = AIOKafkaConsumer("scores", group_id=group, auto_offset_reset="earliest", **connection_options(settings))
    found: list[Score] = []
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            while len(found) < count:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += [score for _, score in reader.of(records)]
        return found
    finally:
        await consumer.stop()


async def await_records(settings: Settings, topic: str, count: int) -> None:
    """Wait until a topic has so many records."""
    consumer = AIOKafkaConsumer(topic, auto_offset_reset="earliest", **connection_options(settings))
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            while count > 0:
                count -= sum(map(len, (await consumer.getmany(timeout_ms=200)).values()))
    finally:
        await consumer.stop()


@pytest.mark.acceptance
def test_the_documented_acls_suffice_for_every_role(
    role: Callable[[str], Fleet], broker: SecuredCluster, authority: Authority, tmp_path: Path
) -> None:
    workers = [role("worker").worker(), role("worker").worker(**by_certificate(broker, authority, "worker"))]
    until(lambda: all("no model is live" in str(one.readiness()) for one in workers), "the group is joined")
    role("operator").promote(put_model(role("operator").models))
    for worker in workers:
        worker.await_ready()
    challenged = role("operator").cli("model", "challenge", put_model(role("operator").models, seed=1))
    assert challenged.returncode == 0, challenged.stderr
    history = role("operator").cli("model", "history", "--json")
    assert [json.loads(line)["reason"] for line in history.stdout.splitlines()] == ["test", ""], history.stderr
    fill_from_a_file_and_from_topics(role, str(write_payments(tmp_path / "past.csv", range(PAST))))
    numbers = range(PAST, PAST + PAYMENTS)
    file = str(write_payments(tmp_path / "payments.csv", numbers))
    for options in ((), ("--labels",)):
        done = role("producer").cli("publish", file, *options)
        assert done.returncode == 0, done.stderr
    scores = asyncio.run(valid_scores(read(role("consumer").environment), "fraud-desk", PAYMENTS))
    assert Counter(score.transaction_id for score in scores) == {f"t-{number}": 1 for number in numbers}
    asyncio.run(await_records(read(role("admin").environment), "outcomes", PAST + PAYMENTS))
    operator_reads_the_comparison(role)
    guard_ends_a_bad_canary(role, tmp_path)
    explain_what_it_declined(role)
    assert [worker.terminate() for worker in workers] == [0, 0]
    assert "so nobody judges this command" in role("operator").cli("model", "withdraw", "--wait", "6").stderr
    for worker in workers:
        assert "min.insync.replicas below" in worker.log()
        assert not [secret for secret in SECRETS if secret in worker.log()]


def operator_reads_the_comparison(role: Callable[[str], Fleet]) -> None:
    """Let an operator read what the challenger said of all payments."""
    asyncio.run(await_records(read(role("admin").environment), "shadow-scores", PAYMENTS))
    report = role("operator").cli("shadow", "report", "--json")
    assert report.returncode == 0, report.stderr
    assert json.loads(report.stdout)["compared"] == PAYMENTS


def last_command(operator: Fleet) -> dict[str, Any]:
    """Return the last command that was accepted, as the command line has it."""
    last: dict[str, Any] = json.loads(operator.cli("model", "history", "--json").stdout.splitlines()[-1])
    return last


def guard_ends_a_bad_canary(role: Callable[[str], Fleet], folder: Path) -> None:
    """Let a guard with its own rights end a canary that declines all, and an operator see and check what it saw."""
    operator = role("operator")
    bad = put_model(operator.models, seed=2, policy=Policy(review_at=1e-9, decline_at=2e-9))
    for command in (("withdraw",), ("canary", bad, "--share", "50%")):
        done = operator.cli("model", *command, "--reason", "test")
        assert done.returncode == 0, done.stderr
    status = operator.cli("rollout", "status", "--json")
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["watched"] == "canary"
    with running_receiver() as receiver:
        guard = role("guard").worker(GUARD_COMMAND, INCIDENT_WEBHOOK=receiver.receiver.url)
        guard.await_ready()
        publish_until_it_ends(role, folder)
        until(lambda: receiver.ids != [], "the guard tells of it, and sends it")
        assert '"guard_breach"' in operator.cli("incident", "list", "--json").stdout
        assert guard.terminate() == 0
    assert not [secret for secret in SECRETS if secret in guard.log()]


def explain_what_it_declined(role: Callable[[str], Fleet]) -> None:
    """Let a process with its own rights explain the canary's declines; a consumer may read the reasons."""
    process = role("explain").worker(EXPLAIN_COMMAND)
    process.await_ready()
    asyncio.run(await_records(read(role("consumer").environment), "explanations", 10))
    assert process.terminate() == 0
    assert not [secret for secret in SECRETS if secret in process.log()]


def publish_until_it_ends(role: Callable[[str], Fleet], folder: Path) -> None:
    """Publish payments until the guard has ended the canary, and count again what it saw."""
    operator = role("operator")
    numbers = range(PAST + PAYMENTS, PAST + PAYMENTS + OF_CANARY)
    done = role("producer").cli("publish", str(write_payments(folder / "more.csv", numbers)))
    assert done.returncode == 0, done.stderr
    until(lambda: last_command(operator)["command"] == "end_canary", "the guard ends the canary")
    again = operator.cli("guard", "replay", last_command(operator)["command_id"])
    assert again.returncode == 0, again.stderr


def fill_from_a_file_and_from_topics(role: Callable[[str], Fleet], past: str) -> None:
    """Fill the histories from a file, and again from topics with its payments, which are repeated then."""
    for command in (("topics", "apply", "--partitions", "2"), ("publish", past)):
        done = role("admin").cli(*command, TOPIC_PREFIX="archive-")
        assert done.returncode == 0, done.stderr
    for source in ([past], ["--topic", "archive-transactions", "--labels-topic", "archive-labels"]):
        filled = role("backfill").cli("backfill", *source, "--json")
        assert filled.returncode == 0, filled.stderr


@pytest.mark.parametrize(
    ("name", "topic"),
    [
        ("producer", "scores"),
        ("producer", "model-control"),
        ("consumer", "scores"),
        ("operator", "scores"),
        *((name, "model-events") for name in ("operator", "producer", "backfill", "consumer")),
    ],
)
async def test_a_role_cannot_write_a_topic_of_another_role(
    environments: dict[str, Environment], name: str, topic: str
) -> None:
    settings = msgspec.structs.replace(read(environments[name]), kafka_idempotence=False)
    producer = AIOKafkaProducer(**producer_options(settings))
    await producer.start()
    try:
        with pytest.raises(TopicAuthorizationFailedError) as refused:
            await producer.send_and_wait(topic, b"{}", partition=0)
    finally:
        await producer.stop()
    message = await explain_error(settings, refused.value)
    assert topic in message
    assert f"the user '{name}' {documented('lacks a permission')}" in message


def test_an_operator_reads_the_original_of_a_refused_label_at_its_place(environments: dict[str, Environment]) -> None:
    async def refuse_a_label() -> int:
        async with AIOKafkaProducer(**producer_options(read(environments["admin"]))) as producer:
            label = await producer.send_and_wait("labels", b'{"card_id": 7}', b"c-1", partition=0)
            offset, at_ms = str(label.offset), str(label.timestamp)
            place = {"topic": "labels", "partition": "0", "offset": offset, "timestamp": at_ms, "log": "0"}
            named = {f"source.{name}": text for name, text in place.items()} | {VALUES: "none"}
            named |= {"error.code": "invalid_field", "error.detail": "card_id", "deployment": "default"}
            headers = [(name, text.encode()) for name, text in named.items()]
            await producer.send_and_wait("dead-letters", None, b"c-1", headers=headers)
        return int(label.offset)

    offset = asyncio.run(refuse_a_label())
    code, output = run(environments["operator"], "dead-letters", "show", f"labels:0:{offset}")
    assert code == 0, output
    assert "read at its place" in output


def test_a_command_without_permission_exits_with_1_and_reports_the_cause(
    environments: dict[str, Environment], broker: SecuredCluster, authority: Authority, tmp_path: Path
) -> None:
    file = str(write_payments(tmp_path / "payments.csv"))
    nobody = by_certificate(broker, authority, "nobody")
    expected = {
        documented("lacks a permission"): run(environments["consumer"], "publish", file),
        documented("is missing: create it"): run(environments["producer"], "model", "promote", "0" * 64),
        "TopicAuthorizationFailedError": run(environments["consumer"], "topics", "apply", "--partitions", "2"),
        "the owner of": run(environments["operator"], "publish", file, **nobody),
    }
    for error, (code, message) in expected.items():
        assert error in message
        assert code == 1


def test_a_command_that_cannot_log_in_to_kafka_exits_with_1_and_reports_the_cause(
    environments: dict[str, Environment], broker: SecuredCluster, untrusted_authority: Authority
) -> None:
    expected = {
        documented("the broker refuses the user"): {"KAFKA_SASL_PASSWORD": WRONG},
        documented("the broker's certificate is not trusted"): {"KAFKA_SSL_CAFILE": str(untrusted_authority.file)},
        documented("the broker ends the connection"): {"BROKERS": broker.by_certificate},
    }
    for error, changes in expected.items():
        code, message = run(environments["operator"], "model", "history", **changes)
        assert error in message
        assert code == 1


async def test_check_readable_raises_for_a_topic_that_a_role_may_describe_but_not_read(
    environments: dict[str, Environment],
) -> None:
    with pytest.raises(TopicAuthorizationFailedError):
        await check_readable(read(environments["producer"]), "transactions")
    await check_readable(read(environments["worker"]), "scores")
    await asyncio.sleep(0.5)  # TLS connections end by an exchange of messages, and aiokafka does not wait for it


def test_a_worker_without_access_reports_the_cause_in_its_readiness(
    role: Callable[[str], Fleet], untrusted_authority: Authority
) -> None:
    start = role("worker").worker
    expected = {
        documented("the broker refuses the user"): start(KAFKA_SASL_PASSWORD=WRONG),
        "GroupAuthorizationFailedError": start(GROUP="somebody-elses"),
        documented("Redis's certificate is not trusted"): start(REDIS_CAFILE=str(untrusted_authority.file)),
    }
    for error, worker in expected.items():
        until(lambda worker=worker, wanted=error: wanted in str(worker.readiness()), error)  # type: ignore[misc]
        message = f"{worker.readiness()} {worker.log()}"
        assert not [secret for secret in (*SECRETS, WRONG) if secret in message]


async def reached(url: str) -> str:
    """Connect as a worker does, and return the error message or `connected`."""
    store = RedisStore(url, "default", load(None), lambda: 0)
    try:
        await store.connect()
    except (StoreRefusedError, StoreUnavailableError) as error:
        return str(error)
    finally:
        await store.close()
    return "connected"


async def test_a_redis_user_needs_every_documented_command_and_no_other(
    redis: SecuredRedis, authority: Authority
) -> None:
    rules = redis_rules()
    url = f"{redis.url()}?ssl_ca_certs={authority.file}"
    try:
        for command in COMMANDS:
            if command != "subscribe":  # without it, deletions of histories go undetected
                redis.allow([rule for rule in rules if rule != f"+{command}"])
                assert documented("Redis forbids this user") in (message := await reached(url))
                assert f"'{command}'" in message
        redis.allow([rule.replace("~fraudstream:*", "~fraudstream:other:*") for rule in rules])
        assert documented("Redis forbids this user") in await reached(url)
    finally:
        redis.allow(rules)
    assert await reached(url) == "connected"


async def test_a_redis_host_name_mismatch_and_a_wrong_password_are_reported_without_passwords(
    redis: SecuredRedis, authority: Authority
) -> None:
    message = await reached(f"{redis.url(host='localhost')}?ssl_ca_certs={authority.file}")
    assert documented("Redis's certificate is not trusted") in message
    assert "ostname mismatch" in message
    wrong = await reached(f"{redis.url(WRONG)}?ssl_ca_certs={authority.file}")
    assert documented("Redis does not let us in") in wrong
    assert not [secret for secret in (PASSWORD, WRONG) if secret in message + wrong]


async def test_sentinels_have_a_login_of_their_own_and_are_reached_over_tls(
    redis: SecuredRedis, authority: Authority
) -> None:
    with secured_sentinel(redis, authority, SENTINEL_PASSWORD) as port:
        url = f"rediss+sentinel://fraudstream:{PASSWORD}@127.0.0.1:{port}/{NAME}?ssl_ca_certs={authority.file}"
        assert await reached(f"{url}&sentinel_password={SENTINEL_PASSWORD}") == "connected"
        message = await reached(f"{url}&sentinel_password={WRONG}")
    assert documented("No master found") in message
    assert "auth:Authentication" in message
    assert not [secret for secret in (PASSWORD, WRONG, SENTINEL_PASSWORD) if secret in message]


def test_a_mismatched_and_an_encrypted_private_key_are_rejected(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.vouch("worker")
    _, another = authority.vouch("another")
    encrypted = tmp_path / "encrypted.key"
    command = ["openssl", "pkey", "-in", str(key), "-aes256", "-passout", "pass:secret", "-out", str(encrypted)]
    subprocess.run(command, check=True, capture_output=True)
    check_tls_files(Settings(kafka_ssl_certfile=str(certificate), kafka_ssl_keyfile=str(key)))
    check_tls_files(Settings(kafka_ssl_certfile=str(authority.folder / "worker-pair.pem")))
    for wrong in (another, encrypted):
        with pytest.raises(SettingsError, match=r"FRAUDSTREAM_KAFKA_SSL_CERTFILE: .* must be a pair"):
            check_tls_files(Settings(kafka_ssl_certfile=str(certificate), kafka_ssl_keyfile=str(wrong)))


def test_a_command_with_an_unreadable_redis_cafile_exits_with_2() -> None:
    code, message = run({"REDIS_URL": "rediss://r", "REDIS_CAFILE": "none.pem"}, "topics", "apply", "--partitions", "2")
    assert (code, message) == (2, "FRAUDSTREAM_REDIS_CAFILE: none.pem cannot be read: No such file or directory\n")
