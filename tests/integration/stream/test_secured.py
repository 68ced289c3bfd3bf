"""Kafka and Redis that take no strangers: four roles, each with what docs/how-to/secure.md gives it and no more."""

import asyncio
import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
from stream.cli.main import main
from stream.consumer import ValidScores
from stream.contract.outputs import Score
from stream.demo.services.errors import NotReady
from stream.errors import SettingsError
from stream.kafka.client import check_tls_files, connection_options, explain_error, producer_options
from stream.kafka.topics import check_readable
from stream.settings import Settings, read_settings
from support.certificates import Authority, NoCertificates
from support.fleet.fleet import Fleet, until
from support.fleet.payments import payment, put_model
from support.fleet.workers import Worker
from support.kafka.jars import NoJars
from support.kafka.secured import PASSWORDS, SecuredCluster
from support.redis.secured import PASSWORD, SecuredRedis, secured_redis
from support.security_page import acl_commands, complaints, documented, redis_rules

pytestmark = pytest.mark.integration

PAYMENTS = 40
SECRETS = (*PASSWORDS.values(), PASSWORD)

WRONG = "not-this-one"

Environment = dict[str, str]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    try:
        return Authority(tmp_path_factory.mktemp("authority"))
    except NoCertificates as reason:
        pytest.skip(f"no certificates: {reason}")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Authority:
    """An authority of the same name that signed nothing here."""
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
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda command: cluster.acls(*command), acl_commands()))
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def redis(authority: Authority) -> Iterator[SecuredRedis]:
    try:
        with secured_redis(authority) as server:
            yield server
    except NotReady as reason:
        pytest.skip(f"no redis-server with TLS: {str(reason).splitlines()[0]}")  # the wheel's is built without it


@pytest.fixture(scope="module")
def environments(broker: SecuredCluster, redis: SecuredRedis, authority: Authority) -> dict[str, Environment]:
    """What each role has in its environment, all topics being there; their prefix is none, as on the page."""
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
    """Give a role's command line and workers."""
    return lambda name: Fleet(environments[name], tmp_path, start_worker)


def run(environment: Environment, *arguments: str, **changes: str) -> tuple[int, str]:
    """Run a command in this process, and return its exit code and what it said; no secret is in that."""
    named = {f"FRAUDSTREAM_{name}": text for name, text in (environment | changes).items()}
    done = CliRunner().invoke(main, arguments, env=named)
    assert not [secret for secret in (*SECRETS, WRONG) if secret in done.output]
    return done.exit_code, done.output


def read(environment: Environment) -> Settings:
    return read_settings({f"FRAUDSTREAM_{name}": text for name, text in environment.items()})


def by_certificate(broker: SecuredCluster, authority: Authority, name: str) -> Environment:
    """What of the environment is other where a certificate says who one is."""
    certificate, key = authority.vouch(name)
    return {
        "BROKERS": broker.by_certificate,
        "KAFKA_SECURITY_PROTOCOL": "SSL",
        "KAFKA_SASL_USERNAME": "",
        "KAFKA_SASL_PASSWORD": "",
        "KAFKA_SSL_CERTFILE": str(certificate),
        "KAFKA_SSL_KEYFILE": str(key),
    }


def write_payments(file: Path) -> Path:
    """Write payments that are labelled."""
    rows = [payment(number) | {"fraud": "false", "labelled_at": "2026-01-03T00:00:00Z"} for number in range(PAYMENTS)]
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


def test_each_role_does_its_part_with_the_acls_of_the_page(
    role: Callable[[str], Fleet], broker: SecuredCluster, authority: Authority, tmp_path: Path
) -> None:
    workers = [role("worker").worker(), role("worker").worker(**by_certificate(broker, authority, "worker"))]
    until(lambda: all("no model is live" in str(one.readiness()) for one in workers), "the group is joined")
    role("operator").promote(put_model(role("operator").models))
    for worker in workers:
        worker.await_ready()
    challenged = role("operator").cli("model", "challenge", put_model(role("operator").models, seed=1))
    assert challenged.returncode == 0, challenged.stderr
    file = str(write_payments(tmp_path / "payments.csv"))
    for options in ((), ("--labels",)):
        done = role("producer").cli("publish", file, *options)
        assert done.returncode == 0, done.stderr
    scores = asyncio.run(valid_scores(read(role("consumer").environment), "fraud-desk", PAYMENTS))
    assert Counter(score.transaction_id for score in scores) == {f"t-{number}": 1 for number in range(PAYMENTS)}
    asyncio.run(await_records(read(role("admin").environment), "outcomes", PAYMENTS))
    asyncio.run(await_records(read(role("admin").environment), "shadow-scores", PAYMENTS))
    report = role("operator").cli("shadow", "report", "--json")
    assert report.returncode == 0, report.stderr
    assert json.loads(report.stdout)["compared"] == PAYMENTS
    assert [worker.terminate() for worker in workers] == [0, 0]
    for worker in workers:
        assert "min.insync.replicas below" in worker.log()
        assert not [secret for secret in SECRETS if secret in worker.log()]


