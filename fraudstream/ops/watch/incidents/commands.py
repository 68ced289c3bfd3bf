"""What the event log says to incidents: which commands were accepted, and which new models were watched since when.

A fold of the log alone; it is made anew whenever the log has grown.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from fraudstream.ops.rollout.guard.watched import Watched, after, past_of
from fraudstream_client.incidents import IncidentAction
from guards.report import breached_kinds, declines_too_much
from guards.specs import GuardKind
from models.commands import LEAVES_REVISION, CommandKind, Event, EventKind
from models.model_record import AFTER_A_BREACH
from models.times import format_time, stated_ms

_ENDS_A_PAUSE = frozenset(
    {
        CommandKind.RESUME,
        CommandKind.END_CANARY,
        CommandKind.PROMOTE,
        CommandKind.ROLL_BACK,
        CommandKind.DEMOTE,
        CommandKind.ROLLOUT,
        CommandKind.CANARY,
    }
)
MARGIN_MS = 60_000
"""Workers decide by a new model for a moment after the command that ends it; their clocks may differ by this much."""


class WatchPeriod(NamedTuple):
    """A canary, a split or a promotion that was watched: the revision that began it, a new model, and when it lasted.

    `end_ms` is None as long as it goes on.
    """

    since: int
    model: str
    since_ms: int
    end_ms: int | None = None

    def has(self, revision: int, at_ms: int) -> bool:
        """Tell whether a decision of the model belongs to it."""
        is_before_end = self.end_ms is None or at_ms < self.end_ms + MARGIN_MS
        return revision >= self.since and is_before_end

    @property
    def key(self) -> str:
        """A text that identifies it and the model within the deployment."""
        return watch_key(self.since, self.model)


def watch_key(since: int, model: str) -> str:
    """Return what identifies a new model and the revision that began its watch."""
    return f"{since} {model}"


class _ArmEvidence(msgspec.Struct, frozen=True):
    """What a guard's evidence says of an arm; live, and the arms of the sample ratio, have no `e` of their own."""

    arm: str
    e: float = 0.0


class _GuardEvidence(msgspec.Struct, frozen=True):
    """What evidence says of a guard."""

    breached: bool = False
    bound: float = inf
    arms: tuple[_ArmEvidence, ...] = ()


class _Evidence(msgspec.Struct, frozen=True):
    """The evidence of a guard's command, as far as it says which arms of a split are breached."""

    guards: dict[str, _GuardEvidence]


class AcceptedCommand(NamedTuple):
    """A command that was accepted, when, and what was watched before it."""

    event: Event
    at_ms: int
    watched: Watched | None

    @property
    def breached(self) -> tuple[GuardKind, ...]:
        """The guards whose breach it answers; none, if it is no guard's answer to a breach."""
        if self.watched is None or not (self.event.command in AFTER_A_BREACH or self.is_retreat):
            return ()
        return breached_kinds(self.event.evidence)

    def harmful_models(self, watched: Watched) -> tuple[str, ...]:
        """Return the digests of the models that do harm by its evidence: of a split those of the breached arms.

        All new models where the evidence names no arm, as that of the sample ratio.
        """
        if watched.split is None:
            return watched.models
        try:
            guards = msgspec.convert(self.event.evidence, _Evidence).guards
        except msgspec.ValidationError:  # evidence may be any JSON
            return watched.models
        names = {row.arm for one in guards.values() if one.breached for row in one.arms if row.e >= one.bound}
        found = {arm.model for arm in watched.split.arms if arm.name in names}
        return tuple(sorted(found)) or watched.models

    @property
    def ends_a_pause(self) -> bool:
        """Whether a rollout that was paused goes on, or ends, by it."""
        return self.event.command in _ENDS_A_PAUSE and not self.is_retreat

    @property
    def is_retreat(self) -> bool:
        """Whether a guard lowers a canary's share by it, since the canary declines too much."""
        event, before = self.event, self.watched
        lowers = before is not None and event.share_bp is not None and event.share_bp < before.share_bp
        return event.command is CommandKind.CANARY and lowers and declines_too_much(event.evidence)

    def action(self) -> IncidentAction:
        """Return what an incident's record says of it."""
        event = self.event
        return IncidentAction(
            format_time(self.at_ms),
            str(event.command or ""),
            event.command_id or event.event_id,
            event.actor or "",
            event.reason or "",
        )


class AcceptedCommands(NamedTuple):
    """The accepted commands of a deployment, in the order of the log, and the periods of each new model.

    `publisher` is the deployment whose decisions count; None before the first promotion.
    """

    commands: Sequence[AcceptedCommand] = ()
    periods: Mapping[str, Sequence[WatchPeriod]] = MappingProxyType({})
    publisher: str | None = None

    def actions(self, since_ms: int, until_ms: int) -> tuple[IncidentAction, ...]:
        """Return the commands that were accepted in this time, both ends included."""
        return tuple(one.action() for one in self.commands if since_ms <= one.at_ms <= until_ms)

    def period(self, model: str, revision: int, at_ms: int) -> WatchPeriod | None:
        """Return the watched period to which a decision of a model belongs; None if it was not watched then."""
        found = [one for one in self.periods.get(model, ()) if one.has(revision, at_ms)]
        return found[-1] if found else None

    def watched_since_ms(self) -> int | None:
        """Return since when a model has been watched that still is; None if none is."""
        open_since = [one.since_ms for each in self.periods.values() for one in each if one.end_ms is None]
        return min(open_since, default=None)


def command_log(deployment: str, events: Iterable[Event], publisher: str | None = None) -> AcceptedCommands:
    """Fold a deployment's events, in the order of the log; `publisher` is whose decisions count."""
    past, commands, periods = past_of(deployment, ()), list[AcceptedCommand](), dict[str, list[WatchPeriod]]()
    for event in events:
        before, past = past, after(past, event)
        counts = past.lineup.revision != before.lineup.revision or event.command in LEAVES_REVISION
        if event.kind is not EventKind.ACCEPTED or event.deployment != deployment or not counts:
            continue
        at_ms = stated_ms(event.at)
        commands.append(AcceptedCommand(event, at_ms, before.watched))
        _follow_watch(periods, before.watched, past.watched, at_ms)
    return AcceptedCommands(tuple(commands), periods, publisher)


def _follow_watch(
    periods: dict[str, list[WatchPeriod]], before: Watched | None, watched: Watched | None, at_ms: int
) -> None:
    """Note the end of what was watched, and the beginning of what is."""
    if before is not None and (watched is None or watched.since != before.since):
        end_ms = at_ms if before.until_ms is None else min(at_ms, before.until_ms)
        for model in before.models:
            periods[model][-1] = periods[model][-1]._replace(end_ms=end_ms)
    if watched is not None and (before is None or watched.since != before.since):
        for model in watched.models:  # none, if all arms of a split have the live model
            period = WatchPeriod(watched.since, model, watched.since_ms, watched.until_ms)
            periods.setdefault(model, []).append(period)
