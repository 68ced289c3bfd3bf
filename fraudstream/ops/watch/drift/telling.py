"""Alarms as records of `incidents`: opened once and closed once, however often days are read again, and by whom."""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from fraudstream.ops.watch.drift.alarm import AlarmKind, DriftAlarm
from fraudstream.ops.watch.drift.feed import FeedAlarm, LabelFeed
from fraudstream.ops.watch.drift.fold import DriftNews, WatchedPair
from fraudstream.ops.watch.drift.terms import DriftTerms
from fraudstream.ops.watch.drift.words import alarm_text, feed_over_text, feed_text
from fraudstream.ops.watch.incidents.episode import incident_id
from fraudstream.ops.watch.incidents.rules import RULES
from fraudstream.ops.watch.incidents.told import ToldIncident
from fraudstream_client.incidents import Incident, IncidentKind, IncidentRule
from models.times import format_time, stated_ms
from models.training_reference import DAY_MS
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


def feed_record(feed: LabelFeed, told: Mapping[str, ToldIncident], settings: Settings) -> Incident | None:
    """Return the record to write of the feed of labels, so that `incidents` says what the feed does; None if it does.

    Nothing else is remembered: a guard that reads all days again closes what another one opened.
    """
    if feed.looked_to is None:
        return None
    known = [one.last for one in told.values() if _is_of_feed(one.last, settings.deployment)]
    is_open = next((one for one in known if one.is_open), None)
    alarm = feed.alarm
    if alarm is not None:
        since_ms = alarm.since_day * DAY_MS
        is_told = is_open is not None or any(stated_ms(one.since) <= since_ms <= stated_ms(one.until) for one in known)
        return None if is_told else _filled_feed(alarm, feed, settings)
    if is_open is None or not feed.is_judging or feed.looked_to * DAY_MS <= stated_ms(is_open.at):
        return None
    return replace(
        is_open,
        kind=IncidentKind.CLOSED,
        sequence=is_open.sequence + 1,
        at=format_time(feed.looked_to * DAY_MS),
        until=format_time(feed.looked_to * DAY_MS - 1),
        text=feed_over_text(is_open.since),
        worker=settings.worker_id,
    )


def _is_of_feed(incident: Incident, deployment: str) -> bool:
    return incident.rule is IncidentRule.LABELS_MISSING and incident.deployment == deployment


def _filled_feed(alarm: FeedAlarm, feed: LabelFeed, settings: Settings) -> Incident:
    rule = RULES[IncidentRule.LABELS_MISSING]
    return Incident(
        incident_id=incident_id(settings.deployment, IncidentRule.LABELS_MISSING, str(alarm.since_day)),
        deployment=settings.deployment,
        rule=IncidentRule.LABELS_MISSING,
        severity=rule.severity,
        receivers=rule.receivers,
        kind=IncidentKind.OPENED,
        sequence=0,
        at=format_time((alarm.last_day + 1) * DAY_MS),
        since=format_time(alarm.since_day * DAY_MS),
        until=format_time((alarm.last_day + 1) * DAY_MS - 1),
        events=max(round(one.expected) - one.observed for one in alarm.streams.values()),
        amounts={},
        decided={},
        reasons={},
        text=feed_text(alarm, feed.newest_ms),
        worker=settings.worker_id,
    )
