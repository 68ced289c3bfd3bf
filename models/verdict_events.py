"""The events that announce verdicts: what each has of its command, and what is so from then on."""

from typing import Any, NamedTuple

from models.arms import Split
from models.commands import Command, CommandKind, Event, EventKind, UnreadableRecord
from models.judge import Accepted, Answered, Refused, Verdict, Waiting
from models.problems import Problem
from models.promotion_rules import VERDICT, stated_verdict
from models.rollouts import Plan
from models.splits import accepted_arms
from models.times import format_time


class Origin(NamedTuple):
    """An event's id, the worker that writes it, and its time."""

    event_id: str
    worker: str
    at_ms: int

    def event(self, deployment: str, kind: EventKind, revision: int, **fields: Any) -> Event:  # noqa: ANN401 - those of the kind
        """Return an event of this origin; `fields` are those that belong to its kind."""
        return Event(
            event_id=self.event_id,
            deployment=deployment,
            kind=kind,
            revision=revision,
            worker=self.worker,
            at=format_time(self.at_ms),
            **fields,
        )


def verdict_event(command: Command, verdict: Verdict, revision: int, origin: Origin) -> Event:
    """Return the event that announces a verdict; an earlier answer is returned unchanged.

    `revision` is the current one; an acceptance carries the next one instead.
    """
    problems: tuple[Problem, ...] = ()
    watch_until_ms: int | None = None
    about: dict[str, Any] = {}
    match verdict:
        case Answered(answer):
            return answer
        case Accepted():
            kind, revision, watch_until_ms = EventKind.ACCEPTED, verdict.revision, verdict.watch_until_ms
            about = {name: getattr(command, name) for name in ("topic", "partition", "first", "up_to", "offset", "to")}
            about |= {"countersigns": command.countersigns, "winner": command.winner} | _divides(verdict.split)
            about |= {
                name: getattr(verdict, name) for name in ("topic_id", "log", "share_bp", "salt", "limits", "term")
            }
            about |= _states(command, verdict.plan) | {"evidence": command.evidence, "despite": command.despite}
        case Refused():
            kind, problems = EventKind.REFUSED, verdict.problems
            about = {"evidence": _kept_evidence(command, verdict.model)}
        case Waiting():
            kind, about = EventKind.CANDIDATE, _divides(verdict.split)
    return origin.event(
        command.deployment,
        kind,
        revision,
        command_id=command.command_id,
        # A worker of the version before knows a promotion, and would take this for a roll-back to another model.
        command=command.kind if command.to is None else CommandKind.PROMOTE,
        model=verdict.model,
        watch_until=None if watch_until_ms is None else format_time(watch_until_ms),
        problems=problems,
        **about,
    )


def _kept_evidence(command: Command, model: str | None) -> dict[str, Any] | None:
    """Return the evidence of a refused command if it states a verdict on the command's model: it is to be remembered.

    The model is None where a signature did not suffice: then nothing of the command counts.
    """
    stated = stated_verdict((command.evidence or {}).get(VERDICT))
    return command.evidence if stated is not None and stated.challenger == model else None


def _divides(split: Split | None) -> dict[str, Any]:
    """Return the arms of a split, and the cards that are left out of it."""
    if split is None:
        return {}
    excluded = split.exclude
    return {"arms": accepted_arms(split), "exclude": excluded.entries, "exclude_key_check": excluded.key_check}


def _states(command: Command, plan: Plan | None) -> dict[str, Any]:
    """Return what is so in full after a command about a rollout or a freeze."""
    match command.kind:
        case CommandKind.ROLLOUT if plan is not None:
            return {"ladder": plan.ladder.rungs, "guards": plan.guards, "paused": False}
        case CommandKind.PAUSE | CommandKind.RESUME:
            return {"paused": command.kind is CommandKind.PAUSE}
        case CommandKind.FREEZE:
            return {"frozen": True, "hands_off": command.hands_off}
        case CommandKind.THAW:
            return {"frozen": False}
    return {}


def unreadable_event(unreadable: UnreadableRecord, deployment: str, revision: int, origin: Origin) -> Event:
    """Return the event that refuses a record that is not a valid command."""
    return origin.event(
        unreadable.deployment or deployment,
        EventKind.REFUSED,
        revision,
        command_id=unreadable.command_id,
        problems=unreadable.problems,
    )