@pytest.mark.parametrize(
    ("name", "topic"), [("producer", "scores"), ("producer", "model-control"), ("consumer", "scores")]
)
async def test_nobody_writes_what_is_another_roles(environments: dict[str, Environment], name: str, topic: str) -> None:
    settings = msgspec.structs.replace(read(environments[name]), kafka_idempotence=False)
    producer = AIOKafkaProducer(**producer_options(settings))
    await producer.start()
    try:
        with pytest.raises(TopicAuthorizationFailedError) as refused:
            await producer.send_and_wait(topic, b"{}", partition=0)
    finally:
        await producer.stop()
    said = await explain_error(settings, refused.value)
    assert topic in said
    assert f"the user '{name}' {documented('lacks a permission')}" in said


def test_a_command_of_another_role_is_refused_and_says_why(
    environments: dict[str, Environment], broker: SecuredCluster, authority: Authority, tmp_path: Path
) -> None:
    file = str(write_payments(tmp_path / "payments.csv"))
    nobody = by_certificate(broker, authority, "nobody")
    told = {
        documented("lacks a permission"): run(environments["consumer"], "publish", file),
        documented("is missing, or we may not see it"): run(environments["producer"], "model", "promote", "0" * 64),
        "TopicAuthorizationFailedError": run(environments["consumer"], "topics", "apply", "--partitions", "2"),
        "the owner of": run(environments["operator"], "publish", file, **nobody),
    }
    for complaint, (code, said) in told.items():
        assert complaint in said
        assert code == 1


def test_a_command_that_kafka_does_not_let_in_says_why(
    environments: dict[str, Environment], broker: SecuredCluster, stranger: Authority
) -> None:
    told = {
        documented("the broker refuses the user"): {"KAFKA_SASL_PASSWORD": WRONG},
        documented("the broker's certificate is not trusted"): {"KAFKA_SSL_CAFILE": str(stranger.file)},
        documented("the broker ends the connection"): {"BROKERS": broker.by_certificate},
    }
    for complaint, changes in told.items():
        code, said = run(environments["operator"], "model", "history", **changes)
        assert complaint in said
        assert code == 1


async def test_who_sees_a_topic_and_may_not_read_it_learns_so_at_start(environments: dict[str, Environment]) -> None:
    with pytest.raises(TopicAuthorizationFailedError):
        await check_readable(read(environments["producer"]), "transactions")
    await check_readable(read(environments["worker"]), "scores")


def test_a_worker_that_is_not_let_in_says_why_it_is_not_ready(
    role: Callable[[str], Fleet], stranger: Authority
) -> None:
    start = role("worker").worker
    told = {
        documented("the broker refuses the user"): start(KAFKA_SASL_PASSWORD=WRONG),
        "GroupAuthorizationFailedError": start(GROUP="somebody-elses"),
        documented("Redis's certificate is not trusted"): start(REDIS_CAFILE=str(stranger.file)),
    }
    for complaint, worker in told.items():
        until(lambda worker=worker, wanted=complaint: wanted in str(worker.readiness()), complaint)  # type: ignore[misc]
        said = f"{worker.readiness()} {worker.log()}"
        assert not [secret for secret in (*SECRETS, WRONG) if secret in said]


async def reached(url: str) -> str:
    """Connect as a worker does, and return what is said."""
    store = RedisStore(url, "default", load(None), lambda: 0)
    try:
        await store.connect()
    except (StoreRefusedError, StoreUnavailableError) as error:
        return str(error)
    finally:
        await store.close()
    return "connected"


async def test_a_redis_user_needs_each_command_of_the_page_and_no_other(
    redis: SecuredRedis, authority: Authority
) -> None:
    rules = redis_rules()
    url = f"{redis.url()}?ssl_ca_certs={authority.file}"
    try:
        for command in COMMANDS:
            if command != "subscribe":  # without it, histories that others delete go unnoticed
                redis.allow([rule for rule in rules if rule != f"+{command}"])
                assert documented("Redis forbids this user") in (said := await reached(url))
                assert f"'{command}'" in said
        redis.allow([rule.replace("~fraudstream:*", "~fraudstream:other:*") for rule in rules])
        assert documented("Redis forbids this user") in await reached(url)
    finally:
        redis.allow(rules)
    assert await reached(url) == "connected"


async def test_a_redis_by_another_name_than_its_certificates_is_not_trusted_and_a_wrong_password_not_shown(
    redis: SecuredRedis, authority: Authority
) -> None:
    said = await reached(f"{redis.url(host='localhost')}?ssl_ca_certs={authority.file}")
    assert documented("Redis's certificate is not trusted") in said
    assert "ostname mismatch" in said
    wrong = await reached(f"{redis.url(WRONG)}?ssl_ca_certs={authority.file}")
    assert documented("Redis does not let us in") in wrong
    assert not [secret for secret in (PASSWORD, WRONG) if secret in said + wrong]


def test_a_pair_that_is_none_and_a_key_that_is_encrypted_are_refused(authority: Authority, tmp_path: Path) -> None:
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


def test_a_command_with_settings_that_cannot_be_used_ends_with_2() -> None:
    code, said = run({"REDIS_URL": "rediss://r", "REDIS_CAFILE": "none.pem"}, "topics", "apply", "--partitions", "2")
    assert (code, said) == (2, "FRAUDSTREAM_REDIS_CAFILE: none.pem cannot be read: No such file or directory\n")


def test_every_complaint_of_the_page_is_met_here() -> None:
    text = Path(__file__).read_text()
    assert [complaint for complaint in complaints() if f'documented("{complaint}")' not in text] == []
