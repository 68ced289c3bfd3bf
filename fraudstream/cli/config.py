"""`fraudstream config show`: the settings that can change a decision, here or as the workers had them at a time."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import click

from fraudstream.cli.arguments import MomentParam
from fraudstream.cli.lazy import CommandGroup
from fraudstream.cli.output import json_option, refuse, say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.terminal import echo
from models.times import format_time
from models.worker_records import DatedRecord, WorkerRecords
from stream.clock import now_ms
from stream.code_version import code_version
from stream.control.log_reader import LogReader
from stream.deciding_settings import deciding_settings, differing
from stream.kafka.topics import MODEL_EVENTS
from stream.printing import printable
from stream.settings import Settings


@click.group(cls=CommandGroup)
def config() -> None:
    """See the settings that can change a decision."""


@config.command("show")
@click.option(
    "--at",
    "time_ms",
    type=MomentParam(),
    help="Show what each worker of the deployment had at this time (RFC 3339 with a zone, or epoch milliseconds).",
)
@json_option
def show(time_ms: int | None, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Show the settings that can change a decision, and the hash of them that each score carries as `settings`.

    Without a time, those of this environment. With one, those that workers wrote on `model-events` until then, each
    with its last start under other settings or another version; when a worker ended is not on record. Exits with 1 if
    no worker had written any.
    """
    settings = settings_or_refuse()
    if time_ms is None:
        _show_here(settings, as_json=as_json)
        return
    if time_ms > now_ms():
        raise click.UsageError(f"--at: {format_time(time_ms)} is not in the past")
    with Refusals(settings):
        workers = asyncio.run(_read(settings))
    found = workers.at(settings.deployment, time_ms)
    if not found:
        refuse(
            f"no worker of deployment {settings.deployment} had written its settings to model-events until "
            f"{format_time(time_ms)}; those of earlier versions wrote none"
        )
    facts = _facts(workers, found) | {"at": format_time(time_ms), "deployment": settings.deployment}
    say(as_json, facts, "\n".join(_lines(facts)))


def _show_here(settings: Settings, *, as_json: bool) -> None:
    here = deciding_settings(settings)
    facts = {"settings": here.hash, "lines": list(here.lines), "code_version": code_version()}
    say(as_json, facts, "\n".join([f"settings {here.hash}, code {code_version()}", *_indented(here.lines)]))


async def _read(settings: Settings) -> WorkerRecords:
    """Read what workers have said of themselves; a log that lost records is read, with a warning."""
    async with LogReader(settings, reports=()) as reader:
        await reader.read_to_end()
        if (loss := reader.log.why_untrusted(settings.topic(MODEL_EVENTS.name))) is not None:
            echo(f"warning: {loss}; what workers wrote before is not shown", err=True)
        return reader.workers


def _facts(workers: WorkerRecords, found: Mapping[str, DatedRecord]) -> dict[str, Any]:
    """Return the settings with the workers that had them, and in what they differ, as plain JSON."""
    hashes = sorted({one.record.settings for one in found.values()})
    stated = {name: workers.lines(one.record.settings) for name, one in found.items()}
    return {
        "settings": [
            {
                "settings": settings,
                "lines": None if (lines := workers.lines(settings)) is None else list(lines),
                "workers": [
                    {
                        "worker": name,
                        "since": format_time(one.since_ms),
                        "code_version": one.record.code_version,
                        "group": one.record.group,
                    }
                    for name, one in found.items()
                    if one.record.settings == settings
                ],
            }
            for settings in hashes
        ],
        "differ": differing({name: lines for name, lines in stated.items() if lines is not None}),
    }


def _lines(facts: Mapping[str, Any]) -> Iterator[str]:
    yield f"{facts['at']}  deployment {facts['deployment']}"
    for one in facts["settings"]:
        yield f"settings {one['settings']}"
        yield from _indented(one["lines"] if one["lines"] is not None else ("their lines are not on model-events",))
        for worker in one["workers"]:
            code, group = printable(worker["code_version"]), printable(worker["group"])
            yield f"  worker {printable(worker['worker'])} since {worker['since']}, code {code}, group {group}"
    for setting, holders in facts["differ"].items():
        values = (f"{printable(value) or 'empty'} ({', '.join(names)})" for value, names in holders.items())
        yield f"differ: {printable(setting)}: {'; '.join(values)}"


def _indented(lines: tuple[str, ...]) -> Iterator[str]:
    return (f"  {printable(line)}" for line in lines)
