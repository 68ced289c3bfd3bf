"""`fraudstream limits`: sets and shows what overrules decisions, in all workers of a deployment."""

import asyncio
from typing import Any

import click
from aiokafka.errors import KafkaError

from models.commands import CommandKind
from models.decline_cap import WINDOW, Limits, limits_text
from stream.cli.arguments import CapParam
from stream.cli.commands import reason_option, revision_option, send_kind, wait_option
from stream.cli.output import json_option, say
from stream.cli.settings import refuse_kafka, settings_or_refuse
from stream.control.client import read_fold
from stream.errors import ControlLogError


@click.group()
def limits() -> None:
    """Set and show what overrules decisions: the cap on the share of payments that is declined."""


@limits.command("set")
@click.option(
    "--decline-cap",
    type=CapParam(),
    required=True,
    help=f"Of the last {WINDOW:,} decisions of an arm in a partition, the share that may be declines, e.g. 2%; what is "
    "declined beyond it is reviewed. `off` removes the cap.",
)
@reason_option
@revision_option
@wait_option
@json_option
def set_command(**options: Any) -> None:  # noqa: ANN401 - click's options
    """Set the limits of a deployment's decisions; they hold for every model until they are set again."""
    send_kind(CommandKind.LIMITS, **options)


@limits.command("show")
@json_option
def show_command(as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Show the limits of a deployment's decisions."""
    settings = settings_or_refuse()
    try:
        lineup = asyncio.run(read_fold(settings)).lineup
    except (ControlLogError, KafkaError, OSError) as error:
        refuse_kafka(settings, error)
    found = lineup.limits or Limits()
    facts = {"deployment": lineup.deployment, "revision": lineup.revision, "decline_cap": found.cap and found.cap.share}
    say(as_json, facts, f"revision {lineup.revision}: {_described(found)}")


def _described(limits: Limits) -> str:
    """Return limits for people, with what they mean."""
    if limits.cap is None:
        return limits_text(limits)
    return (
        f"{limits_text(limits)}, that is {limits.cap.most} of the last {WINDOW:,} decisions of an arm in a partition; "
        "what is declined beyond it is reviewed"
    )
