"""A receiver of webhooks: a real HTTP server that keeps what was posted, and answers as the test says."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import msgspec
from aiohttp import web

Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Posted(NamedTuple):
    """A request as it came: its headers in small letters, and its body."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """The CloudEvent."""
        found: dict[str, Any] = msgspec.json.decode(self.body)
        return found


def answer(status: int, **headers: str) -> Respond:
    """Return what answers with a status; underscores of a header's name stand for dashes."""

    async def respond(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={name.replace("_", "-"): text for name, text in headers.items()})

    return respond


async def hang(_request: web.Request) -> web.StreamResponse:
    """Answer nothing for an hour."""
    await asyncio.sleep(3600)
    return web.Response()


async def close(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer."""
    assert request.transport is not None
    request.transport.close()
    return web.Response(status=500)


class Receiver:
    """Use it as an asynchronous context. It answers by `script`, one after the other, and with 204 from then on.

    Attributes:
        posted: all requests, accepted or not.
        accepted: those that were answered with 2xx.
        url: where it is, while it runs.
    """

    def __init__(self, script: Sequence[Respond] = (), tls: ssl.SSLContext | None = None) -> None:
        self.posted: list[Posted] = []
        self.accepted: list[Posted] = []
        self.url = ""
        self._script = list(script)
        self._tls = tls
        self._port = 0
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, again on the same port if it was stopped."""
        app = web.Application()
        app.router.add_post("/hook", self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls, reuse_address=True).start()
        _, self._port = self._runner.addresses[0][:2]
        self.url = f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self._port}/hook"

    async def stop(self) -> None:
        """End: connections are refused from now on."""
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        posted = Posted({name.lower(): text for name, text in request.headers.items()}, await request.read())
        self.posted.append(posted)
        response = await (self._script.pop(0) if self._script else answer(204))(request)
        if response.status in range(200, 300) and request.transport is not None:
            self.accepted.append(posted)
        return response
