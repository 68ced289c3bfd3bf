"""A Redis server for one test, which can be killed and started again, with its data or without."""

import asyncio
import signal
import time
from pathlib import Path

from redis import Redis as SyncRedis
from redis.asyncio import Redis

from fraudstream.demo.services.processes import Child, free_port
from fraudstream.demo.services.servers import redis_binary

_START_SECONDS = 60.0


class OwnRedis:
    """A server that persists every write, or none if `forgetful`; a restart keeps folder and port."""

    def __init__(self, folder: Path, *, forgetful: bool = False) -> None:
        self.port = free_port()
        options = ["--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        options += ["--appendonly", "no"] if forgetful else ["--appendonly", "yes", "--appendfsync", "always"]
        options += ["--maxmemory-policy", "noeviction", "--notify-keyspace-events", "Ege"]
        command = (redis_binary(), "--port", str(self.port), *options)
        self.client = SyncRedis(port=self.port)
        self._new = lambda: Child(command, folder / "redis.log", {})
        self._child = self._new()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._child = self._new()
        self._child.start()
        deadline = time.monotonic() + _START_SECONDS
        while not asyncio.run(self._answers()):  # soon: tests measure from here on
            assert time.monotonic() < deadline, "redis does not answer"
            time.sleep(0.005)

    def kill(self) -> None:
        self.client.close()
        self._child.kill()

    def pause(self) -> None:
        self._child.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._child.signal(signal.SIGCONT)

    async def empty(self) -> None:
        client = Redis(port=self.port)
        await client.flushall()
        await client.aclose()

    async def _answers(self) -> bool:
        client = Redis(port=self.port)
        try:
            return bool(await client.ping())
        except (OSError, ConnectionError):
            return False
        finally:
            await client.aclose()
