"""The rules for signed commands: which need a second person, what a countersignature counts for, and which are known.

`judge` decides what a command would do; this decides whether its senders may. A countersignature is an accepted event,
so that every worker knows it and a judge that starts anew finds it again, wherever the command before it is read from.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from fraudstream_client.arms import LIVE, WHOLE_BP
from models.commands import Command, CommandKind, Event, EventKind, RequestedArm, is_digest
from models.judge import Accepted, Answered, Fleet, Refused, Verdict, Waiting, judge
from models.lineup import Lineup
from models.problems import Problem, ProblemCode
from models.signing import Role, Seal

SECONDS = 600.0
"""How long a command waits by default that another person has to countersign."""
_FOR_TWO = frozenset({CommandKind.PROMOTE, CommandKind.ROLLOUT})

Countersigned = Mapping[str, str]
"""Who countersigned, by the id of a command that has no answer yet."""
NOBODY: Countersigned = MappingProxyType({})


class Sealed(NamedTuple):
    """A command with the seal of its record."""

    command: Command
    seal: Seal = Seal()


class Rules(NamedTuple):
    """What the judge knows of signatures.

    `two_persons` is the setting. `awaited` belongs to a `countersign`: the command that it names, if that waits here.
    """

    two_persons: bool = False
    countersigned: Countersigned = NOBODY
    awaited: Sealed | None = None


def is_for_two(
    kind: CommandKind,
    *,
    to: object = None,
    winner: str | None = None,
    arms: Mapping[str, RequestedArm] | None = None,
) -> bool:
    """Tell whether a command with these arguments counts only with a countersignature, where two persons are required.

    It does if it makes a model live for all cards, or leads to that: so does the arm that wins a split, and so do arms
    that leave nothing to the live model.
    """
    match kind:
        case CommandKind.ROLL_BACK:
            return to is not None
        case CommandKind.END_SPLIT:
            return winner != LIVE
        case CommandKind.SPLIT:
            return sum(arm.share_bp for arm in (arms or {}).values()) == WHOLE_BP
    return kind in _FOR_TWO


def needs_second_person(lineup: Lineup, sealed: Sealed, rules: Rules) -> bool:
    """Tell whether a command still needs a countersignature.

    The top of a ladder needs none, since its `rollout` was countersigned.
    """
    (command, _) = sealed
    for_two = rules.two_persons and not _climbs(lineup, sealed)
    is_one = is_for_two(command.kind, to=command.to, winner=command.winner, arms=command.arms)
    return for_two and is_one and not _is_approved(command, rules)


def _climbs(lineup: Lineup, sealed: Sealed) -> bool:
    """Tell whether a guard promotes the model of the rollout that runs."""
    rollout = lineup.climbing
    by_guard = sealed.seal.role is Role.GUARD and sealed.command.kind is CommandKind.PROMOTE
    return by_guard and rollout is not None and rollout.model == sealed.command.model


def _is_approved(command: Command, rules: Rules) -> bool:
    return command.command_id in rules.countersigned


def judge_sealed(lineup: Lineup, sealed: Sealed, fleet: Fleet, rules: Rules, now_ms: int) -> Verdict:
    """Return the verdict of `judge` on a command, unless its signatures do not suffice for it."""
    (command, seal) = sealed
    if command.command_id in lineup.answers:
        return Answered(lineup.answers[command.command_id])
    if seal.problems:
        return Refused(seal.problems)
    if short := tuple(_short_digests(command)) if rules.two_persons else ():
        return Refused(short)
    verdict = judge(lineup, command, fleet, now_ms)
    if isinstance(verdict, Accepted) and needs_second_person(lineup, sealed, rules):
        return Waiting(verdict.model, (), verdict.split)
    return _with_problems(verdict, tuple(_problems(lineup, sealed, rules, now_ms)))


def _short_digests(command: Command) -> Iterator[Problem]:
    """Say which models a command for two persons names by the beginning of their digests."""
    if is_for_two(command.kind, to=command.to, winner=command.winner, arms=command.arms):
        arms = {f"arms.{name}.model": arm.model for name, arm in (command.arms or {}).items()}
        named = {"model": command.model, **arms}
        for field, name in named.items():
            if name is not None and not is_digest(name):
                why = "two persons approve a model by its whole digest: another one may begin alike"
                yield Problem(ProblemCode.INVALID_FIELD, f"{field}: {name!r:.80} is not 64 hexadecimal digits; {why}")


def _with_problems(verdict: Verdict, problems: tuple[Problem, ...]) -> Verdict:
    if not problems or isinstance(verdict, Answered):
        return verdict
    before = verdict.problems if isinstance(verdict, Refused) else ()
    return Refused((*before, *problems), verdict.model)


def _problems(lineup: Lineup, sealed: Sealed, rules: Rules, now_ms: int) -> Iterator[Problem]:
    (command, seal) = sealed
    if command.kind is CommandKind.COUNTERSIGN:
        yield from _countersign_problems(lineup, sealed, rules)
    elif now_ms >= command.expires_ms and needs_second_person(lineup, sealed, rules):
        detail = f"nobody but {seal.person} signed it in time; `--wait` sets how long it waits"
        yield Problem(ProblemCode.NOT_COUNTERSIGNED, detail)


def _countersign_problems(lineup: Lineup, sealed: Sealed, rules: Rules) -> Iterator[Problem]:
    name = str(sealed.command.countersigns)
    answer, awaited = lineup.answers.get(name), rules.awaited
    if answer is not None:
        yield Problem(ProblemCode.ALREADY_DECIDED, f"command {name} is {answer.kind}, at {answer.at}")
    elif awaited is None:
        detail = f"no command {name} waits in deployment {lineup.deployment}; its sender was told the id"
        yield Problem(ProblemCode.UNKNOWN_COMMAND, detail)
    elif not needs_second_person(lineup, awaited, rules):
        why = f"{rules.countersigned[name]} did it" if name in rules.countersigned else "it counts without"
        yield Problem(ProblemCode.NOT_AWAITED, f"command {name} needs no countersignature: {why}")
    elif awaited.seal.person == sealed.seal.person:
        detail = f"{sealed.seal.person} sent command {name} and cannot countersign it, with whatever key"
        yield Problem(ProblemCode.SAME_PERSON, detail)


def follow_countersigned(countersigned: Countersigned, lineup: Lineup, event: Event) -> Countersigned:
    """Return the countersignatures after one more event; `lineup` is the one after it, and says whether it counts."""
    name, answer = event.command_id, lineup.answers.get(event.command_id or "")
    if name is None or answer is None or answer.event_id != event.event_id or event.deployment != lineup.deployment:
        return countersigned
    if name in countersigned:
        return MappingProxyType({one: by for one, by in countersigned.items() if one != name})
    counts = event.kind is EventKind.ACCEPTED and event.command is CommandKind.COUNTERSIGN
    approved, person = event.countersigns, event.actor
    if not counts or approved is None or person is None or approved in lineup.answers or approved in countersigned:
        return countersigned
    return MappingProxyType({**countersigned, approved: person})
