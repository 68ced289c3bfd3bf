"""Logins by token, with Apache Kafka's own validator: all clients, short tokens under load, and what goes wrong."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.kafka.client import open_admin
from stream.settings import read_settings
from support.certificates import Authority, NoCertificates
from support.fleet.fleet import Fleet, until
from support.fleet.payments import PARTITIONS
from support.fleet.workers import EXPLAIN_COMMAND, GUARD_COMMAND, Worker, patient
from support.kafka.jars import NoJars
from support.oauth.cluster import TokenCluster, login_by
from support.oauth.load import became, load_seconds, send_evenly
from support.oauth.provider import CLIENTS, Provider, running_provider

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2400)]

SHORT_S = 6.0
"""How long tokens last here: each process logs in again on each of its connections every 5 s."""
RATE = 40


class TokenFleet(Fleet):
    """A fleet that logs in by tokens; the tests themselves reach the broker without."""

    cluster: TokenCluster

    @property
    def brokers(self) -> str:
        return self.cluster.brokers


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    try:
        return Authority(tmp_path_factory.mktemp("authority"))
    except NoCertificates as reason:
        pytest.skip(f"no certificates: {reason}")


@pytest.fixture(scope="module")
def started_provider() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def provider(started_provider: Provider) -> Provider:
    """Return the provider without faults, whose tokens last long."""
    one = started_provider
    one.fault, one.lifetime_s, one.audience, one.extra, one.away = None, 600.0, "kafka", {}, False
    return one


@pytest.fixture(scope="module")
def token_cluster(certificates: Authority, started_provider: Provider) -> Iterator[TokenCluster]:
    try:
        cluster = TokenCluster(certificates, started_provider)
    except NoJars as reason:
        pytest.skip(f"no Apache Kafka that takes tokens: {reason}")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def token_environment(
    token_cluster: TokenCluster, provider: Provider, certificates: Authority, redis_url: str, topic_prefix: str
) -> dict[str, str]:
    """The environment of a fleet of the test's own."""
    return login_by(provider, token_cluster, certificates.file) | {
        "REDIS_URL": redis_url,
        "TOPIC_PREFIX": topic_prefix,
        "GROUP": f"{topic_prefix}group",
        "DEPLOYMENT": f"{topic_prefix}deployment",
        "SESSION_TIMEOUT": "3",
    }


@pytest.fixture
def tokens(
    token_environment: dict[str, str],
    token_cluster: TokenCluster,
    tmp_path: Path,
    start_worker: Callable[..., Worker],
) -> TokenFleet:
    """A fleet whose topics were made by a command that logged in by a token."""
    fleet = TokenFleet(token_environment | {"MODELS": str(tmp_path / "models")}, tmp_path, start_worker)
    fleet.cluster = token_cluster
    done = fleet.cli("topics", "apply", "--partitions", str(PARTITIONS), "--replication", "1")
    assert done.returncode == 0, done.stderr
    return fleet


def load(fleet: TokenFleet, first: int, seconds: float) -> range:
    return asyncio.run(send_evenly(fleet.brokers, f"{fleet.prefix}transactions", first, seconds, RATE))


def no_secret_is_in(provider: Provider, *texts: str) -> None:
    secrets = [*CLIENTS.values(), *provider.issued]
    assert not [secret for secret in secrets if any(secret in text for text in texts)]


def refusal(fleet: TokenFleet, *command: str, **changes: str) -> str:
    """Return the one line of a command that cannot log in."""
    done = fleet.cli(*command, **changes)
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith(("warning:", "Unable", "Failed")))
    return line


@pytest.mark.acceptance
@pytest.mark.full_size
def test_tokens_are_renewed_under_load_and_no_payment_is_lost_or_decided_twice_or_waits_a_second(
    tokens: TokenFleet, provider: Provider, report: Callable[[str], None]
) -> None:
    seconds = load_seconds()
    provider.lifetime_s = 30.0 if seconds >= 120 else 6.0
    workers = tokens.go_live(workers=2)
    others = [tokens.worker(GUARD_COMMAND), tokens.worker(EXPLAIN_COMMAND)]
    for other in others:
        other.await_ready()
    warm = load(tokens, 0, 3)
    tokens.await_scores(len(warm))
    asked = len(provider.forms)
    numbers = load(tokens, len(warm), seconds)
    tokens.await_scores(len(warm) + len(numbers), 60)
    found = became(tokens.read("transactions"), tokens.read("scores"), numbers)
    renewed = len(provider.forms) - asked
    payments = f"{len(numbers)} payments in {seconds} s, each process a token in {provider.lifetime_s:g} s"
    report(f"{payments}: {found}, {renewed} tokens")
    assert (found.lost, found.repeated) == (0, 0)
    assert found.longest_ms < 1_000
    assert renewed >= 4 * (seconds / provider.lifetime_s - 1)
    for process in (*workers, *others):
        assert "could not be renewed" not in process.log()
        no_secret_is_in(provider, process.log())
    assert [worker.terminate() for worker in workers] == [0, 0]


