"""Connections that log in by SASL, and log in again before the broker ends their session (KIP-368).

aiokafka logs in once; a broker that limits sessions then closes the connection with the next request after the limit.
Here the login is repeated on the live connection, between two requests: those that are written meanwhile are held for
its two exchanges, and sent in their order. So nothing has to be sent again.

The module uses private attributes of aiokafka 0.14, which is pinned.
"""

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiokafka import client as aiokafka_client
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaError, NoError, SaslAuthenticationFailed, UnsupportedSaslMechanismError, for_code
from aiokafka.protocol.admin import SaslAuthenticateRequest, SaslHandShakeRequest
from numpy.random import default_rng

from stream.kafka.tokens import TokenKeeper

log = logging.getLogger("fraudstream.sasl")

_SPREAD = default_rng()
_EARLIEST, _LATEST = 0.8, 0.9
"""The login is repeated after this share of a session, another for each connection; in Kafka's client, 0.85 to 0.95."""
_LEAST_GAIN = 0.2
"""A login by the same token that lets a session last no longer than by this share shows that the token ends it."""
_LEAST_SECONDS = 1.05
"""Brokers refuse a login that follows another one within a second."""
_LONGEST_REASON = 200
_END = b"\x01"
"""A client's answer to a refused token, after which the broker says why (RFC 7628, section 3.2.3)."""

Send = Callable[[Any], Awaitable[Any]]


def use_sasl_connections() -> None:
    """Let all clients of aiokafka in this process connect by `create_connection`: it has no way to pass that."""
    aiokafka_client.create_conn = create_connection


async def create_connection(host: str, port: int, **options: Any) -> "SaslConnection":  # noqa: ANN401 - aiokafka's
    """Connect and log in.

    Raises:
        aiokafka.errors.KafkaError: the broker closes the connection, or refuses the login.
        OSError: it cannot be reached.
    """
    connection = SaslConnection(host, port, **options)
    await connection.connect()
    return connection


class TokenAuthenticator:
    """What a client sends to log in by a token, as aiokafka's authenticators do, until the broker is content."""

    def __init__(self, keeper: TokenKeeper) -> None:
        self.sent = ""
        self._keeper = keeper
        self._refusal = ""

    async def step(self, answer: bytes | None) -> tuple[bytes, bool] | None:
        """Return what is sent next; None once the broker has taken the token.

        A broker that refuses it says so in an answer that is not empty, which aiokafka takes for consent.

        Raises:
            aiokafka.errors.KafkaConnectionError: there is no token.
        """
        if not self.sent:
            self.sent = await self._keeper.token()
            extensions = "".join(f"{name}={value}\x01" for name, value in self._keeper.extensions().items())
            return f"n,,\x01auth=Bearer {self.sent}\x01{extensions}\x01".encode(), True
        if not answer:
            return None
        if self._refusal:
            raise SaslAuthenticationFailed(self._refusal)
        self._refusal = _status(_masked(answer.decode(errors="replace"), self.sent))
        return _END, True


def _masked(refusal: str, token: str) -> str:
    """Return a broker's refusal without the token, which it may quote; of one that is cut off a part would stay."""
    return refusal.replace(token, "…") if token else refusal


def _status(refusal: str, otherwise: str = "refused") -> str:
    """Return the status in a broker's refusal, such as `invalid_token`."""
    try:
        return str(msgspec.json.decode(refusal, type=dict[str, Any])["status"])[:100]
    except (msgspec.DecodeError, ValueError, KeyError):
        return otherwise


def _in_short(refusal: SaslAuthenticationFailed, token: str) -> str:
    """Return a broker's reason in one short line, without the token."""
    reason = _masked(str(refusal.args[0] or "no reason is given"), token)
    return " ".join(_status(reason, reason).split())[:_LONGEST_REASON]


