"""`fraudstream contract`: prints what others may rely on of the settings' deployment, and compares two contracts."""

import json
from pathlib import Path
from typing import Any

import click
import msgspec

from fraudstream.cli.lazy import CommandGroup
from fraudstream.cli.output import json_option, say
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.contract.acls import acl_script, grants
from fraudstream.contract.asyncapi import asyncapi_document, yaml_text
from fraudstream.contract.changes import changes, unfit
from fraudstream.terminal import echo

DOCUMENT = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(cls=CommandGroup)
def contract() -> None:
    """Print what your programs and your cluster may rely on: topics, records, headers, keys and rights."""


@contract.command()
@click.option(
    "--partitions", type=click.IntRange(min=1), help="Name this number of partitions of the payments' topics."
)
@json_option
def asyncapi(partitions: int | None, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Print the AsyncAPI 3.1 document of this deployment: its topics, records, headers, keys and rights.

    Brokers, topic prefix, deployment, consumer groups and login are those of the settings; no broker is asked. It is
    YAML, or JSON with --json.
    """
    document = asyncapi_document(settings_or_refuse(), partitions)
    echo(json.dumps(document, ensure_ascii=False, indent=2) if as_json else yaml_text(document).rstrip("\n"))


@contract.command()
@json_option
def acls(as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Print the access rules that this deployment needs, as commands of Kafka's kafka-acls.sh for a shell.

    Topics, prefix and consumer groups are those of the settings. The users are called as their roles; nothing is
    granted by this command. With --json: the operations by role, and on which topics or groups.
    """
    settings = settings_or_refuse()
    say(as_json, {"grants": [one._asdict() for one in grants(settings)]}, acl_script(settings))


@contract.command()
@click.argument("old", type=DOCUMENT)
@click.argument("new", type=DOCUMENT, required=False)
@json_option
def diff(old: Path, new: Path | None, as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Compare two AsyncAPI documents, and exit with 1 if NEW breaks readers or writers that rely on OLD.

    OLD and NEW are files of `fraudstream contract asyncapi --json`; without NEW, this version's document stands for
    it, with the settings of this environment. What is only added breaks nothing.
    """
    before = _read(old)
    after = asyncapi_document(settings_or_refuse()) if new is None else _read(new)
    found = changes(before, after)
    breaks = sum(change.is_break for change in found)
    text = "\n".join([*map(str, found), f"{breaks} breaks, {len(found) - breaks} other differences"])
    say(as_json, {"breaks": breaks, "changes": [change._asdict() for change in found]}, text)
    if breaks:
        raise SystemExit(1)


def _read(file: Path) -> dict[str, Any]:
    """Read a document; exit with 2 if it is none of fraudstream's in JSON."""
    try:
        found: Any = msgspec.json.decode(file.read_bytes())
    except msgspec.DecodeError as error:
        raise click.UsageError(
            f"{file} is no JSON ({error}): `fraudstream contract asyncapi --json` writes it"
        ) from None
    if (fault := unfit(found)) is not None:
        raise click.UsageError(f"{file} {fault}")
    whole: dict[str, Any] = found
    return whole
