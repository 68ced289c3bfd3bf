"""The process of `fraudstream explain`: its start, its signals, its pages and its exit code."""

import asyncio
import logging
import os
import signal

import msgspec

from features.reasons import ReasonTable
from fraudstream.ops.rollout.guard.pages import served_pages
from fraudstream.ops.watch.explanations.first_look import require_features
from fraudstream.ops.watch.explanations.process import AlertExplainer
from models.type_info import build_type_info
from stream.code_version import code_version
from stream.errors import StreamError
from stream.logs import log_service_to_stderr, service_formatter
from stream.plain_connections import plain_connections
from stream.settings import Settings
from stream.tasks import end_tasks, failure_of
from stream.telemetry.environment import read as read_telemetry
from stream.telemetry.setup import Telemetry, begin
from stream.watchdog import EXIT_FATAL

log = logging.getLogger("fraudstream.explanations")


def run_explain(settings: Settings, table: ReasonTable, since_ms: int | None) -> int:
    """Explain until SIGTERM or SIGINT, and return the exit code: 0, or 70 after a fatal error.

    Args:
        settings: the deployment's.
        table: the reason codes.
        since_ms: from when alerts are explained where nothing was explained yet; None: all that are still there.

    Raises:
        SettingsError: a setting cannot be used, or the deployment's alerts carry no features.
    """
    require_features(settings)
    secrets = settings.secrets() | read_telemetry(os.environ).secrets
    named = msgspec.structs.replace(settings, worker_id=settings.worker_id or f"explain-{os.getpid()}")
    always = {"deployment": settings.deployment, "worker": named.worker_id}
    log_service_to_stderr(settings.log_level, service_formatter(settings.log_format, secrets, always))
    log.info("fraudstream %s: alerts of deployment %s are explained", code_version(), settings.deployment)
    for warning in plain_connections(settings, with_redis=False):
        log.warning("%s", warning, extra={"event": "not_encrypted"})
    telemetry = begin(named, os.environ)
    build_type_info()
    try:
        explainer = AlertExplainer(named, table, since_ms, telemetry.emit, telemetry.operations)
        return asyncio.run(_run(named, telemetry, explainer))
    except StreamError:
        raise
    except Exception:
        log.critical("the process failed", exc_info=True)  # a traceback that Python prints itself is not cleaned
        return EXIT_FATAL
    finally:
        telemetry.stop()


async def _run(settings: Settings, telemetry: Telemetry, explainer: AlertExplainer) -> int:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    telemetry.watch(explainer.gauges.gauges())
    async with served_pages(settings, telemetry, explainer.reasons):
        explaining, stopping = asyncio.create_task(explainer.run()), asyncio.create_task(stopped.wait())
        try:
            await asyncio.wait({explaining, stopping}, return_when=asyncio.FIRST_COMPLETED)
            explainer.stop()
            await asyncio.wait({explaining}, timeout=settings.drain_seconds)
            if explaining.done() and (failure := failure_of(explaining)) is not None:
                raise failure
        finally:
            await end_tasks(explaining, stopping)
    log.info("the process ends")
    return 0
