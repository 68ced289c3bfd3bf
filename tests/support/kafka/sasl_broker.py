"""A broker that knows logins and nothing else: it ends sessions, and counts what comes at a wrong moment."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HANDSHAKE, VERSIONS, AUTHENTICATE, OTHER = 17, 18, 36, 3
_KNOWN = ((HANDSHAKE, 0, 1), (VERSIONS, 0, 0), (AUTHENTICATE, 0, 1), (OTHER, 0, 0))


def text(value: bytes) -> bytes:
    return struct.pack(">h", len(value)) + value


def blob(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


@dataclass
class SaslBroker:
    """Takes every login that `accepts` does, each for a session of `session_s`; echoes other requests.

    With `token_s`, a token lasts so long from its first login on, and a session no longer than its token.
    """

    session_s: float = 0.0
    token_s: float = 0.0
    accepts: Callable[[bytes], bool] = lambda _: True
    port: int = 0
    answer_s: float = 0.0
    logins: list[bytes] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    expired: int = 0
    handshake: bytes = struct.pack(">hi", 0, 2) + text(b"OAUTHBEARER") + text(b"PLAIN")
    ends: dict[bytes, float] = field(default_factory=dict)
    challenge: bytes = b'{"status":"invalid_token"}'
    message: bytes = b"the audience is another"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop, ends = asyncio.get_running_loop(), None
        logging_in = False
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                frame = await reader.readexactly(size)
                key, _, number = struct.unpack(">hhi", frame[:8])
                (length,) = struct.unpack(">h", frame[8:10])
                body = frame[10 + length :]
                if key == VERSIONS:
                    answer = struct.pack(">hi", 0, len(_KNOWN)) + b"".join(struct.pack(">hhh", *one) for one in _KNOWN)
                elif key == HANDSHAKE:
                    self.events.append("handshake")
                    logging_in = True
                    answer = self.handshake
                elif key == AUTHENTICATE:
                    session_s = self._session(body[4:], loop.time())
                    answer, logging_in = self._login(body[4:], session_s)
                    ends = loop.time() + session_s if session_s else None
                elif logging_in:
                    self.events.append("a request within a login")
                    return
                elif ends is not None and loop.time() > ends:
                    self.expired += 1
                    return
                else:
                    self.events.append("request")
                    await asyncio.sleep(self.answer_s)
                    answer = body
                writer.write(struct.pack(">ii", len(answer) + 4, number) + answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _session(self, sent: bytes, now: float) -> float:
        if not self.token_s or sent == b"\x01":
            return self.session_s
        return self.ends.setdefault(sent, now + self.token_s) - now

    def _login(self, sent: bytes, session_s: float) -> tuple[bytes, bool]:
        if sent == b"\x01":
            self.events.append("refused")
            return struct.pack(">h", 58) + text(self.message) + blob(b"") + struct.pack(">q", 0), True
        self.logins.append(sent)
        if not self.accepts(sent) or session_s < 0:
            return struct.pack(">h", 0) + text(b"") + blob(self.challenge) + struct.pack(">q", 0), True
        self.events.append("login")
        return struct.pack(">h", 0) + text(b"") + blob(b"") + struct.pack(">q", int(session_s * 1000)), False


@asynccontextmanager
async def running_broker(broker: SaslBroker) -> AsyncIterator[SaslBroker]:
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    broker.port = server.sockets[0].getsockname()[1]
    try:
        yield broker
    finally:
        server.close()
        await server.wait_closed()
