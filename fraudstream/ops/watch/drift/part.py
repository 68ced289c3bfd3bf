"""The watch of live models as a part of the guard's process, beside others; a defect of it ends nothing else."""

import asyncio
import logging
from pathlib import Path

from fraudstream.ops.watch.drift.checkpoint import DriftCheckpoint
from fraudstream.ops.watch.drift.process import DriftWatcher
from stream.settings import PREFIX, Settings
from stream.tasks import end_tasks, failure_of, log_on_error
from stream.telemetry.metrics import Gauges

log = logging.getLogger("fraudstream.drift")

_SHORT = 12
_ENDED = "live models are not watched for drift any more, until the guard is restarted: a defect ended this part of it"


class DriftPart:
    """Watches live models until it is cancelled.

    Args:
        settings: those of the guard's process.
        checkpoint: the file of the guard's own checkpoint, if it has one.
    """

    def __init__(self, settings: Settings, checkpoint: Path | None) -> None:
        self._watcher = DriftWatcher(settings, None if checkpoint is None else DriftCheckpoint(checkpoint))
        self._failed = False

    def gauges(self) -> Gauges:
        """Return the function that reads each metric."""
        return self._watcher.gauges.gauges()

    def warnings(self) -> list[str]:
        """Return why live models are not watched now; empty if they are."""
        if self._failed:
            return [_ENDED]
        trouble, unknown = self._watcher.trouble, self._watcher.unknown
        named = ", ".join(one[:_SHORT] for one in unknown)
        found = [] if trouble is None else [f"live models are not watched for drift: {trouble}"]
        missing = f"models that decide are not in {PREFIX}MODELS, so they are not watched for drift: {named}"
        return [*found, *([missing] if unknown else [])]

    async def run(self) -> None:
        """Run until cancelled, whatever fails."""
        task = asyncio.create_task(self._watcher.run())
        try:
            await asyncio.wait({task})
            log_on_error(log, _ENDED, task)
            self._failed = failure_of(task) is not None
            await asyncio.Event().wait()
        finally:
            await end_tasks(task)

    async def close(self) -> None:
        """Keep what is known, and disconnect; a defect in that is logged, and is none of the guard."""
        closing = asyncio.create_task(self._watcher.close())
        await asyncio.wait({closing})
        log_on_error(log, "what is known of drift could not be kept: the next guard reads the last weeks", closing)
