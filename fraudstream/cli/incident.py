"""`fraudstream incident`: what went wrong, since when, and which payments it is about."""

import asyncio
from collections.abc import Sequence

import click
import msgspec
from rich.table import Table

from fraudstream.cli.lazy import CommandGroup
from fraudstream.cli.output import json_option, refuse, say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.console import terminal, wide_terminal
from fraudstream.ops.report.terminal import on_terminal
from fraudstream.ops.watch.incidents.report import report, state_incident
from fraudstream.ops.watch.incidents.texts import amounts_text
from fraudstream.ops.watch.incidents.told import SHORT_ID, ToldIncident, read_incidents
from fraudstream.terminal import echo, echo_json
from stream.settings import Settings

_SHORTEST_PREFIX = 8


@click.group(cls=CommandGroup)
def incident() -> None:
    """See what went wrong: stand-ins in use, halted partitions, missed deadlines, what guards did, and more.

    `fraudstream guard` tells of incidents; without one, nothing new is listed.
    """


@incident.command("list")
@click.option("--open", "only_open", is_flag=True, help="Only those that go on.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="The newest ones.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each, a line each.")
def list_incidents(limit: int, *, only_open: bool, as_json: bool) -> None:
    """List the deployment's incidents, the newest last."""
    settings = settings_or_refuse()
    found = [one for one in _read(settings) if one.last.is_open or not only_open][-limit:]
    if as_json:
        for one in found:
            echo_json(msgspec.json.encode(one.facts()))
    elif found:
        wide_terminal().print(_table(found))
    else:
        echo(f"deployment {settings.deployment} has no {'open ' if only_open else ''}incidents")


@incident.command("report")
@click.argument("name", metavar="[ID]", required=False)
@click.option(
    "--details", "with_details", is_flag=True, help="Add rule, partition, causes and commands: not for customers."
)
@json_option
def report_incident(name: str | None, *, with_details: bool, as_json: bool) -> None:
    """Print a report that can be sent to a customer: what happened, when, how many payments, how much money.

    ID is an incident's, or its first 8 or more digits; by default the newest incident. --json prints the whole record
    that tells of it last, with the report.
    """
    settings = settings_or_refuse()
    one = _chosen(_read(settings), name, settings)
    stated = state_incident(one, with_details=with_details)
    if as_json:
        say(as_json, one.facts() | {"report": report(one)} | stated.facts(), "")
    else:
        terminal().print(on_terminal(stated, has_page=False))


def _read(settings: Settings) -> Sequence[ToldIncident]:
    with Refusals(settings):
        return asyncio.run(read_incidents(settings))


def _chosen(found: Sequence[ToldIncident], name: str | None, settings: Settings) -> ToldIncident:
    """Return the incident that is named; exit with 1 if there is none, or more than one."""
    if not found:
        refuse(f"deployment {settings.deployment} has no incidents")
    if name is None:
        return found[-1]
    if len(name) < _SHORTEST_PREFIX:
        raise click.UsageError(f"ID: expected at least {_SHORTEST_PREFIX} digits of it, got {name!r}")
    named = [one for one in found if one.last.incident_id.startswith(name.lower())]
    if not named:
        refuse(f"deployment {settings.deployment} has no incident {name}; `fraudstream incident list` lists them")
    if len(named) > 1:
        refuse(f"{len(named)} incidents begin with {name}; give more digits")
    return named[0]


def _table(found: Sequence[ToldIncident]) -> Table:
    table = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("incident", "opened", "status", "severity", "rule", "events", "amounts"):
        table.add_column(column, justify="right" if column == "events" else "left", overflow="fold")
    for first, last in found:
        table.add_row(
            last.incident_id[:SHORT_ID],
            f"{first.at[:10]} {first.at[11:19]}",
            "open" if last.is_open else f"over {last.at[11:19]}",
            last.severity,
            last.rule,
            f"{last.events:,}",
            amounts_text(last.amounts),
        )
    return table
