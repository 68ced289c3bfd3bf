"""`fraudstream features rebuild`: rebuilds all histories from Kafka, and shows progress, rate and remaining time."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from features.vector.sets import FeatureSets
from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.output import say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.console import terminal
from fraudstream.ops.repair.rebuild import read_offsets, rebuild_here, start_rebuild, watch_workers
from stream.recovery.repair import RepairStatus
from stream.settings import Settings


def rebuild(reason: str, as_json: bool, *, here: bool) -> None:  # noqa: FBT001 - a flag
    """Rebuild all histories, and show the progress until it is done."""
    settings = settings_or_refuse()
    sets = features_or_refuse(settings.features)
    began = time.monotonic()
    with Refusals(settings):
        seen, epoch = asyncio.run(_rebuild(settings, sets, reason, here=here))
    found = facts(seen, epoch, time.monotonic() - began)
    text = "{applied:,} records applied in {seconds:.1f} s, {records_per_second:,.0f} a second; history epoch {epoch}"
    say(as_json, found, text.format_map(found))


def facts(seen: RepairStatus, epoch: int, seconds: float) -> dict[str, Any]:
    """Return the result of a rebuild as one object."""
    rate = seen.applied / seconds
    return {"epoch": epoch, "applied": seen.applied, "seconds": round(seconds, 3), "records_per_second": round(rate, 1)}


async def _rebuild(settings: Settings, sets: FeatureSets, reason: str, *, here: bool) -> tuple[RepairStatus, int]:
    predictions = sets.has_predictions
    ends = await read_offsets(settings, predictions=predictions) if here else None
    async with start_rebuild(settings, sets, reason) as rebuild:
        progress = watch_workers(rebuild) if ends is None else rebuild_here(rebuild, ends)
        return await _shown(progress), rebuild.store.history_epoch


async def _shown(progress: AsyncIterator[RepairStatus]) -> RepairStatus:
    """Draw a progress bar on standard error, and return the last status."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    last = RepairStatus({}, {})
    with Progress(*columns, console=terminal(stderr=True)) as bar:
        task = bar.add_task("waiting for a worker", total=None)
        async for seen in progress:
            state = f"{seen.parts_done} of {seen.parts} parts" if seen.progress else "waiting for a worker"
            bar.update(task, description=state, completed=seen.applied, total=seen.wanted or None)
            last = seen
    return last


class _Rate(ProgressColumn):
    """Shows the recent rate, in records a second."""

    def render(self, task: Task) -> Text:
        """Return the rate, or nothing until it is known."""
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")
