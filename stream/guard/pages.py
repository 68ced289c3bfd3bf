from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from stream.clock import now_ms


@asynccontextmanager
async def serving(settings: Any, guard: Any, telemetry: Any) -> AsyncIterator[None]:
    app = web.Application()

    async def live(_):
        return web.json_response({"live": True})

    async def ready(_):
        reasons = guard.view.reasons(now_ms())
        return web.json_response({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)

    app.add_routes([web.get("/health/live", live), web.get("/health/ready", ready)])
    runner = web.AppRunner(app)
    await runner.setup()
    host, _, port = settings.http.rpartition(":")
    await web.TCPSite(runner, host, int(port)).start()
    yield
    await runner.cleanup()
