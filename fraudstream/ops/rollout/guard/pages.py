"""The pages of a guard's process, on `FRAUDSTREAM_HTTP`: whether it lives, whether it watches, and its metrics."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from stream.errors import SettingsError
from stream.kafka.token_sources import login_trouble
from stream.pages import LIVE, METRICS_TYPE, address_problem, no_page, readiness
from stream.settings import Settings
from stream.telemetry.setup import Telemetry

Lines = Callable[[], Sequence[str]]

_STOP_SECONDS = 2.0


@asynccontextmanager
async def served_pages(
    settings: Settings, telemetry: Telemetry, reasons: Lines, warnings: Lines = tuple
) -> AsyncIterator[None]:
    """Serve `/health/live`, `/health/ready` and `/metrics`, and nothing else, during the block.

    Args:
        settings: the address, and the secrets that no reason may show.
        telemetry: the metrics.
        reasons: why the guard cannot do its work now; it is ready if there is none.
        warnings: what else an operator should know.

    Raises:
        SettingsError: the address cannot be bound, as when a worker on this machine has it.
    """
    secrets = settings.secrets()

    async def root(_request: web.Request) -> web.Response:
        return web.json_response(no_page(), status=404)

    async def live(_request: web.Request) -> web.Response:
        return web.json_response(LIVE)

    async def ready(_request: web.Request) -> web.Response:
        told = list(reasons())
        if (login := login_trouble(settings)) is not None and not any(login in reason for reason in told):
            told.append(login)
        found, status = readiness(told, warnings(), secrets)
        return web.json_response(found, status=status)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=telemetry.metrics(), headers={"Content-Type": METRICS_TYPE})

    app = web.Application()
    handlers = {"/": root, "/health/live": live, "/health/ready": ready, "/metrics": metrics}
    app.add_routes([web.get(path, handler) for path, handler in handlers.items()])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_SECONDS)
    await runner.setup()
    try:
        host, _, port = settings.http.rpartition(":")
        try:
            await web.TCPSite(runner, host or None, int(port)).start()
        except OSError as error:
            raise SettingsError(address_problem(host, int(port), error)) from error
        yield
    finally:
        await runner.cleanup()
