"""One incident of one rule, second by second: it is pending, then open, then over.

A pure function of what its rule reads in each second, so that two guards, and one that was restarted, tell the same.
"""

import hashlib
from typing import NamedTuple

import msgspec

from fraudstream.ops.watch.incidents.exposure import NOTHING, Exposure
from fraudstream.ops.watch.incidents.rules import CHANGE_SECONDS, RULES, RuleTerms
from fraudstream_client.incidents import IncidentKind, IncidentRule, Opening, Severity
from models.times import format_time

_MS = 1000


class Reading(msgspec.Struct, frozen=True):
    """What a rule sees in one second.

    Attributes:
        holds: whether the rule's condition holds.
        severity: how severe it is; None: that of the rule's terms once it has held for as long as they say.
        ripe: whether it may open now, for rules that count the time themselves.
        exposure: what this second adds.
        before: what belongs to it of the seconds before, where it begins now.
        waiting: the payments that wait for a decision now; told, but not added to what is known to be over.
        since_ms: when it began, if not with the first record of the exposure.
        at_ms: when it began if the exposure has no record.
        opening: the record with which it began, if not that one.
        name: what the incident is named by, if not by that record.
        by_minute: whether it is named by the minute in which it begins: a share over time has no first record.
        partition: the partition that it is about, if it is about one.
    """

    holds: bool = False
    severity: Severity | None = None
    ripe: bool = True
    exposure: Exposure = NOTHING
    before: Exposure = NOTHING
    waiting: Exposure = NOTHING
    since_ms: int | None = None
    at_ms: int | None = None
    opening: Opening | None = None
    name: str | None = None
    by_minute: bool = False
    partition: int | None = None


class Episode(msgspec.Struct, frozen=True):
    """What is known of a pending or open incident.

    Attributes:
        incident_id: its id.
        since_ms: when it began.
        pending_s: the second from which on its condition has held.
        opening: the record with which it began, if there is one.
        partition: the partition that it is about, if it is about one.
        exposure: what it is about, up to the last second in which its condition held.
        tail: what came since, and belongs to it if its condition holds again.
        last_s: the last second in which its condition held.
        severity: the highest so far.
        opened_s: when it was opened; None while it is pending.
        sequence: the number of the last record that told of it.
        told: how many events that record stated.
        from_s: seconds before this one are accounted for.
    """

    incident_id: str
    since_ms: int
    pending_s: int
    last_s: int
    severity: Severity
    opening: Opening | None = None
    partition: int | None = None
    exposure: Exposure = NOTHING
    tail: Exposure = NOTHING
    opened_s: int | None = None
    sequence: int = 0
    told: int = 0
    from_s: int = 0

    @property
    def until_ms(self) -> int:
        """The time of the last record that it is about."""
        return max(self.since_ms, self.exposure.last_ms or self.since_ms)


class RuleScope(NamedTuple):
    """A rule, and whose incidents and what they are about: a partition, a code, a command; empty: the deployment."""

    deployment: str
    rule: IncidentRule
    scope: str = ""

    @property
    def terms(self) -> RuleTerms:
        """The terms of the rule."""
        return RULES[self.rule]

    @property
    def key(self) -> str:
        """A text that identifies it within the deployment."""
        return f"{self.rule} {self.scope}"


class Notice(NamedTuple):
    """What is to be told of an incident at the end of a second; `exposure` has what waits as well."""

    kind: IncidentKind
    rule: IncidentRule
    scope: str
    at_s: int
    episode: Episode
    exposure: Exposure


Step = tuple[Episode | None, tuple[Notice, ...]]


def incident_id(deployment: str, rule: IncidentRule, name: str) -> str:
    """Return the id of an incident: 128 bits of BLAKE2b of the deployment, the rule and what names the incident."""
    text = f"{deployment}\0{rule}\0{name}"
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def opening_name(opening: Opening) -> str:
    """Return by what an incident is named that began with a record: its place."""
    return f"{opening.topic}:{opening.partition}:{opening.log}:{opening.offset}"


def step(watched: RuleScope, episode: Episode | None, second: int, reading: Reading) -> Step:
    """Return the incident after one more second, None if there is none or it is over, and what is to be told.

    `second` is counted from the epoch. What it is named by, and where it began, is fixed by the first second.
    """
    if episode is None:
        return _begun(watched, second, reading) if reading.holds else (None, ())
    if second < episode.from_s:
        return episode, ()
    counted = _counted(episode, second, reading)
    if counted.opened_s is not None:
        return _gone_on(watched, (episode, counted), second, reading)
    terms = watched.terms
    if not reading.holds and second - counted.last_s >= (terms.quiet_s if terms.sporadic else 1):
        return None, ()
    return _opened(watched, counted, second, reading)


def _begun(watched: RuleScope, second: int, reading: Reading) -> Step:
    exposure = reading.before.plus(reading.exposure)
    opening = reading.opening or exposure.opening
    place = None if opening is None or reading.by_minute else opening_name(opening)
    times = (reading.since_ms, exposure.first_ms, reading.at_ms, second * _MS)
    episode = Episode(
        incident_id(watched.deployment, watched.rule, reading.name or place or _minute(second)),
        next(one for one in times if one is not None),
        second,
        second,
        reading.severity or watched.terms.severity,
        opening,
        reading.partition,
        exposure,
    )
    return _opened(watched, episode, second, reading)


def _minute(second: int) -> str:
    return format_time(second // 60 * 60 * _MS)


def _counted(episode: Episode, second: int, reading: Reading) -> Episode:
    tail = episode.tail.plus(reading.exposure)
    if not reading.holds:
        return episode if tail is episode.tail else msgspec.structs.replace(episode, tail=tail)
    return msgspec.structs.replace(
        episode,
        exposure=episode.exposure.plus(tail),
        tail=NOTHING,
        last_s=second,
        severity=_higher(episode.severity, reading.severity),
    )


def _higher(one: Severity, other: Severity | None) -> Severity:
    return Severity.PAGE if Severity.PAGE in (one, other) else one


def _opened(watched: RuleScope, episode: Episode, second: int, reading: Reading) -> Step:
    if not reading.ripe or second - episode.pending_s < watched.terms.opens_after_s:
        return episode, ()
    exposure = episode.exposure.plus(reading.waiting)
    opened = msgspec.structs.replace(episode, opened_s=second, told=exposure.events)
    return opened, (Notice(IncidentKind.OPENED, watched.rule, watched.scope, second, opened, exposure),)


def _gone_on(watched: RuleScope, episodes: tuple[Episode, Episode], second: int, reading: Reading) -> Step:
    (before, episode), (_, rule, scope) = episodes, watched
    if not reading.holds and second - episode.last_s >= watched.terms.quiet_s:
        closed = msgspec.structs.replace(episode, sequence=episode.sequence + 1, tail=NOTHING)
        return None, (Notice(IncidentKind.CLOSED, rule, scope, second, closed, closed.exposure),)
    exposure = episode.exposure.plus(reading.waiting)
    opened_s = episode.opened_s or 0
    is_due = second > opened_s and (second - opened_s) % CHANGE_SECONDS == 0 and exposure.events != episode.told
    if not is_due and episode.severity is before.severity:
        return episode, ()
    changed = msgspec.structs.replace(episode, sequence=episode.sequence + 1, told=exposure.events)
    return changed, (Notice(IncidentKind.CHANGED, rule, scope, second, changed, exposure),)
