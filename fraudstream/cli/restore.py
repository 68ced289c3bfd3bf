"""`fraudstream model restore`: writes lost events of the control log back, from the snapshot that the judge keeps."""

import asyncio
from collections.abc import Iterator, Mapping
from getpass import getuser
from pathlib import Path
from typing import NamedTuple

import click

from fraudstream.cli.commands import reason_option, verdict_line
from fraudstream.cli.output import json_option, refuse, say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.repository import repository_or_refuse
from fraudstream.cli.settings import refused_settings, settings_or_refuse
from fraudstream.ops.repair.proved_events import unproved_events
from fraudstream.ops.repair.restore import RestoreRequest, plan
from fraudstream.ops.repair.restore import restore as write_back
from fraudstream.terminal import echo
from models.commands import SHORT_DIGEST, Event
from models.errors import RepositoryUnavailableError, UnsealedSnapshotError
from models.snapshot import RestorePlan, read_snapshot
from stream.control.estate import Estate, estate_of
from stream.control.snapshot_store import SnapshotStore
from stream.printing import printable
from stream.redaction import redact_text
from stream.settings import PREFIX, Settings


class Intended(NamedTuple):
    """What would be written: the request and the plan; the events that the log lacks, and why some are not proved."""

    request: RestoreRequest
    plan: RestorePlan
    lacking: tuple[Event, ...]
    unproved: Mapping[str, str]


@click.command("restore")
@click.option(
    "--from",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A copy of a snapshot; by default the one where the judge keeps it.",
)
@click.option(
    "--yes", is_flag=True, help="Write without asking; where nobody can be asked, nothing is written without."
)
@click.option(
    "--force",
    is_flag=True,
    help="Take a snapshot without a seal, too, and acceptances whose signed commands are not on model-control.",
)
@reason_option
@json_option
def restore(file: Path | None, yes: bool, force: bool, reason: str, as_json: bool) -> None:  # noqa: FBT001 - flags
    """Write events that `model-events` has lost back to it, and say which lineup they make.

    It shows each event that the log lacks, who sent its command and why, and what is live before and after, and asks.
    Workers need not be stopped. What the log still has is kept; a second restore finds nothing to do.
    """
    settings = settings_or_refuse()
    with Refusals(settings):
        with refused_settings():
            intended = asyncio.run(_intended(settings, file, reason, force=force))
        planned = intended.plan
        if intended.lacking and not as_json:
            echo("\n".join(printable(redact_text(line)) for line in _lines(intended, force=force)), err=True)
        if planned.problems:
            refuse("\n".join(planned.problems))
        writes = planned.needed and (yes or _is_confirmed())
        if writes:
            asyncio.run(write_back(settings, intended.request))
    say(as_json, _facts(intended, written=writes), _text(planned, written=writes))
    if intended.unproved and not force:
        refuse(f"{len(intended.unproved)} acceptances were left out, since nobody can prove that they were asked for")
    if planned.needed and not writes:
        raise SystemExit(1)


async def _intended(settings: Settings, file: Path | None, reason: str, *, force: bool) -> Intended:
    """Read the snapshot and the log, and plan what to write: without `force`, no event that is not proved."""
    estate = await estate_of(settings)
    store = _store_or_refuse(settings, estate)
    text = store.read() if file is None else file.read_bytes()  # noqa: ASYNC240 - nothing else runs
    snapshot = {} if text is None else _opened(store, text, force=force)
    planned = await plan(settings, snapshot)
    if planned.needed and not snapshot:
        refuse(f"the log has lost records, but there is no snapshot of it at {store.place}; give one by --from")
    request = RestoreRequest(snapshot, settings.actor or getuser(), reason)
    lacking = planned.lacking
    unproved = await unproved_events(settings, estate, lacking) if lacking else {}
    if unproved and force:
        request = request._replace(unproved=tuple(unproved))
    elif unproved:
        request = request._replace(snapshot={name: one for name, one in snapshot.items() if name not in unproved})
        planned = await plan(settings, request.snapshot)
    return Intended(request, planned, lacking, unproved)


def _store_or_refuse(settings: Settings, estate: Estate) -> SnapshotStore:
    if not settings.snapshots:
        repository_or_refuse(settings)
    try:
        return SnapshotStore(settings, estate)
    except RepositoryUnavailableError as error:
        echo(f"{PREFIX}SNAPSHOTS: {error}", err=True)
        raise SystemExit(2) from error


def _opened(store: SnapshotStore, text: bytes, *, force: bool) -> dict[str, bytes]:
    """Return the events of a snapshot that may be used; with `force`, of any that is whole.

    Raises:
        DamagedSnapshotError: it is not.
    """
    try:
        return store.seal.read(text)
    except UnsealedSnapshotError as error:
        if not force:
            refuse(f"the snapshot is not used: {error}. --force takes it all the same")
        return read_snapshot(text)


def _lines(intended: Intended, *, force: bool) -> Iterator[str]:
    """Yield what the log lacks, an event after the other, and what is live before and after."""
    for event in intended.lacking:
        whose = "" if event.deployment == intended.plan.lineup.deployment else f"  deployment {event.deployment}"
        yield f"{verdict_line(event)}{whose}"
        if event.actor is not None:
            yield f"  by {event.actor}: {event.reason or 'no reason given'}"
        if event.event_id in intended.unproved:
            taken = "not proved, and taken by --force" if force else "LEFT OUT"
            yield f"  {taken}: {intended.unproved[event.event_id]}"
    yield f"live now: {_live(intended.plan.live_now)}; after it: {_live(intended.plan.lineup.live)}"


def _live(digest: str | None) -> str:
    return "no model, as far as the log says" if digest is None else digest[:SHORT_DIGEST]


def _is_confirmed() -> bool:
    """Ask; False where the answer is no, or nobody is there to give one."""
    try:
        return click.confirm("Write them?", err=True)
    except click.Abort:
        echo("", err=True)
        return False


def _fact(intended: Intended, event: Event) -> dict[str, object]:
    fields = ("event_id", "at", "deployment", "kind", "command", "command_id", "model", "revision")
    texts = {
        name: None if (text := getattr(event, name)) is None else redact_text(text) for name in ("actor", "reason")
    }
    facts = {name: getattr(event, name) for name in fields} | texts
    return facts | {"not_proved": intended.unproved.get(event.event_id)}


def _facts(intended: Intended, *, written: bool) -> dict[str, object]:
    planned, lineup = intended.plan, intended.plan.lineup
    return {
        "needed": planned.needed,
        "written": written,
        "events": len(planned.events),
        "missing": planned.missing,
        "revision": lineup.revision,
        "live": lineup.live,
        "live_now": planned.live_now,
        "lacking": [_fact(intended, event) for event in intended.lacking],
    }


def _text(planned: RestorePlan, *, written: bool) -> str:
    lineup = planned.lineup
    state = f"revision {lineup.revision} of {lineup.deployment}, live: {(lineup.live or 'no model')[:SHORT_DIGEST]}"
    if not planned.needed:
        return f"nothing is missing: {state}"
    if written:
        return f"{len(planned.events)} events are written back, of which the log lacked {planned.missing}: {state}"
    return (
        f"{len(planned.events)} events would be written, of which the log lacks {planned.missing}: {state}; "
        "write them with --yes"
    )
