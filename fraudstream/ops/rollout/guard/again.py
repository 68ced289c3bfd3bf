"""Compute the evidence of a command again from the topics, so that anybody can check what a guard did."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fraudstream.ops.rollout.guard.recount import recount
from fraudstream.ops.rollout.guard.sight import empty_state
from fraudstream.ops.rollout.guard.training import KnownTraining
from fraudstream.ops.rollout.guard.watched import Watched, past_of, row_time_of
from guards.arm_report import ARMS
from guards.report import disagreements, evidence
from guards.row_time import row_time_evidence
from guards.specs import CLIMB, GuardKind
from models.commands import Event, EventKind
from models.rollouts import is_automatic
from stream.control.client import history_with_commands, read_log
from stream.errors import RecountError
from stream.settings import Settings

_COUNTED = ("counts", "blocks", "classes", "labelled", "reviews", "quantity", "count", "rows")
"""What evidence counts of a guard; the other fields follow from it."""


class Recounted(NamedTuple):
    """The evidence that a command stated, that of the topics, and what of both differs, in words."""

    verdict: Event
    stated: Mapping[str, Any]
    counted: Mapping[str, Any]
    differences: tuple[str, ...]


async def recounted(settings: Settings, command_id: str) -> Recounted:
    """Count again up to the positions that a command's evidence states, and compare.

    Raises:
        RecountError: no such command was answered, it states no evidence of guards, or the records are gone.
        OtherHashKeyError: cards were excluded that are not known here.
        ControlLogError: the event log has lost records.
        aiokafka.errors.KafkaError: the brokers do not answer, or a topic is missing.
    """
    log = await read_log(settings)
    before, verdict = _up_to(log.events, command_id)
    stated = verdict.evidence or await _sent_evidence(settings, log.events, command_id)
    if not is_automatic(stated) or stated is None:
        raise RecountError(f"command {command_id} was not sent on the evidence of guards")
    watched = _watched(settings, before, stated)
    state = empty_state(settings, watched)
    positions: Mapping[str, Sequence[int]] = stated.get("positions") or {}
    if not positions:
        raise RecountError(f"the evidence of command {command_id} states no positions: it was too long with them")
    await recount(settings, state, watched.since_ms, positions, watched.pair)
    row_time = _reported(log.events, watched, stated)
    training = await KnownTraining(settings).of(watched)
    climb = None if CLIMB not in stated else watched.climb
    found = evidence(state, row_time=row_time, training=training, climb=climb)
    return Recounted(verdict, stated, found, (*disagreements(stated), *_differences(stated, found)))


def _up_to(events: Sequence[Event], command_id: str) -> tuple[list[Event], Event]:
    """Return what the log said before a command's verdict, and the verdict."""
    for place, event in enumerate(events):
        if event.command_id == command_id and event.kind in (EventKind.ACCEPTED, EventKind.REFUSED):
            return list(events[:place]), event
    raise RecountError(
        f"no command {command_id} of this deployment has a verdict; `fraudstream model history` lists them"
    )


async def _sent_evidence(settings: Settings, events: Sequence[Event], command_id: str) -> Mapping[str, Any] | None:
    """Return the evidence of a command that was refused: only an acceptance keeps it."""
    history = await history_with_commands(settings, events)
    return next(
        (one.command.evidence for one in history.entries if one.command and one.command.command_id == command_id), None
    )


def _watched(settings: Settings, events: Sequence[Event], stated: Mapping[str, Any]) -> Watched:
    """Return what was watched when the evidence was made."""
    watched = past_of(settings.deployment, events).watched
    if watched is None or watched.since != stated.get("since"):
        raise RecountError(
            f"the evidence is of what began at revision {stated.get('since')}, which was over before the command's "
            "verdict, so that it is not known what was counted"
        )
    return watched


def _reported(events: Sequence[Event], watched: Watched, stated: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the evidence must say of the new model's time: what the event that it names reports."""
    row_time = stated["guards"].get(GuardKind.ROW_TIME)
    if row_time is None or watched.row_time is None:
        return None
    named = (event for event in events if event.event_id == row_time.get("event_id"))
    return row_time_evidence(watched.row_time, next((row_time_of(watched, event) for event in named), None))


def _differences(stated: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return where the counts of the topics are not those that were stated."""
    problems = []
    for kind, guard in stated["guards"].items():
        again = found["guards"].get(kind, {})
        if kind == GuardKind.ROW_TIME:
            if guard != again:
                problems.append(f"{kind}: the event log has {again}, the evidence states {guard}")
        elif (counts := _counts(guard, again)) != (expected := _counts(guard, guard)):
            problems.append(f"{kind}: the topics have {counts}, the evidence states {expected}")
    return problems


def _counts(stated: Mapping[str, Any], guard: Mapping[str, Any]) -> Any:  # noqa: ANN401 - rows of either form
    """Return what was counted, as far as evidence states it: by share, by block, or of each arm of a split.

    Evidence of an earlier version states no blocks, and counted other frauds of a watched promotion.
    """
    if ARMS in stated:
        return [{**row, "e": None} for row in guard.get(ARMS, ())]
    if "reviews" in guard and "reviews" not in stated:
        return None
    return {name: guard.get(name) for name in _COUNTED if name in stated}
