"""The worker's process: its start, its signals, its exit codes and its HTTP endpoints."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Sequence

import msgspec
from faust.web import Request, Response, View

from models.logins import without_logins
from stream.errors import SettingsError, StreamError
from stream.logs import log_to_stderr
from stream.settings import Settings
from stream.telemetry.environment import read as read_telemetry
from stream.telemetry.setup import Telemetry, begin
from stream.watchdog import EXIT_FATAL, Watchdog, failure_of
from stream.worker.app import WorkerApp

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
log = logging.getLogger("fraudstream.worker")

_PATIENCE_SECONDS = 60.0
_BEAT_SECONDS = 1.0


def add_health(app: WorkerApp) -> None:
    """Serve `/health/live`, `/health/ready` and `/metrics`, the only pages of a worker."""
    secrets = app.settings.secrets()

    @app.page("/health/live")
    async def live(view: View, _request: Request) -> Response:
        """Answer that the process is alive."""
        return view.json({"live": True})

    @app.page("/health/ready")
    async def ready(view: View, _request: Request) -> Response:
        """Answer whether this worker decides, and all reasons if it does not."""
        reasons = [without_logins(reason, secrets) for reason in app.reasons()]
        return view.json({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)

    @app.page("/metrics")
    async def metrics(view: View, _request: Request) -> Response:
        """Return all metrics in Prometheus's text format."""
        return view.bytes(app.telemetry.metrics(), headers={"Content-Type": METRICS_TYPE})


def run_worker(settings: Settings, challenger_command: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT, and return the exit code: 0 after a drain, 70 after a fatal error.

    `challenger_command` starts the process that runs challengers; None starts the product's own.

    Raises:
        SettingsError: a setting cannot be used, as an address for the web server that another process has.
    """
    secrets = settings.secrets() | read_telemetry(os.environ).secrets
    log_to_stderr(logging.INFO, "%(asctime)s %(levelname)s %(name)s: %(message)s", secrets)
    for library in ("aiokafka", "faust", "mode", "stream"):  # mode logs our services as "stream"
        logging.getLogger(library).setLevel(logging.WARNING)
    # The coordinator keeps the client id of the process that a static member's new process replaces.
    name = settings.worker_id or settings.group_instance or default_worker_id()
    named = msgspec.structs.replace(settings, worker_id=name)
    telemetry = begin(named, os.environ)
    try:
        return asyncio.run(_main(named, telemetry, challenger_command))
    except StreamError:
        raise
    except Exception:
        log.critical("the worker failed", exc_info=True)  # a traceback that Python prints itself is not cleaned
        return EXIT_FATAL
    finally:
        telemetry.stop()


def default_worker_id() -> str:
    """Return `<host>-<process id>`, with only letters, digits and hyphens."""
    host = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in socket.gethostname())
    return f"{host[:40]}-{os.getpid()}"


class _Heart:
    """Counts the turns of the event loop, for the watchdog."""

    beats = 0

    async def beat(self) -> None:
        while True:
            self.beats += 1
            await asyncio.sleep(_BEAT_SECONDS)


async def _main(settings: Settings, telemetry: Telemetry, challenger_command: Sequence[str] | None) -> int:
    app = WorkerApp(settings, telemetry, challenger_command)
    add_health(app)
    heart, stopping, loop = _Heart(), asyncio.Event(), asyncio.get_running_loop()
    watchdog = Watchdog(lambda: {"the event loop": heart.beats, **app.pulses()}, _PATIENCE_SECONDS)
    watchdog.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    log.info("worker %s of deployment %s, group %s", settings.worker_id, settings.deployment, settings.group)
    background = [asyncio.create_task(heart.beat()), app.lag.start()]
    starting = asyncio.create_task(app.start())
    crashed = asyncio.create_task(app._crashed.wait())  # noqa: SLF001 - mode has no public wait for it
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    failure = failure_of(starting) if starting.done() else None
    if failure is not None:
        _log_failure(failure)
    elif not stopped.done():
        await asyncio.wait({crashed, stopped}, return_when=asyncio.FIRST_COMPLETED)
    watchdog.count_down(settings.drain_seconds)
    starting.cancel()
    await app.stop()
    for task in (*background, crashed, stopped):
        task.cancel()
    watchdog.stand_down()
    if isinstance(failure, SettingsError):
        raise failure
    return EXIT_FATAL if failure is not None or app.crashed else 0


def _log_failure(failure: BaseException) -> None:
    """Log why the worker could not start, unless the message about a setting says it."""
    if not isinstance(failure, SettingsError):
        log.critical("the worker could not start", exc_info=failure)
