"""A look at a deployment as a report: what to look at first, who decides, what a guard does next, what waits."""

from collections.abc import Callable, Iterator

from fraudstream.ops.report.document import Headline, Provenance, Report, Section, Tone
from fraudstream.ops.report.parts import Note
from fraudstream.ops.report.quantities import Count, Moment, quantity_text
from fraudstream.ops.report.tables import DataTable
from fraudstream.ops.rollout.guard import status as rollout_status
from fraudstream.ops.watch.fields.telling import percent
from fraudstream.ops.watch.fleet_status import FleetStatus, duration_text, look_first, role_rows
from fraudstream.ops.watch.incidents.texts import amounts_text
from fraudstream.ops.watch.incidents.told import SHORT_ID
from models.commands import SHORT_DIGEST
from stream.code_version import code_version

_MOST_PARTITIONS = 8
_MOST_FIELDS = 20
NameOf = Callable[[str], str]
"""Says what a digest is."""


def state_fleet(found: FleetStatus, name: NameOf) -> Report:
    """Return what was found as a report; `name` says what a digest is."""
    return Report(
        f"Deployment {found.state.deployment}",
        _publishing(found),
        _headline(found, name),
        (
            Section("Look at first", (_first(found),)),
            Section("Who decides", (_roles(found, name),)),
            Section("What a guard does next", (Note(points=tuple(rollout_status.lines(found.guard, name))),)),
            Section("Partitions of the input", (_partitions(found),)),
            Section("Open incidents", (_incidents(found),)),
            Section("Fields of payments", (_fields(found),)),
        ),
        Provenance("what the topics, the consumer group and Redis have now", None, None, found.at_ms, code_version()),
    )


def _publishing(found: FleetStatus) -> str:
    term = found.publishers.term
    if found.state.publishes:
        starts = found.publishers.starts
        begun = f" since {quantity_text(Moment(starts[-1].at_ms))}" if starts else ""
        since = f"publishes{begun} (term {term.number})"
    elif term.publisher is None:
        since = "no deployment publishes yet"
    else:
        since = f"silent beside {term.publisher}, which publishes (term {term.number})"
    return f"{since}; revision {found.lineup.revision}; {_workers(found)}"


def _workers(found: FleetStatus) -> str:
    count = len(found.state.workers)
    return "no worker" if not count else "1 worker" if count == 1 else f"{count} workers"


def _headline(found: FleetStatus, name: NameOf) -> Headline:
    live, first = found.lineup.live, look_first(found)
    if live is None or not found.state.workers:
        publisher = found.publishers.term.publisher
        nobody = (
            "Nobody decides"
            if publisher in (None, found.state.deployment)
            else f"Nothing is decided beside {publisher}"
        )
        return Headline(f"{nobody}: {first[0].what}", Tone.BAD)
    worst = found.worst
    behind = "nothing waits" if worst is None else f"the oldest payment waits for {duration_text(worst.waits_ms or 0)}"
    words = f"{name(live)} decides with {_workers(found)}; {behind}"
    if not first:
        return Headline(words, Tone.GOOD)
    return Headline(f"{words}; look at: {first[0].what}", Tone.BAD if found.incidents else Tone.PLAIN)


def _first(found: FleetStatus) -> DataTable:
    rows = tuple((str(at), one.what, one.command) for at, one in enumerate(look_first(found), 1))
    return DataTable("The most urgent first", ("", "What", "Command"), rows)


def _roles(found: FleetStatus, name: NameOf) -> DataTable:
    rows = tuple(
        (role, name(digest), digest[:SHORT_DIGEST], about)
        for role, digest, about in role_rows(found.lineup, found.at_ms)
    )
    return DataTable("Models by role", ("Role", "Model", "Digest", "Share"), rows)


def _partitions(found: FleetStatus) -> DataTable:
    """List those that wait longest; with more than eight the others are counted."""
    ordered = sorted(found.partitions, key=lambda one: (-(one.waits_ms or 0), -one.lag, one.partition))
    more = len(ordered) - _MOST_PARTITIONS
    rows = tuple(
        (str(one.partition), Count(one.lag, "records"), "" if one.waits_ms is None else duration_text(one.waits_ms))
        for one in ordered[:_MOST_PARTITIONS]
    )
    note = f"{more} more partitions wait no longer." if more > 0 else ""
    return DataTable("Not committed yet, the longest wait first", ("Partition", "Lag", "Oldest waits"), rows, note)


def _incidents(found: FleetStatus) -> DataTable:
    return DataTable(
        "By the time of their opening",
        ("Incident", "Severity", "Rule", "Since", "Payments", "Amounts"),
        tuple(_incident_rows(found)),
    )


def _incident_rows(found: FleetStatus) -> Iterator[tuple[str | Count, ...]]:
    for first, last in found.incidents:
        yield (
            last.incident_id[:SHORT_ID],
            last.severity.value,
            last.rule.value,
            first.since,
            Count(last.events),
            amounts_text(last.amounts),
        )


def _fields(found: FleetStatus) -> DataTable | Note:
    """List the fields that stopped or began, and the attributes that nobody declares; the others are counted."""
    fields = found.fields
    if fields is None:
        return Note("They could not be read within seconds; the guard watches them in the background.")
    changed = {one.name: "stopped" for one in fields.stopped} | {one.name: "new" for one in fields.begun}
    rows = [
        (one.name, changed[one.name], _share(one.before), _share(one.now))
        for one in fields.shares
        if one.name in changed
    ]
    rows += [(name, "not declared", "", _share(share)) for name, share in fields.undeclared.items()]
    if not rows:
        return Note(f"Of {len(fields.shares)} optional fields and declared attributes none has stopped or begun.")
    title = f"Of {fields.payments:,} payments of the last 30 minutes"
    return DataTable(title, ("Field", "", "Day before", "Now"), tuple(rows[:_MOST_FIELDS]))


def _share(share: float | None) -> str:
    return "" if share is None else percent(share)
