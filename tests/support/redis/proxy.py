"""A TCP proxy on loopback in front of one Redis server: it passes bytes on, and delays, stalls, swallows and cuts them.

It runs on a thread of its own, so that tests with and without an event loop use it alike, and workers in processes of
their own too. It reads nothing of the protocol but the words that it is told to look for in a request.
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
EVALSHA = b"EVALSHA"
"""What every batch of records and of labels goes through: losing it hits the middle of a call."""


class Loss(Enum):
    """What is lost of one call."""

    REQUEST = "request"
    """The server never hears of it; the connection is cut."""
    REPLY = "reply"
    """The server does it; the answer is thrown away and the connection cut."""
    SILENCE = "silence"
    """The server does it; the answer is thrown away and the connection stays, silent for ever."""


class Connection:
    """One client's connection, and the server's half of it."""

    def __init__(self, client: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self.asks, self.hears = client
        self.lost: Loss | None = None
        self.server: asyncio.StreamWriter | None = None

    def end(self) -> None:
        """Cut the client off; what was passed to the server reaches it."""
        self.hears.transport.abort()
        if self.server is not None:
            self.server.close()


class RedisProxy:
    """Stands in front of the server of `url` while its `with` block lasts; `url` of it is where clients go.

    `delay_s` is how long each request waits on its way. `counts` says what was done: "connections", "cut", and each
    loss by its value. `lost` is set once what `lose` asked for is lost.
    """

    def __init__(self, url: str) -> None:
        self.delay_s = 0.0
        self.counts: Counter[str] = Counter()
        self.lost = threading.Event()
        self._behind = urlsplit(url)
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
    def url(self) -> str:
        """The server's URL, with the proxy's port in it."""
        assert self._server is not None, "the proxy is open only in its with block"
        login, _, _ = self._behind.netloc.rpartition("@")
        port = self._server.sockets[0].getsockname()[1]
        return self._behind._replace(netloc=f"{login}{'@' if login else ''}127.0.0.1:{port}").geturl()

    def lose(self, what: Loss, of: bytes = EVALSHA) -> None:
        """Lose this of the next request that has the word `of` in it."""
        self.lost.clear()
        self._armed = (of, what)

    def spare(self) -> None:
        """Lose nothing after all, if that has not happened yet."""
        self._armed = None

    def switch(self, url: str) -> None:
        """Stand in front of another server from now on, and cut all connections to the one before."""
        self._behind = urlsplit(url)
        self.cut()

    def cut(self) -> None:
        """Cut all connections now, in whatever they are."""
        self._do(self._cut)

    def stall(self) -> None:
        """Let nothing through in either direction, as a server that is stopped would; connections stay open."""
        self._do(self._flowing.clear)

    def resume(self) -> None:
        """End a stall: what waited goes through, though whoever sent it may be gone."""
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
        self._server.close()
        await asyncio.sleep(SETTLE_SECONDS)  # whoever was let in last is served first, so that he can be cut
        while self._connections:  # a busy machine may let in one more meanwhile
            connections = dict(self._connections)
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)
            for connection in connections.values():
                connection.end()  # one that was cancelled before it began has not
                if connection.server is not None:
                    connection.server.transport.abort()  # a server that is stopped would never take what is left
            await asyncio.sleep(SETTLE_SECONDS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection((reader, writer))
        task = asyncio.ensure_future(self._pass_on(connection))
        self._connections[task] = connection
        self.counts["connections"] += 1
        task.add_done_callback(self._connections.pop)

    async def _pass_on(self, connection: Connection) -> None:
        """Serve one client until either side ends."""
        try:
            answers, connection.server = await asyncio.open_connection("127.0.0.1", self._behind.port)
            both = [
                asyncio.ensure_future(self._forth(connection)),
                asyncio.ensure_future(self._back(connection, answers)),
            ]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in both:
                    way.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        except OSError:
            pass  # the server is not there: neither are we
        finally:
            connection.end()

    async def _forth(self, connection: Connection) -> None:
        assert connection.server is not None
        while data := await connection.asks.read(CHUNK_BYTES):
            await asyncio.sleep(self.delay_s)
            await self._flowing.wait()
            connection.lost = self._struck(data) or connection.lost
            if connection.lost is Loss.REQUEST:
                self.lost.set()
                return
            connection.server.write(data)

    async def _back(self, connection: Connection, answers: asyncio.StreamReader) -> None:
        while data := await answers.read(CHUNK_BYTES):
            await self._flowing.wait()
            if connection.lost is None:
                connection.hears.write(data)
                continue
            self.lost.set()
            if connection.lost is Loss.REPLY:
                return

    def _struck(self, data: bytes) -> Loss | None:
        """Tell whether this is the request that was waited for."""
        if self._armed is None or self._armed[0] not in data:
            return None
        (_, loss), self._armed = self._armed, None
        self.counts[loss.value] += 1
        return loss