@pytest.mark.acceptance
def test_with_short_tokens_members_come_and_go_and_the_broker_restarts(
    tokens: TokenFleet, provider: Provider, token_cluster: TokenCluster
) -> None:
    provider.lifetime_s = SHORT_S
    tokens.go_live(workers=2)
    total = 0
    for step in range(4):
        numbers = load(tokens, total, 8)
        total += len(numbers)
        if step == 0:
            tokens.worker()
        elif step == 1:
            assert tokens.workers[0].terminate() == 0
        elif step == 2:
            token_cluster.stop()
            token_cluster.start()
    tokens.await_scores(total, 90)
    found = became(tokens.read("transactions"), tokens.read("scores"), range(total))
    assert (found.lost, found.repeated) == (0, 0)


def test_while_the_provider_is_away_what_is_connected_goes_on_and_then_the_reason_is_told(
    tokens: TokenFleet, provider: Provider
) -> None:
    provider.lifetime_s = 8.0
    (worker,) = tokens.go_live()
    provider.fault = (503, b"<html>maintenance</html>")
    before = load(tokens, 0, 2)
    tokens.await_scores(len(before))
    assert worker.readiness() == (True, [])
    reasons = worker.await_not_ready()
    said = (
        f"cannot log in to Kafka: the last token has expired, and the token endpoint {provider.endpoint} gives none: "
        "it answered 503, but not with JSON: check FRAUDSTREAM_KAFKA_OAUTH_TOKEN_ENDPOINT"
    )
    until(lambda: said in worker.readiness()[1], f"the reason, not {reasons}")
    assert refusal(tokens, "topics", "check") == said.replace("the last token has expired, and", "no token yet:")
    load(tokens, len(before), 1)
    provider.fault, provider.lifetime_s = None, 600.0
    worker.await_ready()
    tokens.await_scores(len(before) + RATE)
    no_secret_is_in(provider, worker.log())
    assert worker.terminate() == 0


def test_a_token_that_the_broker_refuses_is_told_in_one_line(tokens: TokenFleet, provider: Provider) -> None:
    provider.audience = "another"
    line = refusal(tokens, "topics", "check")
    assert f"the brokers refuse the token of the token endpoint {provider.endpoint}, which says issuer" in line
    assert "audience 'another', subject 'worker', (invalid_token): check the issuer, audience and scope" in line
    no_secret_is_in(provider, line)
    wrong = refusal(tokens, "topics", "check", KAFKA_OAUTH_CLIENT_SECRET="not-this-one")  # noqa: S106
    assert "it answered 401 invalid_client: check FRAUDSTREAM_KAFKA_OAUTH_CLIENT_ID" in wrong
    assert "not-this-one" not in wrong


def test_a_token_file_is_read_again_and_the_login_repeated(
    tokens: TokenFleet, provider: Provider, tmp_path: Path
) -> None:
    """With a swap of links, as the kubelet does it; the first token has ended long before the last payment."""
    provider.lifetime_s = 6.0
    folder = tmp_path / "projected"
    folder.mkdir()

    def project(number: int) -> None:
        (made := folder / f"..{number}").mkdir()
        (made / "token").write_text(provider.token("worker"))
        (folder / "..new").symlink_to(made.name)
        (folder / "..new").replace(folder / "..data")

    project(0)
    (folder / "token").symlink_to("..data/token")
    by_file: dict[str, Any] = {name: "" for name in tokens.environment if name.startswith("KAFKA_OAUTH")}
    (worker,) = tokens.go_live(**by_file, KAFKA_OAUTH_TOKEN_FILE=str(folder / "token"))
    total = 0
    for number in range(1, 4):
        project(number)
        total += len(load(tokens, total, 4))
    tokens.await_scores(total)
    found = became(tokens.read("transactions"), tokens.read("scores"), range(total))
    assert found.longest_ms < 1_000 * patient(1)
    assert (found.lost, found.repeated) == (0, 0)
    assert worker.terminate() == 0


@pytest.mark.acceptance
async def test_an_idle_client_stays_connected_over_many_sessions(tokens: TokenFleet, provider: Provider) -> None:
    provider.lifetime_s = 6.0  # on a busy machine a tenth of a shorter one is too little
    settings = read_settings({f"FRAUDSTREAM_{name}": text for name, text in tokens.environment.items()})
    async with open_admin(settings) as admin:
        await admin.list_topics()
        connections = dict(admin._client._conns)
        await asyncio.sleep(13)
        await admin.list_topics()
        assert {key: admin._client._conns[key] for key in connections} == connections
        assert all(connection.connected() for connection in connections.values())
