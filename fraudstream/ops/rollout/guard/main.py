"""The guard's process: its start, its signals, its pages and its exit code."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec

from fraudstream.ops.folds.beside import FoldThreads
from fraudstream.ops.folds.tail import SharedTail
from fraudstream.ops.rollout.guard.checkpoint_file import CheckpointFile
from fraudstream.ops.rollout.guard.finding import Limits
from fraudstream.ops.rollout.guard.pages import served_pages
from fraudstream.ops.rollout.guard.process import Guard
from models.type_info import build_type_info
from stream.clock import now_ms
from stream.code_version import code_version
from stream.errors import StreamError
from stream.logs import log_service_to_stderr, service_formatter
from stream.plain_connections import plain_connections
from stream.settings import Settings
from stream.tasks import end_tasks, failure_of
from stream.telemetry.environment import read as read_telemetry
from stream.telemetry.setup import Telemetry, begin
from stream.watchdog import EXIT_FATAL

log = logging.getLogger("fraudstream.guard")


Beside = Callable[[Settings, Path | None, SharedTail], FoldThreads]
"""Makes what runs beside the guard: from the settings, the path of its checkpoint, and what is read for all."""


def run_guard(settings: Settings, limits: Limits, checkpoint: Path | None, beside: Beside) -> int:
    """Run until SIGTERM or SIGINT, and return the exit code: 0, or 70 after a fatal error.

    Args:
        settings: the deployment's.
        limits: what the guard is told at its start.
        checkpoint: where it keeps what it has counted, if anywhere.
        beside: makes what runs beside it.

    Raises:
        SettingsError: a setting cannot be used, as an address for the web server that another process has.
    """
    secrets = settings.secrets() | read_telemetry(os.environ).secrets
    named = msgspec.structs.replace(settings, worker_id=settings.worker_id or f"guard-{os.getpid()}")
    always = {"deployment": settings.deployment, "worker": named.worker_id}
    log_service_to_stderr(settings.log_level, service_formatter(settings.log_format, secrets, always))
    log.info("fraudstream %s: guard of deployment %s starts", code_version(), settings.deployment)
    for warning in plain_connections(settings, with_redis=False):
        log.warning("%s", warning, extra={"event": "not_encrypted"})
    telemetry = begin(named, os.environ)
    build_type_info()
    try:
        kept = None if checkpoint is None else CheckpointFile(checkpoint)
        tail = SharedTail(named)
        guard = Guard(named, limits, telemetry.operations, kept, tail)
        return asyncio.run(_run(named, telemetry, guard, tail, beside(named, checkpoint, tail)))
    except StreamError:
        raise
    except Exception:
        log.critical("the guard failed", exc_info=True)  # a traceback that Python prints itself is not cleaned
        return EXIT_FATAL
    finally:
        telemetry.stop()


async def _run(settings: Settings, telemetry: Telemetry, guard: Guard, tail: SharedTail, beside: FoldThreads) -> int:
    tail.begin()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    telemetry.watch({**guard.gauges.gauges(), **beside.gauges()})
    async with served_pages(settings, telemetry, lambda: guard.view.reasons(now_ms()), beside.warnings):
        watching, stopping = asyncio.create_task(guard.run()), asyncio.create_task(stopped.wait())
        beside.start()
        try:
            await asyncio.wait({watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done() and (failure := failure_of(watching)) is not None:
                raise failure
        finally:
            await end_tasks(watching, stopping)
            await guard.close()
            await beside.stop()
            await tail.close()
    log.info("the guard ends")
    return 0
