"""What the event log tells of: breaches that a guard answered, and losses that an operator accepted."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from fraudstream.ops.rollout.guard.watched import Watched
from fraudstream.ops.watch.incidents.commands import AcceptedCommand, AcceptedCommands, watch_key
from fraudstream.ops.watch.incidents.episode import Reading
from fraudstream.ops.watch.incidents.exposure import NOTHING, Exposure, total
from fraudstream.ops.watch.incidents.facts import SecondFacts
from fraudstream_client.incidents import IncidentRule, Opening
from fraudstream_client.validity import log_and_offset
from models.commands import ABOUT_PARTITIONS, CommandKind


class DecidedPlaces(NamedTuple):
    """The place of the last decided transaction of each partition, and the topic that they are of."""

    topic: str
    places: Mapping[int, int]


class OpenBreach(msgspec.Struct):
    """A breach whose incident is open: the `WatchPeriod.key` of each harmful model, and whether a rollout is paused."""

    keys: tuple[str, ...]
    paused: bool

    def made(self, by_new_model: Mapping[str, Exposure]) -> Exposure:
        """Return what the harmful models decided."""
        return total(by_new_model.get(key, NOTHING) for key in self.keys)


class Acts(msgspec.Struct):
    """The commands that were read, and what they are about.

    Attributes:
        done: how many accepted commands were read.
        breaches: those whose incidents are open, by the id of their event.
        losses: accepted losses whose incidents are open, by the id of their event.
        totals: what each watched model decided, by `WatchPeriod.key`.
    """

    done: int = 0
    breaches: dict[str, OpenBreach] = msgspec.field(default_factory=dict)
    losses: dict[str, int | None] = msgspec.field(default_factory=dict)
    totals: dict[str, Exposure] = msgspec.field(default_factory=dict)

    def next_s(self, log: AcceptedCommands) -> int | None:
        """Return the second of the next command to read; None if all were read."""
        return log.commands[self.done].at_ms // 1000 if self.done < len(log.commands) else None

    def read(
        self, second: int, facts: SecondFacts, log: AcceptedCommands, decided: DecidedPlaces
    ) -> Iterator[tuple[IncidentRule, str, Reading]]:
        """Yield rule, id of the event and reading of each incident that the next second is about."""
        before = dict(self.totals)
        for key, exposure in facts.by_new_model.items():
            self.totals[key] = self.totals.get(key, NOTHING).plus(exposure)
        begun = set[str]()
        while (next_s := self.next_s(log)) is not None and next_s <= second:
            command = log.commands[self.done]
            self.done += 1
            self._follow_pause(command)
            if (reading := self._begun(command, facts, before, decided)) is not None:
                begun.add(command.event.event_id)
                yield reading
        for event_id, breach in self.breaches.items():
            if event_id not in begun:
                made = breach.made(facts.by_new_model)
                yield IncidentRule.GUARD_BREACH, event_id, Reading(breach.paused or made.events > 0, exposure=made)
        for event_id, partition in self.losses.items():
            if event_id not in begun:
                yield IncidentRule.LOSS_ACCEPTED, event_id, Reading(partition=partition)

    def close(self, event_id: str) -> None:
        """Forget what an incident that is closed was about."""
        self.breaches.pop(event_id, None)
        self.losses.pop(event_id, None)

    @property
    def is_idle(self) -> bool:
        """Whether a second without facts or commands changes nothing."""
        return not self.breaches and not self.losses

    def _follow_pause(self, command: AcceptedCommand) -> None:
        if command.ends_a_pause:
            for breach in self.breaches.values():
                breach.paused = False

    def _begun(
        self, command: AcceptedCommand, facts: SecondFacts, before: Mapping[str, Exposure], decided: DecidedPlaces
    ) -> tuple[IncidentRule, str, Reading] | None:
        """Return the reading with which an incident begins, if a command is about one."""
        event, event_id = command.event, command.event.event_id
        if command.breached and command.watched is not None:
            breach = open_breach(command, command.watched, paused=event.command is CommandKind.PAUSE)
            self.breaches[event_id] = breach
            reading = Reading(
                holds=True,
                exposure=breach.made(facts.by_new_model),
                before=breach.made(before),
                name=event_id,
                at_ms=command.at_ms,
            )
            return IncidentRule.GUARD_BREACH, event_id, reading
        if event.command not in ABOUT_PARTITIONS or event.topic is None or event.partition is None:
            return None
        self.losses[event_id] = event.partition
        return IncidentRule.LOSS_ACCEPTED, event_id, _loss(command, decided)


def open_breach(command: AcceptedCommand, watched: Watched, *, paused: bool) -> OpenBreach:
    """Return the breach that a command answers, of what was watched before it."""
    return OpenBreach(tuple(watch_key(watched.since, model) for model in command.harmful_models(watched)), paused)


def _loss(command: AcceptedCommand, places: DecidedPlaces) -> Reading:
    """Return the reading of an accepted loss; it is about as many payments as can be told."""
    event, partition = command.event, command.event.partition or 0
    up_to, log = event.up_to if event.up_to is not None else event.offset or 0, event.log or 0
    opening = Opening(event.topic or "", partition, up_to, log)
    decided_log, decided = log_and_offset(places.places.get(partition, -1))
    is_of_topic = event.topic == places.topic and partition in places.places and decided_log == log
    is_known = event.command is CommandKind.ACCEPT_LOSS and is_of_topic
    lost = max(0, up_to - decided - 1) if is_known else 0
    exposure = Exposure(lost, first_ms=command.at_ms, last_ms=command.at_ms, opening=opening)
    return Reading(holds=True, exposure=exposure, name=event.event_id, partition=partition, at_ms=command.at_ms)
