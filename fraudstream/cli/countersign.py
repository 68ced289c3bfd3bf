"""`fraudstream model countersign`: approves a command that another person sent."""

import asyncio
import json
from getpass import getuser

import click
import msgspec

from fraudstream.cli.commands import reason_option, refused_arguments, send, wait_option
from fraudstream.cli.output import json_option, refuse
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.terminal import echo
from models.commands import Command, CommandKind
from stream.control.client import CommandRequest, read_commands
from stream.printing import printable
from stream.redaction import redact_text
from stream.settings import PREFIX, Settings

_NOT_SHOWN = frozenset({"schema", "command_id", "exclude_key_check"})


@click.command()
@click.argument("command_id")
@click.option("--yes", is_flag=True, help="Do not ask whether the command that is shown is meant.")
@reason_option
@wait_option
@json_option
def countersign(command_id: str, reason: str, wait: float, *, yes: bool, as_json: bool) -> None:
    """Approve COMMAND_ID, which another person sent and which waits for it.

    It shows what is approved, and asks. Needs FRAUDSTREAM_SIGNING_KEY, a key of another person than the sender's.
    """
    settings = settings_or_refuse()
    if not settings.signing_key:
        raise click.UsageError(f"{PREFIX}SIGNING_KEY is empty: name the file of your private key, which signs it")
    with refused_arguments():
        request = CommandRequest(
            CommandKind.COUNTERSIGN, settings.actor or getuser(), reason, wait, countersigns=command_id
        )
    echo(_described(_find(settings, command_id)), err=True)
    if not yes:
        click.confirm("Countersign it?", abort=True, err=True)
    send(settings, request, as_json=as_json)


def _find(settings: Settings, command_id: str) -> Command:
    """Return the command as the judge sees it: the first record with this id."""
    with Refusals(settings):
        found = asyncio.run(read_commands(settings)).get(command_id)
    if found is None:
        refuse(f"deployment {settings.deployment} was sent no command {command_id}: its sender was told the id")
    return found


def _described(command: Command) -> str:
    """Return all that a command asks for, a line for each field, without card numbers; of excluded cards how many."""
    fields = {name: value for name, value in msgspec.to_builtins(command).items() if name not in _NOT_SHOWN}
    if command.exclude:
        fields["exclude"] = f"{len(command.exclude):,} cards"
    lines = (f"  {name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in fields.items())
    return "\n".join(printable(redact_text(line)) for line in (f"command {command.command_id}", *lines))
