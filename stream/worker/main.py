"""The worker's process: its start, its signals, its exit codes and its HTTP endpoints."""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence

import msgspec
from faust.web import Request, Response, View

from models.type_info import build_type_info
from stream.errors import SettingsError, StreamError
from stream.logs import log_service_to_stderr, service_formatter
from stream.pages import LIVE, METRICS_TYPE, no_page, readiness
from stream.settings import Settings
from stream.tasks import end_tasks, failure_of, until_tick
from stream.telemetry.environment import read as read_telemetry
from stream.telemetry.setup import Telemetry, begin
from stream.watchdog import EXIT_FATAL, Watchdog
from stream.worker.app import WorkerApp
from stream.worker.lifecycle import Drain, log_start

log = logging.getLogger("fraudstream.worker")

_PATIENCE_SECONDS = 60.0
_SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter from the other: Python's 5 ms would hold up the next fetch for a batch."""
_BEAT_SECONDS = 1.0
_YOUNG_OBJECTS = 5_000
"""So many new objects wait for the garbage collector: 700 by default, which is every batch or two."""


def add_health(app: WorkerApp) -> None:
    """Serve `/health/live`, `/health/ready` and `/metrics`, the only pages of a worker; `/` names them, with a 404."""
    secrets = app.settings.secrets()

    @app.page("/")
    async def root(view: View, _request: Request) -> Response:
        """Answer what there is instead."""
        return view.json(no_page(), status=404)

    @app.page("/health/live")
    async def live(view: View, _request: Request) -> Response:
        """Answer that the process is alive."""
        return view.json(LIVE)

    @app.page("/health/ready")
    async def ready(view: View, _request: Request) -> Response:
        """Answer whether this worker decides, all reasons if it does not, and what else an operator should know."""
        found, status = readiness(app.reasons(), app.warnings(), secrets)
        return view.json(found, status=status)

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
    # The coordinator keeps the client id of the process that a static member's new process replaces.
    name = settings.worker_id or settings.group_instance or default_worker_id()
    named = msgspec.structs.replace(settings, worker_id=name)
    always = {"deployment": settings.deployment, "worker": name}
    log_service_to_stderr(settings.log_level, service_formatter(settings.log_format, secrets, always))
    log_start(named)
    telemetry = begin(named, os.environ)
    build_type_info()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        return asyncio.run(_run(named, telemetry, challenger_command))
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
            await until_tick(_BEAT_SECONDS)


def _log_failed_start(failure: BaseException) -> None:
    """Log why the worker could not start, unless the message about a setting says it."""
    if not isinstance(failure, SettingsError):
        log.critical("the worker could not start", exc_info=failure)


class _Stopping:
    """Set by SIGTERM or SIGINT; `cause` is the first signal's name, until then what else ends a worker."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.cause = "fatal error"

    def handle_signals(self) -> None:
        """Be set by the signals that stop a worker."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._set, number)

    def _set(self, number: signal.Signals) -> None:
        if not self.event.is_set():
            self.cause = number.name
            self.event.set()


async def _run(settings: Settings, telemetry: Telemetry, challenger_command: Sequence[str] | None) -> int:
    """Run a worker, and end what it leaves: `asyncio.run` would cancel that once, and wait for ever if that is lost."""
    try:
        return await _main(settings, telemetry, challenger_command)
    finally:
        await end_tasks(*(asyncio.all_tasks() - {asyncio.current_task()}))


async def _main(settings: Settings, telemetry: Telemetry, challenger_command: Sequence[str] | None) -> int:
    app = WorkerApp(settings, telemetry, challenger_command)
    add_health(app)
    heart, stopping = _Heart(), _Stopping()
    watchdog = Watchdog(lambda: {"the event loop": heart.beats, **app.pulses()}, _PATIENCE_SECONDS)
    watchdog.start()
    stopping.handle_signals()
    background, watching = (asyncio.create_task(heart.beat()), app.lag.start()), app.lifecycle.start()
    starting = asyncio.create_task(app.start())
    failure = await _failure_before_stop(app, starting, stopping)
    watching.cancel()  # that the worker leaves its group is no news now
    refused = failure if isinstance(failure, SettingsError) else None
    drain = Drain.begin(stopping.cause, settings.drain_seconds, app.facts) if refused is None else None
    watchdog.count_down(settings.drain_seconds)
    starting.cancel()
    await app.stop()
    await end_tasks(*background)
    watchdog.stand_down()
    if refused is not None:
        raise refused
    code = EXIT_FATAL if failure is not None or app.crashed else 0
    if drain is not None:
        drain.end(code, app.facts)
    return code


def _freeze_objects() -> None:
    """Let the garbage collector leave out what lives as long as the process: 150,000 objects.

    To go through them took 100 to 400 ms every few seconds under load, in which no payment was decided.
    """
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


async def _failure_before_stop(
    app: WorkerApp, starting: "asyncio.Task[None]", stopping: _Stopping
) -> BaseException | None:
    """Wait until the worker is stopped, has crashed or cannot start; return why it could not start."""
    crashed = asyncio.create_task(app._crashed.wait())  # noqa: SLF001 - mode has no public wait for it
    stopped = asyncio.create_task(stopping.event.wait())
    await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    failure = failure_of(starting) if starting.done() else None
    if failure is not None:
        _log_failed_start(failure)
    elif not stopped.done():
        _freeze_objects()
        await asyncio.wait({crashed, stopped}, return_when=asyncio.FIRST_COMPLETED)
    crashed.cancel()
    stopped.cancel()
    return failure
