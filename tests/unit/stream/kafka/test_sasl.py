"""Logins are repeated on live connections, between requests, and a refused one says why."""

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiokafka import client as aiokafka_client
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed, UnsupportedSaslMechanismError

from stream.engine.wire import write
from stream.kafka import sasl, tokens
from stream.kafka.client import explain_error
from stream.kafka.sasl import SaslConnection, TokenAuthenticator, create_connection, use_sasl_connections
from stream.kafka.tokens import Token, TokenKeeper
from stream.settings import Settings
from stream.tasks import until_tick
from support.kafka.sasl_broker import OTHER, SaslBroker, running_broker

LONG = "eyJhbGciOi" * 40
"""Of a token: longer than what is shown of a refusal."""


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sessions be short, which the second between two logins would not allow."""
    monkeypatch.setattr(sasl, "_LEAST_SECONDS", 0.01)
    monkeypatch.setattr(sasl, "_EARLIEST", 0.4)
    monkeypatch.setattr(sasl, "_LATEST", 0.5)
    monkeypatch.setattr(tokens, "_FIRST_PAUSE_SECONDS", 0.05)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await until_tick(0.01)


class Tokens:
    """A source of tokens: each is another one, until it is away."""

    name = "the source"

    def __init__(self, lifetime_s: float = 1e6, text: str = "token") -> None:
        self.lifetime_s, self.text = lifetime_s, text
        self.count = 0
        self.away = False

    def fetch(self) -> Token | str:
        if self.away:
            return "it is away"
        self.count += 1
        return Token(f"{self.text}-{self.count}", self.lifetime_s, "audience 'x'")

    def pause_s(self, lifetime_s: float, spread: float) -> float:
        return lifetime_s * (0.75 + 0.05 * spread)


@asynccontextmanager
async def connected(broker: SaslBroker, source: Tokens, **extensions: str) -> AsyncIterator[SaslConnection]:
    keeper = TokenKeeper(source, extensions)
    async with running_broker(broker):
        options = {"security_protocol": "SASL_PLAINTEXT", "request_timeout_ms": 3_000}
        options |= {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": keeper}
        connection = await create_connection("127.0.0.1", broker.port, **options)
        try:
            yield connection
        finally:
            closed = connection.close()
            await closed


def request(connection: SaslConnection, body: bytes) -> "asyncio.Future[bytes]":
    """Send a request that the broker echoes."""
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    write(connection, (OTHER, 0), [body], lambda frame: frame[4:], answer)
    return answer


async def test_a_token_is_sent_with_its_extensions() -> None:
    broker = SaslBroker()
    async with connected(broker, Tokens(), logicalCluster="lkc-1") as connection:
        assert await request(connection, b"x") == b"x"
    assert broker.logins == [b"n,,\x01auth=Bearer token-1\x01logicalCluster=lkc-1\x01\x01"]


async def test_under_load_the_login_is_repeated_between_requests_and_none_is_lost_or_out_of_order() -> None:
    broker = SaslBroker(session_s=0.2, answer_s=0.002)
    async with connected(broker, Tokens()) as connection:
        begin, answered = time.monotonic(), 0
        longest = 0.0
        while time.monotonic() - begin < 0.8:
            asked = time.monotonic()
            bodies = [b"%d" % (answered + number) for number in range(5)]  # pipelined
            assert await asyncio.gather(*(request(connection, body) for body in bodies)) == bodies
            longest, answered = max(longest, time.monotonic() - asked), answered + len(bodies)
    assert broker.events.count("login") >= 3
    assert broker.events.count("request") == answered
    assert "a request within a login" not in broker.events
    assert broker.expired == 0
    assert longest < 0.2


async def test_an_idle_connection_is_renewed_behind_a_request_that_takes_long() -> None:
    broker = SaslBroker(session_s=0.2, answer_s=0.3)
    async with connected(broker, Tokens()) as connection:
        first = request(connection, b"long poll")
        await asyncio.sleep(0.15)  # the login waits for its answer, and so do the others
        others = [request(connection, body) for body in (b"a", b"b")]
        broker.answer_s = 0.0
        assert await asyncio.gather(first, *others) == [b"long poll", b"a", b"b"]
    assert broker.events == ["handshake", "login", "request", "handshake", "login", "request", "request"]


async def test_with_the_same_token_no_login_is_tried_that_would_not_last_longer_and_the_next_token_ends_the_wait() -> (
    None
):
    source, broker = Tokens(lifetime_s=0.3), SaslBroker(session_s=0.3)
    async with connected(broker, source) as connection:
        source.away = True
        await asyncio.sleep(0.4)
        assert broker.events == ["handshake", "login"]
        assert connection.connected()
        source.away = False
        await until(lambda: len(broker.logins) > 1)
        assert await request(connection, b"x") == b"x"
    assert [login.count(b"token-1") for login in broker.logins] == [1, 0]


async def test_where_a_token_ends_earlier_by_the_brokers_clock_the_next_one_comes_before_they_refuse_it() -> None:
    """As where the clock of the brokers is minutes ahead of the provider's."""
    source, broker = Tokens(), SaslBroker(token_s=0.5)
    async with connected(broker, source) as connection:
        begin = time.monotonic()
        while time.monotonic() - begin < 1.6:
            assert await request(connection, b"x") == b"x"
            await asyncio.sleep(0.01)
    assert (broker.expired, broker.events.count("refused")) == (0, 0)
    assert source.count >= 4


