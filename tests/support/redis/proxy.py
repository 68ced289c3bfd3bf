"""A TCP proxy on loopback in front of one Redis server: it passes, delays, stalls or drops bytes and cuts connections.

It runs on its own thread, for tests with and without an event loop and for workers in other processes. It does not
parse the protocol; it only looks for given words in a request.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, Self
from urllib.parse import urlsplit

CHUNK_BYTES = 1 << 20
SETTLE_SECONDS = 0.05
QUIET_LOOKS = 3
"""A proxy is closed once it had no connection at so many looks in a row."""
EVALSHA = b"EVALSHA"
"""The command that sends every batch of records or labels: losing it interrupts a call in the middle."""


class Loss(Enum):
    """The part of one call that is lost."""

    REQUEST = "request"
    """The request does not reach the server; the connection is cut."""
    REPLY = "reply"
    """The server executes it; the reply is dropped and the connection cut."""
    SILENCE = "silence"
    """The server executes it; the reply is dropped, and the connection stays open without another byte."""


class Connection:
    """One client's connection, and the server's half of it."""

    def __init__(self, client: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self.requests, self.client_writer = client
        self.lost: Loss | None = None
        self.server: asyncio.StreamWriter | None = None

    def end(self) -> None:
        """Cut the client's connection; bytes already passed to the server still reach it."""
        self.client_writer.transport.abort()
        if self.server is not None:
            self.server.close()


class RedisProxy:
    """Listens in front of the server at `url` during its `with` block; clients connect to its own `url`.

    `delay_s` is the delay of each request, `reply_delay_s` of each reply. `counts` holds the number of "connections",
    of those "cut", and of each loss by its value. `lost` is set once the loss that `lose` requested has happened.
    """

    def __init__(self, url: str) -> None:
        self.delay_s = self.reply_delay_s = 0.0
        self.counts: Counter[str] = Counter()
        self.lost = threading.Event()
        self._server_url = urlsplit(url)
        self._armed: tuple[bytes, Loss] | None = None
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="redis-proxy", daemon=True)
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def port(self) -> int:
        assert self._server is not None, "the proxy is open only in its with block"
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """The server's URL, with the proxy's port in it."""
        login, _, _ = self._server_url.netloc.rpartition("@")
        return self._server_url._replace(netloc=f"{login}{'@' if login else ''}127.0.0.1:{self.port}").geturl()

    def lose(self, what: Loss, of: bytes = EVALSHA) -> None:
        """Lose this part of the next call whose request contains the word `of`."""
        self.lost.clear()
        self._armed = (of, what)

    def spare(self) -> None:
        """Cancel a requested loss that has not happened yet."""
        self._armed = None

    def switch(self, url: str, *, cut: bool = True) -> None:
        """Connect to another server from now on, and cut all connections to the previous one unless they may stay."""
        self._server_url = urlsplit(url)
        if cut:
            self.cut()

    def cut(self) -> None:
        """Cut all connections now, in whatever state."""
        self._do(self._cut)

    def stall(self) -> None:
        """Pass nothing in either direction, like a stopped server; connections stay open."""
        self._do(self._flowing.clear)

    def resume(self) -> None:
        """End a stall: waiting bytes are passed, even if their sender has disconnected."""
        self._do(self._flowing.set)

    def _do(self, act: Callable[[], None]) -> None:
        async def done() -> None:
            act()

        self._run(done())

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _cut(self) -> None:
        self.counts["cut"] += len(self._connections)
        for connection in self._connections.values():
            connection.end()

    async def _close(self) -> None:
        assert self._server is not None
        for listener in self._server.sockets:
            self._loop.remove_reader(listener.fileno())  # accept no more
        quiet = 0
        while quiet < QUIET_LOOKS:  # on a busy machine a connection that was accepted is served a while later
            await asyncio.sleep(SETTLE_SECONDS)
            connections = dict(self._connections)
            quiet = 0 if connections else quiet + 1
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)
            for connection in connections.values():
                connection.end()  # a task that was cancelled before it began has not done so
                if connection.server is not None:
                    connection.server.transport.abort()  # a stopped server would never read the rest
        self._server.close()  # last: asyncio leaves a connection open that it accepted but had not yet served by now

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection((reader, writer))
        task = asyncio.ensure_future(self._pass_on(connection))
        self._connections[task] = connection
        self.counts["connections"] += 1
        task.add_done_callback(self._connections.pop)

    async def _pass_on(self, connection: Connection) -> None:
        """Serve one client until either side ends."""
        try:
            answers, connection.server = await asyncio.open_connection("127.0.0.1", self._server_url.port)
            both = [
                asyncio.ensure_future(self._forward_requests(connection)),
                asyncio.ensure_future(self._forward_replies(connection, answers)),
            ]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in both:
                    way.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        except OSError:
            pass  # without a server, the client's connection is closed
        finally:
            connection.end()

    async def _forward_requests(self, connection: Connection) -> None:
        assert connection.server is not None
        while data := await connection.requests.read(CHUNK_BYTES):
            await asyncio.sleep(self.delay_s)
            await self._flowing.wait()
            connection.lost = self._take_loss(data) or connection.lost
            if connection.lost is Loss.REQUEST:
                self.lost.set()
                return
            connection.server.write(data)

    async def _forward_replies(self, connection: Connection, answers: asyncio.StreamReader) -> None:
        while data := await answers.read(CHUNK_BYTES):
            await asyncio.sleep(self.reply_delay_s)
            await self._flowing.wait()
            if connection.lost is None:
                connection.client_writer.write(data)
                continue
            self.lost.set()
            if connection.lost is Loss.REPLY:
                return

    def _take_loss(self, data: bytes) -> Loss | None:
        """Return the requested loss if these bytes contain its word, else None."""
        if self._armed is None or self._armed[0] not in data:
            return None
        (_, loss), self._armed = self._armed, None
        self.counts[loss.value] += 1
        return loss
