"""What the lineup holds of a rollout: the ladder that a guard climbs, the guards, a pause; and the freeze of guards."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from guards.errors import GuardError
from guards.ladder import Ladder
from guards.report import breached_kinds
from guards.specs import (
    DEFAULT_ROW_TIME,
    NO_CLIMB,
    ClimbSpec,
    GuardKind,
    Guards,
    RowTimeSpec,
    default_guards,
    guards_in_full,
    guards_json,
    read_climb,
    read_guards,
    read_row_time,
)
from models.commands import Command, CommandKind, Event


@dataclass(frozen=True, slots=True)
class Rollout:
    """A model's way up a ladder.

    It begins with an accepted `rollout` and ends with its canary; once `promoted`, it lasts until another change of
    the live model, and its guards watch the promotion. `guards` are those that count events, `row_time` is the budget
    of the model's time, if it is guarded, `climb` is the evidence that rungs ask for. `breached` are the guards on
    whose evidence it was paused; `waived` are those that an operator let go on by resuming: they hold it no more.
    """

    command_id: str
    model: str
    ladder: Ladder
    guards: Guards
    row_time: RowTimeSpec | None = None
    climb: ClimbSpec = NO_CLIMB
    paused: bool = False
    breached: frozenset[GuardKind] = frozenset()
    waived: frozenset[GuardKind] = frozenset()
    promoted: bool = False


class Freeze(NamedTuple):
    """Automatic commands that raise a model's exposure are refused; with `hands_off` those that end it, too."""

    hands_off: bool = False


class Plan(NamedTuple):
    """What a `rollout` command declares: the ladder, and every guard in full, as plain JSON."""

    ladder: Ladder
    guards: dict[str, Any]


def plan_of(command: Command) -> Plan | None:
    """Return what a `rollout` declares, the default guards if it names none; None for other commands."""
    if command.kind is not CommandKind.ROLLOUT or command.ladder is None:
        return None
    if command.guards is None:
        return Plan(Ladder(command.ladder), guards_in_full(guards_json(default_guards(), DEFAULT_ROW_TIME)))
    return Plan(Ladder(command.ladder), guards_in_full(command.guards))


def row_time_budget(rollout: Rollout | None) -> RowTimeSpec | None:
    """Return the budget of the new model's time, if it is guarded; of a canary without a rollout the default one."""
    return DEFAULT_ROW_TIME if rollout is None else rollout.row_time


def is_automatic(evidence: Mapping[str, Any] | None) -> bool:
    """Tell whether a command was sent on the evidence of guards, and not by a person."""
    return evidence is not None and isinstance(evidence.get("guards"), dict)


def begun(event: Event) -> Rollout | None:
    """Return the rollout that an accepted `rollout` begins; None if the event declares none."""
    if event.model is None or event.ladder is None or event.command_id is None:
        return None
    try:
        ladder, guards = Ladder(event.ladder), read_guards(event.guards)
    except GuardError:
        return None
    climb = read_climb(event.guards) or NO_CLIMB  # no rung asked for evidence when an earlier version accepted it
    return Rollout(event.command_id, event.model, ladder, guards, read_row_time(event.guards), climb)


def paused(rollout: Rollout, event: Event) -> Rollout:
    """Return a rollout after an accepted `pause`."""
    return replace(rollout, paused=True, breached=frozenset(breached_kinds(event.evidence)))


def resumed(rollout: Rollout) -> Rollout:
    """Return a rollout after an accepted `resume`: what held it does not hold it again."""
    return replace(rollout, paused=False, breached=frozenset(), waived=rollout.waived | rollout.breached)


def promoted(rollout: Rollout | None, model: str) -> Rollout | None:
    """Return a rollout after a promotion: at its top if it is its model's, else over."""
    if rollout is None or rollout.model != model or rollout.promoted:
        return None
    return replace(rollout, promoted=True, paused=False, breached=frozenset())
