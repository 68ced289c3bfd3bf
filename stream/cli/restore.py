"""`fraudstream model restore`: writes lost events of the control log back, from the snapshot that the judge keeps."""

import asyncio
from getpass import getuser
from pathlib import Path

import click
from aiokafka.errors import KafkaError

from models.errors import ModelError
from models.snapshot import RestorePlan, read_snapshot, snapshot_name
from stream.cli.commands import reason_option
from stream.cli.output import json_option, refuse, say
from stream.cli.repository import repository_or_refuse
from stream.cli.settings import refuse_kafka, settings_or_refuse
from stream.control.restore import RestoreRequest, plan
from stream.control.restore import restore as write_back
from stream.errors import ControlLogError
from stream.kafka.topics import MODEL_EVENTS
from stream.settings import Settings


@click.command("restore")
@click.option(
    "--from",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A copy of a snapshot; by default the one in the model repository.",
)
@click.option("--yes", is_flag=True, help="Write; without it, only say what would be written.")
@reason_option
@json_option
def restore(file: Path | None, yes: bool, reason: str, as_json: bool) -> None:  # noqa: FBT001 - flags
    """Write events that `model-events` has lost back to it, and say which lineup they make.

    Workers need not be stopped. What the log still has is kept; a second restore finds nothing to do.
    """
    settings = settings_or_refuse()
    try:
        request = RestoreRequest(_snapshot(settings, file), settings.actor or getuser(), reason)
        planned = asyncio.run(plan(settings, request.snapshot))
        if planned.needed and not request.snapshot:
            refuse(
                "the log has lost records, but there is no snapshot of it in the model repository; give one by --from"
            )
        if planned.problems:
            refuse("\n".join(planned.problems))
        if yes and planned.needed:
            asyncio.run(write_back(settings, request))
    except (ModelError, ControlLogError, KafkaError, OSError) as error:
        refuse_kafka(settings, error)
    _say(planned, written=yes and planned.needed, as_json=as_json)
    if planned.needed and not yes:
        raise SystemExit(1)


def _snapshot(settings: Settings, file: Path | None) -> dict[str, bytes]:
    """Return the events of a snapshot; none if there is no snapshot."""
    if file is not None:
        return read_snapshot(file.read_bytes())
    name = snapshot_name(settings.topic(MODEL_EVENTS.name), settings.deployment)
    value = repository_or_refuse(settings).read(name)
    return {} if value is None else read_snapshot(value)


def _say(planned: RestorePlan, *, written: bool, as_json: bool) -> None:
    lineup = planned.lineup
    facts = {
        "needed": planned.needed,
        "written": written,
        "events": len(planned.events),
        "missing": planned.missing,
        "revision": lineup.revision,
        "live": lineup.live,
    }
    state = f"revision {lineup.revision} of {lineup.deployment}, live: {(lineup.live or 'no model')[:12]}"
    if not planned.needed:
        text = f"nothing is missing: {state}"
    elif written:
        text = f"{len(planned.events)} events are written back, of which the log lacked {planned.missing}: {state}"
    else:
        text = (
            f"{len(planned.events)} events would be written, of which the log lacks {planned.missing}: {state}; "
            "write them with --yes"
        )
    say(as_json, facts, text)
