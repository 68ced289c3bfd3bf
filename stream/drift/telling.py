"""Alarms as records of `incidents`: opened once and closed once, however often days are read again, and by whom."""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from models.times import format_time, stated_ms
from models.training_reference import DAY_MS
from stream.contract.incident import Incident, IncidentKind, IncidentRule
from stream.drift.alarm import AlarmKind, DriftAlarm
from stream.drift.fold import DriftNews, WatchedPair
from stream.drift.terms import DriftTerms
from stream.drift.words import alarm_text
from stream.incidents.episode import incident_id
from stream.incidents.rules import RULES
from stream.incidents.told import ToldIncident
from stream.settings import Settings


def alarm_id(deployment: str, pair: WatchedPair, since_day: int) -> str:
    """Return the id of the incident of an alarm: of the model, the arm, and the day on which it began."""
    return incident_id(deployment, IncidentRule.DRIFT, f"{pair.digest} {pair.arm} {since_day}")


def record_of(
    news: DriftNews, told: Mapping[str, ToldIncident], settings: Settings, terms: DriftTerms
) -> Incident | None:
    """Return the record to write of an alarm that was opened or closed; None if nothing is to be told.

    Args:
        news: what the fold says.
        told: the incidents of the deployment that `incidents` has, by id.
        settings: those of the guard that writes.
        terms: those of the watch.
    """
    if news.alarm is None:
        return None
    kind, alarm = news.alarm
    known = [one.last for one in told.values() if _is_of(one.last, settings.deployment, news.pair)]
    is_open = next((one for one in known if one.is_open), None)
    if kind is AlarmKind.OPENED:
        return None if is_open or _is_told(known, alarm) else _filled(news, alarm, settings, terms)
    if is_open is None:
        return None
    return replace(
        _filled(news, alarm, settings, terms),
        incident_id=is_open.incident_id,
        sequence=is_open.sequence + 1,
        since=is_open.since,
    )


def _is_of(incident: Incident, deployment: str, pair: WatchedPair) -> bool:
    """Tell whether an incident is about a model and arm: its id is made of both, and of the day when it began."""
    if incident.rule is not IncidentRule.DRIFT:
        return False
    return incident.incident_id == alarm_id(deployment, pair, stated_ms(incident.since) // DAY_MS)


def _is_told(known: Iterable[Incident], alarm: DriftAlarm) -> bool:
    """Tell whether an alarm is one that is over: days before it are read again by a guard without a checkpoint."""
    since_ms = alarm.since_day * DAY_MS
    return any(stated_ms(one.since) <= since_ms <= stated_ms(one.until) for one in known)


def _filled(news: DriftNews, alarm: DriftAlarm, settings: Settings, terms: DriftTerms) -> Incident:
    is_over = news.alarm is not None and news.alarm[0] is AlarmKind.CLOSED
    rule = RULES[IncidentRule.DRIFT]
    return Incident(
        incident_id=alarm_id(settings.deployment, news.pair, alarm.since_day),
        deployment=settings.deployment,
        rule=IncidentRule.DRIFT,
        severity=rule.severity,
        receivers=rule.receivers,
        kind=IncidentKind.CLOSED if is_over else IncidentKind.OPENED,
        sequence=1 if is_over else 0,
        at=format_time(news.at_ms),
        since=format_time(alarm.since_day * DAY_MS),
        until=format_time(alarm.last_day * DAY_MS - 1),
        events=alarm.payments,
        amounts={},
        decided={},
        reasons={},
        text=alarm_text(news.pair, alarm, terms, is_over=is_over),
        worker=settings.worker_id,
    )