async def test_a_token_that_outlives_sessions_serves_for_many_of_them() -> None:
    source, broker = Tokens(), SaslBroker(session_s=0.2)
    async with connected(broker, source):
        await until(lambda: len(broker.logins) >= 5)
    assert source.count == 1


async def test_a_session_that_ends_without_a_token_costs_the_connection_and_the_reason_is_told() -> None:
    source, broker = Tokens(lifetime_s=0.2), SaslBroker(session_s=0.2)
    async with connected(broker, source) as connection:
        source.away = True
        await asyncio.sleep(0.3)
        with pytest.raises(KafkaConnectionError):
            await request(connection, b"x")
        assert not connection.connected()
        keeper: Any = connection._sasl_oauth_token_provider
        await until(lambda: "away" in str(keeper.trouble()))
        assert keeper.trouble() == (
            "cannot log in to Kafka: the last token has expired, and the source gives none: it is away"
        )


async def test_a_refused_token_is_an_error_with_the_brokers_reason_and_what_the_token_says() -> None:
    broker = SaslBroker(accepts=lambda _: False)
    keeper = TokenKeeper(Tokens(), {})
    async with running_broker(broker):
        options = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "OAUTHBEARER"}
        with pytest.raises(SaslAuthenticationFailed, match="the audience is another"):
            await create_connection("127.0.0.1", broker.port, **options, sasl_oauth_token_provider=keeper)
    assert broker.events == ["handshake", "refused"]
    assert keeper.trouble() == (
        "the brokers refuse the token of the source, which says audience 'x', (the audience is another): check the "
        "issuer, audience and scope that they expect"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("token", "{0} is\nnot for us: {0}" + " and so on" * 1000),
        (LONG, '{{"status":"refused: {0}"}}'),
    ],
    ids=["much", "a long token in the status"],
)
async def test_a_broker_that_quotes_the_token_or_says_much_makes_one_line_without_the_token(
    text: str, message: str
) -> None:
    broker = SaslBroker(accepts=lambda _: False, message=message.format(f"{text}-1").encode())
    keeper = TokenKeeper(Tokens(text=text), {})
    async with running_broker(broker):
        options = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "OAUTHBEARER"}
        with pytest.raises(SaslAuthenticationFailed) as refused:
            await create_connection("127.0.0.1", broker.port, **options, sasl_oauth_token_provider=keeper)
    for told in (str(refused.value), str(keeper.trouble())):
        assert f"{text}-1"[:7] not in told
        assert "\n" not in told
        assert len(told) < 600


async def test_a_challenge_that_quotes_a_long_token_shows_no_part_of_it() -> None:
    authenticator = TokenAuthenticator(TokenKeeper(Tokens(text=LONG), {}))
    await authenticator.step(None)
    await authenticator.step(f'{{"status":"refused: {LONG}-1"}}'.encode())
    with pytest.raises(SaslAuthenticationFailed) as refused:
        await authenticator.step(b"again")
    assert refused.value.args == ("refused: …",)


async def test_a_token_that_is_refused_in_the_midst_of_a_session_closes_the_connection() -> None:
    broker = SaslBroker(session_s=0.2)
    async with connected(broker, Tokens()) as connection:
        broker.accepts = lambda _: False
        waiting = None
        async with asyncio.timeout(5):
            while connection.connected():
                with suppress(KafkaConnectionError):
                    waiting = await request(connection, b"x")
                await asyncio.sleep(0.01)
        assert waiting is not None
        assert "refuse the token" in str(connection._sasl_oauth_token_provider.trouble())


async def test_a_password_is_sent_again_as_well() -> None:
    broker = SaslBroker(session_s=0.2)
    async with running_broker(broker):
        options = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}
        login = {"sasl_plain_username": "ann", "sasl_plain_password": "correct-horse"}
        connection = await create_connection("127.0.0.1", broker.port, **options, **login)
        await until(lambda: len(broker.logins) > 1)
        assert await request(connection, b"x") == b"x"
        await connection.close()
    assert set(broker.logins) == {b"ann\0ann\0correct-horse"}


async def test_a_mechanism_that_the_broker_lacks_is_named() -> None:
    broker = SaslBroker()
    async with running_broker(broker):
        options = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-256"}
        login = {"sasl_plain_username": "ann", "sasl_plain_password": "correct-horse"}
        with pytest.raises(UnsupportedSaslMechanismError, match="offers OAUTHBEARER, PLAIN"):
            await create_connection("127.0.0.1", broker.port, **options, **login)


async def test_a_listener_without_logins_is_not_taken_for_one_that_lacks_the_mechanism() -> None:
    """As Kafka answers on a listener with PLAINTEXT: with an error, and no mechanisms."""
    broker = SaslBroker(handshake=struct.pack(">hi", 34, 0))
    async with running_broker(broker):
        address = f"127.0.0.1:{broker.port}"
        settings = Settings(
            brokers=address,
            kafka_security_protocol="SASL_PLAINTEXT",
            kafka_sasl_username="ann",
            kafka_sasl_password="correct-horse",  # noqa: S106 - a test's
        )
        why = await explain_error(settings, KafkaConnectionError("no broker"))
    assert why.startswith(f"no broker can be used: {address}: the broker expects no login on this port")


def test_all_clients_of_a_process_connect_that_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiokafka_client, "create_conn", aiokafka_client.create_conn)
    use_sasl_connections()
    assert aiokafka_client.create_conn is create_connection
