"""`fraudstream model`: sends commands about the live model and the challenger, and lists models and verdicts."""

import asyncio
from collections.abc import Callable
from getpass import getuser
from typing import Any

import click
import msgspec
from aiokafka.errors import KafkaError

from models.commands import CommandKind, EventKind
from models.errors import ModelError
from models.problems import Problem
from stream.cli.commands import reason_option, send, verdict_text, wait_option
from stream.cli.output import Command, json_option, refuse, say
from stream.cli.repository import existing_repository_or_refuse
from stream.cli.restore import restore
from stream.cli.settings import refuse_kafka, settings_or_refuse
from stream.clock import now_ms
from stream.control.client import CommandRequest, read_events, read_fold
from stream.errors import ControlLogError
from stream.settings import read_seconds


@click.group()
def model() -> None:
    """Choose the live model and the challenger; models are named by digest, or an unambiguous prefix of 8 or more."""


def _wish_options(function: Command) -> Command:
    """Add the options that all commands to the workers have."""
    for option in (
        reason_option,
        click.option(
            "--expected-revision",
            type=click.IntRange(0),
            help="The command is void if the revision is another; by default the present one.",
        ),
        wait_option,
        click.option("--force", is_flag=True, help="Do not wait for workers to be ready."),
        json_option,
    ):
        function = option(function)
    return function


class Duration(click.ParamType):
    """Reads `30min`, `90 s` or `0` as seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds, or fail with what was expected."""
        seconds = read_seconds(str(value))
        if isinstance(seconds, str):
            self.fail(f"{value!r} is not a duration such as 90, 30min or 2h", param, ctx)
        return seconds


_watch_option = click.option(
    "--watch", type=Duration(), help="How long the previous model stays in the shadow, e.g. 30min; 0: not at all."
)


def _command(kind: CommandKind, name: str, help_text: str) -> None:
    """Register one command to the workers."""
    takes_model = kind in (CommandKind.CHALLENGE, CommandKind.PROMOTE)

    def run(digest: str | None = None, **options: Any) -> None:  # noqa: ANN401 - click's options
        settings, as_json = settings_or_refuse(), options.pop("as_json")
        request = CommandRequest(kind=kind, model=digest, actor=settings.actor or getuser(), **options)
        send(settings, request, as_json=as_json)

    decorated: Callable[..., None] = _wish_options(run)
    if kind is CommandKind.PROMOTE:
        decorated = _watch_option(decorated)
    if takes_model:
        decorated = click.argument("digest", metavar="MODEL")(decorated)
    model.command(name, help=help_text)(decorated)


_command(
    CommandKind.CHALLENGE, "challenge", "Put MODEL into the shadow: it scores the same transactions as the live model."
)
_command(CommandKind.WITHDRAW, "withdraw", "Take the challenger out of the shadow.")
_command(CommandKind.PROMOTE, "promote", "Make MODEL live, once every worker is ready with it.")
_command(CommandKind.ROLL_BACK, "rollback", "Return to the model that was live before.")
_command(CommandKind.DEMOTE, "demote", "Return to the model that was live before, and quarantine the live one.")


@model.command("list")
@json_option
def list_models(as_json: bool) -> None:  # noqa: FBT001 - a flag
    """List the models in the repository, and mark those of the lineup."""
    settings = settings_or_refuse()
    try:
        digests = sorted(existing_repository_or_refuse(settings).digests())
        lineup = asyncio.run(read_fold(settings)).lineup
    except (ModelError, ControlLogError, KafkaError, OSError) as error:
        refuse_kafka(settings, error)
    challenger = lineup.challenger_at(now_ms())
    roles = {lineup.rollback_target: "before", challenger: "challenger", lineup.live: "live"}
    rows = [{"digest": digest, "role": roles.get(digest)} for digest in digests]
    text = "\n".join(f"{row['digest']}  {row['role'] or ''}".rstrip() for row in rows) or "the repository is empty"
    say(as_json, {"models": rows, "revision": lineup.revision}, text)


@model.command("show")
@click.argument("digest", metavar="MODEL")
def show(digest: str) -> None:
    """Print a model's manifest as JSON."""
    repository = existing_repository_or_refuse(settings_or_refuse())
    try:
        found = repository.resolve(digest)
        if isinstance(found, Problem):
            refuse(found.detail)
        click.echo(repository.fetch(found)["manifest.json"].decode())
    except ModelError as error:
        refuse(str(error))


@model.command("history")
@json_option
def history(as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Print all verdicts of the deployment, oldest first."""
    settings = settings_or_refuse()
    try:
        events = asyncio.run(read_events(settings))
    except (ControlLogError, KafkaError, OSError) as error:
        refuse_kafka(settings, error)
    for event in events:
        if event.kind in (EventKind.ACCEPTED, EventKind.REFUSED):
            say(as_json, msgspec.to_builtins(event), verdict_text(event))


model.add_command(restore)
