"""From what is to be told of an incident to its record, and from a record back to what was known."""

from msgspec.structs import replace

from fraudstream.ops.watch.incidents.commands import AcceptedCommands
from fraudstream.ops.watch.incidents.episode import Episode, Notice, RuleScope, incident_id
from fraudstream.ops.watch.incidents.exposure import NOTHING, Exposure, decided_names
from fraudstream.ops.watch.incidents.rules import RULES
from fraudstream.ops.watch.incidents.texts import sentence
from fraudstream_client.incidents import Incident, IncidentRule
from models.times import format_time, stated_ms
from stream.settings import Settings

_MS = 1000
_MOST_ACTIONS = 20


def incident_of(notice: Notice, settings: Settings, commands: AcceptedCommands) -> Incident:
    """Return the record that tells of an incident; `settings` are those of the guard that writes it."""
    episode, exposure = notice.episode, notice.exposure
    until_ms = max(episode.since_ms, exposure.last_ms or episode.since_ms)
    at_ms = max(notice.at_s * _MS, episode.since_ms)
    told = Incident(
        incident_id=episode.incident_id,
        deployment=settings.deployment,
        rule=notice.rule,
        severity=episode.severity,
        receivers=RULES[notice.rule].receivers,
        kind=notice.kind,
        sequence=episode.sequence,
        at=format_time(at_ms),
        since=format_time(episode.since_ms),
        until=format_time(until_ms),
        events=exposure.events,
        amounts=dict(sorted(exposure.amounts.items())),
        decided=exposure.decisions(),
        reasons=dict(sorted(exposure.reasons.items())),
        text="",
        worker=settings.worker_id,
        partition=episode.partition,
        opening=episode.opening,
        actions=commands.actions(episode.since_ms, notice.at_s * _MS + _MS - 1)[-_MOST_ACTIONS:],
    )
    return replace(told, text=sentence(told, episode.since_ms, until_ms, settings.deadline_ms))


def scope_of(incident: Incident, commands: AcceptedCommands) -> RuleScope:
    """Return the rule and scope of an incident that was told of."""
    deployment, rule = incident.deployment, incident.rule
    match rule:
        case IncidentRule.PARTITION_HALTED:
            scope = str(incident.partition)
        case IncidentRule.DEAD_LETTERS:
            topic = "" if incident.opening is None else incident.opening.topic
            scope = f"{topic} {next(iter(incident.reasons), '')}"
        case IncidentRule.GUARD_BREACH | IncidentRule.LOSS_ACCEPTED:
            ids = (command.event.event_id for command in commands.commands)
            scope = next((one for one in ids if incident_id(deployment, rule, one) == incident.incident_id), "")
        case _:
            scope = ""
    return RuleScope(deployment, rule, scope)


COUNTED_AGAIN = (IncidentRule.NO_WORKER, IncidentRule.PARTITION_HALTED)
"""Of these, what waited was told as well: what is over is counted from the beginning on."""


def episode_of(incident: Incident) -> Episode:
    """Return what was known of an open incident when it was told of last."""
    since_ms, at_s, until_ms = stated_ms(incident.since), stated_ms(incident.at) // _MS, stated_ms(incident.until)
    is_counted_again = incident.rule in COUNTED_AGAIN
    told = Exposure(
        incident.events,
        incident.amounts,
        decided_names(incident.decided),
        incident.reasons,
        since_ms if incident.events else None,
        until_ms if incident.events else None,
        incident.opening,
    )
    return Episode(
        incident.incident_id,
        since_ms,
        since_ms // _MS,
        at_s if is_counted_again else until_ms // _MS,
        incident.severity,
        incident.opening,
        incident.partition,
        NOTHING if is_counted_again else told,
        opened_s=at_s,
        sequence=incident.sequence,
        told=incident.events,
        from_s=since_ms // _MS if is_counted_again else at_s + 1,
    )
