"""Incidents as a part of the guard's process: told of on the topic, and sent to the webhook if there is one.

Neither can harm the guard, nor the other: they share nothing but the process, and if one ends by a defect, the log and
`/health/ready` say so.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path

from fraudstream.ops.watch.incidents.checkpoint import IncidentCheckpoint
from fraudstream.ops.watch.incidents.deliveries import Deliveries
from fraudstream.ops.watch.incidents.process import IncidentTeller
from stream.settings import Settings
from stream.tasks import end_tasks, failure_of, log_on_error
from stream.telemetry.metrics import Gauges

log = logging.getLogger("fraudstream.incidents")


class IncidentPart:
    """Tells of incidents, and sends them, until it is cancelled.

    Args:
        settings: those of the guard's process.
        checkpoint: the file of the guard's own checkpoint, if it has one.
    """

    def __init__(self, settings: Settings, checkpoint: Path | None) -> None:
        self._teller = IncidentTeller(settings, None if checkpoint is None else IncidentCheckpoint(checkpoint))
        self._deliveries = Deliveries(settings) if settings.incident_webhook else None
        self._failed: list[str] = []

    def gauges(self) -> Gauges:
        """Return the function that reads each metric."""
        sent = {} if self._deliveries is None else self._deliveries.gauges()
        return {**self._teller.gauges.gauges(), **sent}

    def warnings(self) -> list[str]:
        """Return why incidents are not told of, or not sent, now; empty if they are."""
        sending = None if self._deliveries is None else self._deliveries.trouble
        told = [f"incidents are not told of: {self._teller.trouble}"] if self._teller.trouble else []
        return [*self._failed, *told, *([f"incidents are not sent to the webhook: {sending}"] if sending else [])]

    async def run(self) -> None:
        """Run until cancelled, whatever fails."""
        tasks = [self._start("incidents are not told of", self._teller.run)]
        if self._deliveries is not None:
            tasks.append(self._start("incidents are not sent to the webhook", self._deliveries.run))
        try:
            await asyncio.wait(tasks)
            await asyncio.Event().wait()
        finally:
            await end_tasks(*tasks)

    async def close(self) -> None:
        """Keep what is known, and disconnect; a defect in that is logged, and is none of the guard."""
        closing = asyncio.create_task(self._teller.close())
        await asyncio.wait({closing})
        log_on_error(
            log, "what is known of incidents could not be kept: the next guard reads it from the topics", closing
        )

    def _start(self, missing: str, run: Callable[[], Coroutine[None, None, None]]) -> "asyncio.Task[None]":
        text = f"{missing} any more, until the guard is restarted: a defect ended this part of it"

        def ended(task: "asyncio.Task[None]") -> None:
            log_on_error(log, text, task)
            if failure_of(task) is not None:
                self._failed.append(text)

        task = asyncio.create_task(run())
        task.add_done_callback(ended)
        return task
