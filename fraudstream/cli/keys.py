"""`fraudstream keys`: makes the keys with which persons and guards sign commands."""

import os
from pathlib import Path

import click

from fraudstream.cli.extras import needs
from fraudstream.cli.lazy import CommandGroup
from fraudstream.cli.output import json_option, refuse, say
from models.commands import LONGEST_ACTOR
from models.signing import Role, key_id, key_line

_OWNER_ONLY = 0o600


@click.group(cls=CommandGroup)
def keys() -> None:
    """Make keys that sign commands."""


@keys.command("new")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--person", required=True, help="Whose key it is: the actor of the commands that it signs.")
@click.option(
    "--role",
    type=click.Choice([one.value for one in Role]),
    default=Role.OPERATOR.value,
    show_default=True,
    help="What it may do.",
)
@json_option
@needs("signing", "cryptography")
def new(file: Path, person: str, role: str, *, as_json: bool) -> None:
    """Write a new private key to FILE, and print the line for the workers' file of keys.

    FILE must not exist; only its owner may read it. It is for FRAUDSTREAM_SIGNING_KEY where commands are sent from, the
    line for the file that FRAUDSTREAM_COMMAND_KEYS names where workers run.
    """
    from stream.control.ed25519 import PrivateKey  # noqa: PLC0415 - it needs the extra `signing`

    if not 0 < len(person) <= LONGEST_ACTOR:
        raise click.BadParameter(
            f"it has {len(person)} characters; expected 1 to {LONGEST_ACTOR}", param_hint="--person"
        )
    key = PrivateKey.new()
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "wb") as opened:
            opened.write(key.pem)
    except FileExistsError:
        refuse(f"{file} exists, and may be a key that is in use: name another file")
    except OSError as error:
        refuse(f"{file} cannot be written: {error.strerror}")
    line = key_line(key.public, person, Role(role))
    say(as_json, {"file": str(file), "key": key_id(key.public), "person": person, "role": role, "line": line}, line)
