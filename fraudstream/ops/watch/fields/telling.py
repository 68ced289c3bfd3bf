"""Changes of fields as records of `incidents`: opened once and closed once, by whichever guard.

Fields that stop together are one incident: a producer that leaves out `attributes` is one fault. Its `reasons` name
them, each with the payments that were counted without it.
"""

from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from features.declaration import DAY_MS
from fraudstream.ops.watch.fields.judgement import FieldChange, FieldFindings
from fraudstream.ops.watch.incidents.episode import incident_id
from fraudstream.ops.watch.incidents.rules import RULES
from fraudstream.ops.watch.incidents.texts import joined
from fraudstream_client.incidents import Incident, IncidentKind, IncidentRule
from models.times import format_time, stated_ms
from stream.settings import Settings

LONGEST_DAYS = 7
"""A field that has been absent for so long is taken to be gone for good."""
_MOST_NAMED = 10


def records_of(found: FieldFindings, is_open: Iterable[Incident], settings: Settings) -> Iterator[Incident]:
    """Yield the records to write.

    Args:
        found: what the slots before a time say.
        is_open: the last records of the deployment's open incidents.
        settings: those of the guard that writes.
    """
    known = list(is_open)
    for rule, changes in (
        (IncidentRule.FIELD_STOPPED, found.stopped),
        (IncidentRule.FIELD_BEGUN, found.begun),
    ):
        told = open_fields(known, rule)
        new = [one for one in changes if one.name not in told]
        if new:
            yield _opened(rule, new, found, settings)
    for incident in known:
        text = _over(incident, found)
        if text:
            yield _closed(incident, text, found, settings)


def open_fields(is_open: Iterable[Incident], rule: IncidentRule) -> set[str]:
    """Return the fields that open incidents of a rule are about."""
    return {name for one in is_open if one.rule is rule for name in one.reasons}


def _opened(rule: IncidentRule, changes: Sequence[FieldChange], found: FieldFindings, settings: Settings) -> Incident:
    terms, names = RULES[rule], sorted(one.name for one in changes)
    at, since_ms = format_time(found.at_ms), min(one.since_ms for one in changes)
    return Incident(
        incident_id=incident_id(settings.deployment, rule, f"{','.join(names)} {at}"),
        deployment=settings.deployment,
        rule=rule,
        severity=terms.severity,
        receivers=terms.receivers,
        kind=IncidentKind.OPENED,
        sequence=0,
        at=at,
        since=format_time(since_ms),
        until=at,
        events=max(one.payments for one in changes),
        amounts={},
        decided={},
        reasons={one.name: one.payments for one in changes},
        text=_opened_text(rule, changes, format_time(since_ms)),
        worker=settings.worker_id,
    )


def _opened_text(rule: IncidentRule, changes: Sequence[FieldChange], since: str) -> str:
    shown = [f"{one.name} ({percent(one.share)})" for one in changes[:_MOST_NAMED]]
    more = [f"{len(changes) - _MOST_NAMED} more"] if len(changes) > _MOST_NAMED else []
    names, is_one = joined([*shown, *more]), len(changes) == 1
    if rule is IncidentRule.FIELD_BEGUN:
        return (
            f"Since {since} {'a field comes' if is_one else 'fields come'} that none of the payments of the day before "
            f"had, with the share of the payments that have it: {names}. Features of it that were always absent have "
            "values now: look whether the live model was trained with them"
        )
    return (
        f"Since {since} {'a field does' if is_one else 'fields do'} not come any more, with the share of the payments "
        f"that had it before: {names}. Look at what writes to the topic `transactions`, and whether "
        "`fraudstream_dropped_fields_total` counts them; features of it are absent from the vectors meanwhile"
    )


def _over(incident: Incident, found: FieldFindings) -> str:
    """Return why an incident is over, in a sentence; empty if it is none of fields, or goes on."""
    names = joined(sorted(incident.reasons))
    if incident.rule is IncidentRule.FIELD_BEGUN and not incident.reasons.keys() & {one.name for one in found.begun}:
        comes = incident.reasons.keys() <= found.coming
        return f"{names} came for the first time at {incident.since}, and {'goes on' if comes else 'came no longer'}"
    if incident.rule is not IncidentRule.FIELD_STOPPED:
        return ""
    if incident.reasons.keys() <= found.coming:
        return f"{names} did not come since {incident.since}, and comes again"
    if found.at_ms - stated_ms(incident.since) >= LONGEST_DAYS * DAY_MS:
        return f"{names} did not come since {incident.since}; after {LONGEST_DAYS} days this is taken to be meant so"
    return ""


def _closed(incident: Incident, text: str, found: FieldFindings, settings: Settings) -> Incident:
    return replace(
        incident,
        kind=IncidentKind.CLOSED,
        sequence=incident.sequence + 1,
        at=format_time(found.at_ms),
        until=format_time(found.at_ms),
        text=text,
        worker=settings.worker_id,
    )


def percent(share: float) -> str:
    """Return a share for people: one of 0.4267 is "42.7%"."""
    return f"{100 * share:.3g}%"


def field_lines(found: FieldFindings | None) -> Iterator[tuple[str, str]]:
    """Yield each field that stopped or began, and what to tell of it in a line."""
    if found is None:
        return
    for one in found.stopped:
        yield one.name, f"field {one.name}, which {percent(one.share)} of the payments had, does not come any more"
    for one in found.begun:
        yield one.name, f"field {one.name}, which no payment of the day before had, comes in {percent(one.share)}"
