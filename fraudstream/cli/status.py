"""`fraudstream status`: one screen of what is live, what a guard does next, what waits, and what to look at first."""

import asyncio
import time

import click

from features.errors import DeclarationError
from features.vector.sets import load_sets
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
from fraudstream.ops.watch.fleet_status import FleetStatus, LookBack, look_first, read_fleet, role_rows
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
@click.option(
    "--check", "checks", is_flag=True, help="Exit with 1 if something is urgent; without it, and with --watch, with 0."
)
@watching_options
@json_option
def status(seconds: float | None, limits: Limits, *, checks: bool, as_json: bool) -> None:
    """Show who decides, what a guard does next, how far behind each partition is, and what to look at first.

    It joins what `deployment status`, `rollout status` and `incident list --open` read, of the deployment of the
    settings. Urgent is what a person is woken for: nobody decides, a page is open, a payment waits for a minute,
    histories lack records, a guard is breached, or none runs to watch a new model.
    """
    settings = settings_for_arms_or_refuse()
    found = _show(settings, limits, as_json=as_json, clears=False)
    while seconds is not None:
        time.sleep(max(seconds, _LEAST_SECONDS))
        _show(settings, limits, as_json=as_json, clears=True)
    if checks and any(one.urgent for one in look_first(found)):
        raise SystemExit(1)


def _show(settings: Settings, limits: Limits, *, as_json: bool, clears: bool) -> FleetStatus:
    found = _look(settings, limits)
    digests = {digest for _, digest, _ in role_rows(found.lineup, found.at_ms)}
    names = {} if as_json else names_of_models(settings, digests)
    stated = state_fleet(found, lambda digest: label(digest, names))
    if as_json:
        say(as_json, found.facts() | stated.facts(), "")
        return found
    screen = terminal()
    if clears:
        screen.clear()
    screen.print(on_terminal(stated, has_page=False))
    return found


def _look(settings: Settings, limits: Limits) -> FleetStatus:
    with Refusals(settings), bars() as bar:
        found = asyncio.run(read_fleet(settings, limits, lambda done, total: bar("scores", done, total)))
    return found._replace(look_back=_look_back(settings))


def _look_back(settings: Settings) -> LookBack:
    """Return how far the features look back; in an emergency that they are not installed here refuses nothing."""
    try:
        return LookBack(load_sets(settings.features).look_back_days)
    except DeclarationError as error:
        return LookBack(unknown=str(error))
