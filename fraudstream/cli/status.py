"""`fraudstream status`: one screen of what is live, what a guard does next, what waits, and what to look at first."""

import asyncio
import time

import click

from fraudstream.cli.arguments import Duration
from fraudstream.cli.model_history import label, names_of_models
from fraudstream.cli.output import json_option, say
from fraudstream.cli.progress import bars
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_for_arms_or_refuse
from fraudstream.cli.watching import watching_options
from fraudstream.console import terminal
from fraudstream.ops.report.terminal import on_terminal
from fraudstream.ops.rollout.guard.finding import Limits
from fraudstream.ops.watch.fleet_sections import state_fleet
from fraudstream.ops.watch.fleet_status import FleetStatus, read_fleet, role_rows
from stream.settings import Settings

_LEAST_SECONDS = 1.0


@click.command()
@click.option(
    "--watch",
    "seconds",
    type=Duration(),
    is_flag=False,
    flag_value="5s",
    help="Look again each 5 s, or as often as is said here, until Ctrl-C; with --json one object a line.",
)
@watching_options
@json_option
def status(seconds: float | None, limits: Limits, *, as_json: bool) -> None:
    """Show who decides, what a guard does next, how far behind each partition is, and what to look at first.

    It joins what `deployment status`, `rollout status` and `incident list --open` read, of the deployment of the
    settings.
    """
    settings = settings_for_arms_or_refuse()
    _show(settings, limits, as_json=as_json, clears=False)
    while seconds is not None:
        time.sleep(max(seconds, _LEAST_SECONDS))
        _show(settings, limits, as_json=as_json, clears=True)


def _show(settings: Settings, limits: Limits, *, as_json: bool, clears: bool) -> None:
    found = _look(settings, limits)
    digests = {digest for _, digest, _ in role_rows(found.lineup, found.at_ms)}
    names = {} if as_json else names_of_models(settings, digests)
    stated = state_fleet(found, lambda digest: label(digest, names))
    if as_json:
        say(as_json, found.facts() | stated.facts(), "")
        return
    screen = terminal()
    if clears:
        screen.clear()
    screen.print(on_terminal(stated, has_page=False))


def _look(settings: Settings, limits: Limits) -> FleetStatus:
    with Refusals(settings), bars() as bar:
        return asyncio.run(read_fleet(settings, limits, lambda done, total: bar("scores", done, total)))