class HeldWriter:
    """In place of a connection's writer while it logs in again: requests wait, and are sent in their order then."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._held: list[bytes] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all but writing is the writer's
        return getattr(self.writer, name)

    def write(self, request: bytes) -> None:
        """Hold a request."""
        self._held.append(request)

    def release(self) -> None:
        """Send what was held."""
        self.writer.writelines(self._held)


class SaslConnection(AIOKafkaConnection):  # type: ignore[misc] # aiokafka ships no types
    """aiokafka's connection, which logs in again in time, and tells why a login was refused."""

    _writer: Any
    _session_ends = 0.0
    _session_s = 0.0
    _token = ""
    _timer: asyncio.TimerHandle | None = None
    _renewal: "asyncio.Task[None] | None" = None

    async def _do_sasl_handshake(self) -> None:
        await self._log_in(self.send(SaslHandShakeRequest(self._sasl_mechanism)), self.send)

    async def _log_in(self, handshake: Awaitable[Any], send: Send) -> None:
        """Go on after the handshake was written; `send` sends the rest of the login.

        Raises:
            aiokafka.errors.KafkaError: the broker closes the connection, or refuses the login.
        """
        answer = await handshake
        error = for_code(answer.error_code)
        if error not in (NoError, UnsupportedSaslMechanismError):  # there are no mechanisms in such an answer
            raise error("the broker refuses the handshake")
        if self._sasl_mechanism not in answer.enabled_mechanisms:
            offered = ", ".join(answer.enabled_mechanisms) or "none"
            raise UnsupportedSaslMechanismError(f"it offers {offered}")
        authenticator, answered, lifetime_ms = self._authenticator(), None, 0
        try:
            while (step := await authenticator.step(answered)) is not None:
                answer = await send(SaslAuthenticateRequest(step[0]))
                if (error := for_code(answer.error_code)) is not NoError:
                    raise error(answer.error_message)
                answered, lifetime_ms = answer.sasl_auth_bytes, getattr(answer, "session_lifetime_ms", 0)
        except SaslAuthenticationFailed as error:
            reason = _in_short(error, getattr(authenticator, "sent", ""))
            self._note_login(reason)
            raise SaslAuthenticationFailed(reason) from None  # else a traceback would have the whole of it
        self._note_login("")
        self._note_token(getattr(authenticator, "sent", ""), lifetime_ms / 1000)
        self._begin_session(lifetime_ms / 1000)

    def _authenticator(self) -> Any:  # noqa: ANN401 - aiokafka's
        match self._sasl_mechanism:
            case "OAUTHBEARER":
                return TokenAuthenticator(self._sasl_oauth_token_provider)
            case "GSSAPI":
                return self.authenticator_gssapi()
            case "PLAIN":
                return self.authenticator_plain()
        return self.authenticator_scram()

    def _note_login(self, refusal: str) -> None:
        if isinstance(keeper := self._sasl_oauth_token_provider, TokenKeeper):
            keeper.note_login(refusal)

    def _note_token(self, token: str, lifetime_s: float) -> None:
        """Note what a login was made by. Where another one by the same token gained nothing, sessions end with it."""
        ends = self._loop.time() + lifetime_s
        if token and token == self._token and ends - self._session_ends < self._session_s * _LEAST_GAIN:
            self._sasl_oauth_token_provider.note_end(token, ends)
        self._token = token

    # --- the next login

    def _begin_session(self, lifetime_s: float) -> None:
        """Plan the next login, if the broker limits the session to so many seconds; 0 if it does not."""
        if lifetime_s <= 0:
            return
        self._session_ends, self._session_s = self._loop.time() + lifetime_s, lifetime_s
        pause = max(_LEAST_SECONDS, lifetime_s * _SPREAD.uniform(_EARLIEST, _LATEST))
        self._timer = self._loop.call_later(pause, _renew, weakref.ref(self))

    def begin_renewal(self) -> None:
        """Log in again, in a task, as soon as there is something to log in with that lasts longer."""
        if self._writer is not None:
            self._renewal = self._loop.create_task(self._renew())

    async def _renew(self) -> None:
        """Log in again; where that fails, the connection is closed, and its client makes another one."""
        try:
            if isinstance(keeper := self._sasl_oauth_token_provider, TokenKeeper):
                await keeper.await_longer(self._token, self._session_ends)
            await self._log_in_again()
        except Exception as error:  # else the connection would hold its requests for ever
            expected = isinstance(error, KafkaError | OSError)  # a time-out is one
            where = f"{self._host}:{self._port}"
            log.warning("%s: the session could not be renewed: %s", where, error, exc_info=not expected)
            self._renewal = None
            self.close(reason=CloseReason.AUTH_FAILURE, exc=error)
        self._renewal = None

    async def _log_in_again(self) -> None:
        """Log in between two requests: what was written before is answered first, what comes meanwhile is held."""
        handshake = self.send(SaslHandShakeRequest(self._sasl_mechanism))
        writer, held = self._writer, HeldWriter(self._writer)
        self._writer = held
        # Where this raises, the connection is closed: what is held is never sent, and its senders try again.
        await self._log_in(handshake, lambda request: self._send_before_held(request, writer, held))
        if self._writer is held:  # else it was closed meanwhile
            self._writer = writer
            held.release()

    def _send_before_held(self, request: Any, writer: asyncio.StreamWriter, held: HeldWriter) -> Awaitable[Any]:  # noqa: ANN401 - aiokafka's
        """Send a request while others are held; answers are told apart by their order, so theirs are expected later."""
        if self._writer is not held:
            raise KafkaError("the connection was closed during a login")
        self._writer = writer
        answer: Awaitable[Any] = self.send(request)  # where this raises, the connection is closed
        self._requests.rotate(1)
        self._writer = held
        return answer

    def close(self, reason: CloseReason | None = None, exc: BaseException | None = None) -> Any:  # noqa: ANN401 - aiokafka's
        """Close the connection, and plan no login any more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._renewal is not None:
            self._renewal.cancel()
        return super().close(reason, exc)


def _renew(reference: "weakref.ref[SaslConnection]") -> None:
    if (connection := reference()) is not None:
        connection.begin_renewal()
