"""What becomes of a command: a question to values, asked by the one worker that owns the control log.

All that is local comes in as a `Fleet`. Nothing here looks at a repository, a group or a clock, or writes an event.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from models.commands import NAMES_A_MODEL, Command, CommandKind, Event, EventKind, UnreadableRecord
from models.lineup import Answer, Lineup, artifact_needed
from models.problems import Problem, ProblemCode
from models.times import format_time


class HeldArtifact(NamedTuple):
    """An artifact that the repository holds, whole: its full digest, and the fingerprint of its features."""

    digest: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the judge can see besides the log.

    `holding` is what the repository says about the command's `lineup.subject` (no problems and no holding where the
    command has none), `fingerprints` are those that the workers compute, `members` the workers of the group, and
    `answers` the answers to this command's candidate. `watch_ms` is for how long its workers watch a promotion that
    does not say it itself.
    """

    fingerprints: frozenset[str]
    members: frozenset[str]
    artifact: HeldArtifact | tuple[Problem, ...] = ()
    answers: Mapping[str, Answer] = field(default_factory=lambda: MappingProxyType({}))
    watch_ms: int = 0


@dataclass(frozen=True, slots=True)
class Accepted:
    """The command makes `revision`; `model` is the full digest where it has one.

    Up to `watch_until_ms` the model that was live stays in the shadow, where a promotion brings a watch.
    """

    revision: int
    model: str | None
    watch_until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The command will never be done, for all these reasons."""

    problems: tuple[Problem, ...]
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The command waits until all of `missing` have answered for the candidate `model`."""

    model: str
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """The command was answered before; this is the answer, and stays it."""

    answer: Event


Verdict = Accepted | Refused | Waiting | Answered


class Origin(NamedTuple):
    """Who writes an event, under which id, and when."""

    event_id: str
    worker: str
    at_ms: int


def judge(lineup: Lineup, command: Command, fleet: Fleet, now_ms: int) -> Verdict:
    """Say what becomes of a command of the lineup's own deployment.

    Ask again whenever the lineup, the fleet or the time has moved, until the verdict is not `Waiting`.
    """
    if command.command_id in lineup.answers:
        return Answered(lineup.answers[command.command_id])
    model = fleet.artifact.digest if isinstance(fleet.artifact, HeldArtifact) else None
    problems = (
        *_revision_problems(lineup, command),
        *_argument_problems(command),
        *_state_problems(lineup, command, model, now_ms),
        *_artifact_problems(lineup, command, fleet),
    )
    waits = command.kind in NAMES_A_MODEL and not command.force
    if now_ms >= command.expires_ms:
        late = (_expired(command, fleet), *_answer_problems(fleet)) if waits else (_expired(command, None),)
        return Refused((*problems, *late), model)
    if problems:
        return Refused(problems, model)
    accepted = Accepted(lineup.revision + 1, model, _watch_until(lineup, model, _watch_ms(command, fleet), now_ms))
    if model is None or not waits:
        return accepted
    return _by_answers(accepted, fleet, model)


def _by_answers(accepted: Accepted, fleet: Fleet, model: str) -> Verdict:
    """Judge what is right in itself by what the members say about its candidate."""
    missing = _silent(fleet)
    if missing or not fleet.members:
        return Waiting(model, missing)
    problems = _answer_problems(fleet)
    return Refused(problems, model) if problems else accepted


def _watch_until(lineup: Lineup, model: str | None, watch_ms: int, now_ms: int) -> int | None:
    """Say when the watch of a promotion is over; whoever put another model into the shadow wants that one there."""
    if not watch_ms or lineup.live is None or lineup.explicit_challenger not in (None, model):
        return None
    return now_ms + watch_ms


def _watch_ms(command: Command, fleet: Fleet) -> int:
    if command.kind is not CommandKind.PROMOTE:
        return 0
    return fleet.watch_ms if command.watch_seconds is None else command.watch_seconds * 1000


def _silent(fleet: Fleet) -> tuple[str, ...]:
    return tuple(sorted(fleet.members - fleet.answers.keys()))


def _revision_problems(lineup: Lineup, command: Command) -> Iterator[Problem]:
    if command.expected_revision != lineup.revision:
        yield Problem(
            ProblemCode.WRONG_REVISION,
            f"the command expects revision {command.expected_revision}, {lineup.revision} holds",
        )


def _argument_problems(command: Command) -> Iterator[Problem]:
    """Refuse what would be ignored: a share that is not kept would make a whole promotion of a part."""
    for name in ("share_bp", "arms"):
        if getattr(command, name) is not None:
            yield Problem(ProblemCode.INVALID_FIELD, f"{name}: means nothing to a command of kind {command.kind}")
    if command.watch_seconds is not None and command.kind is not CommandKind.PROMOTE:
        yield Problem(ProblemCode.INVALID_FIELD, f"watch_seconds: only a promotion is watched, not {command.kind}")


def _state_problems(lineup: Lineup, command: Command, model: str | None, now_ms: int) -> Iterator[Problem]:
    match command.kind:
        case CommandKind.CHALLENGE | CommandKind.PROMOTE:
            yield from _choice_problems(lineup, command, model)
        case CommandKind.WITHDRAW:
            if lineup.challenger_at(now_ms) is None:
                yield Problem(ProblemCode.NO_CHALLENGER, "no model is in the shadow")
        case CommandKind.ROLL_BACK | CommandKind.DEMOTE:
            if lineup.live is None:
                yield Problem(ProblemCode.NOTHING_LIVE, "no model is live")
            if lineup.rollback_target is None:
                yield Problem(ProblemCode.NOTHING_TO_ROLL_BACK, "no other model was live before; promote one")


def _choice_problems(lineup: Lineup, command: Command, model: str | None) -> Iterator[Problem]:
    if model is None:
        return
    if model == lineup.live:
        yield Problem(ProblemCode.ALREADY_LIVE, f"{model} is live since revision {lineup.revision} or before")
    if command.kind is CommandKind.CHALLENGE and model == lineup.explicit_challenger:
        yield Problem(ProblemCode.ALREADY_CHALLENGER, f"{model} is in the shadow")
    if model in lineup.quarantined and not command.force:
        yield Problem(ProblemCode.QUARANTINED, f"{model} was demoted; force lifts the quarantine")


def _artifact_problems(lineup: Lineup, command: Command, fleet: Fleet) -> tuple[Problem, ...]:
    needed = artifact_needed(lineup, command)
    if needed is None:
        return ()
    if not isinstance(fleet.artifact, HeldArtifact):
        if command.kind not in NAMES_A_MODEL and _is_away(fleet.artifact):
            return ()  # every worker keeps it loaded, and the way back must be open when all else is not
        return fleet.artifact or (Problem(ProblemCode.UNKNOWN_MODEL, f"{needed} was not found in the repository"),)
    if fleet.artifact.fingerprint in fleet.fingerprints:
        return ()
    ours = ", ".join(sorted(fleet.fingerprints)) or "none"
    detail = f"the model needs features {fleet.artifact.fingerprint}, the fleet computes {ours}"
    return (Problem(ProblemCode.WRONG_FINGERPRINT, detail),)


def _is_away(problems: tuple[Problem, ...]) -> bool:
    return bool(problems) and all(problem.code is ProblemCode.REPOSITORY_UNAVAILABLE for problem in problems)


def _answer_problems(fleet: Fleet) -> tuple[Problem, ...]:
    answers = {worker: fleet.answers[worker] for worker in sorted(fleet.members & fleet.answers.keys())}
    problems = [
        Problem(ProblemCode.NOT_READY, f"{worker}: {problem.code}: {problem.detail}")
        for worker, answer in answers.items()
        for problem in answer.problems
    ]
    problems += [
        Problem(ProblemCode.NOT_READY, f"{worker}: gave no reason")
        for worker, answer in answers.items()
        if answer.probe_hash is None and not answer.problems
    ]
    hashes = {worker: answer.probe_hash for worker, answer in answers.items() if answer.probe_hash is not None}
    if len(set(hashes.values())) > 1:
        said = ", ".join(f"{worker} {probe_hash[:12]}" for worker, probe_hash in hashes.items())
        problems.append(Problem(ProblemCode.PROBE_MISMATCH, f"the members' probe scores differ: {said}"))
    return tuple(problems)


def _expired(command: Command, fleet: Fleet | None) -> Problem:
    missing = () if fleet is None else _silent(fleet)
    silent = f"; no answer from {', '.join(missing)}" if missing else ""
    return Problem(ProblemCode.EXPIRED, f"the command's time was over at {command.expires_at}{silent}")


def verdict_event(command: Command, verdict: Verdict, revision: int, origin: Origin) -> Event:
    """Make the event that tells a verdict; an earlier answer is told again as it was.

    `revision` is the one that holds: an acceptance names the next instead.
    """
    problems: tuple[Problem, ...] = ()
    watch_until_ms: int | None = None
    match verdict:
        case Answered(answer):
            return answer
        case Accepted():
            kind, stated, watch_until_ms = EventKind.ACCEPTED, verdict.revision, verdict.watch_until_ms
        case Refused():
            kind, stated, problems = EventKind.REFUSED, revision, verdict.problems
        case Waiting():
            kind, stated = EventKind.CANDIDATE, revision
    return Event(
        event_id=origin.event_id,
        deployment=command.deployment,
        kind=kind,
        revision=stated,
        worker=origin.worker,
        at=format_time(origin.at_ms),
        command_id=command.command_id,
        command=command.kind,
        model=verdict.model,
        watch_until=None if watch_until_ms is None else format_time(watch_until_ms),
        problems=problems,
    )


def unreadable_event(unreadable: UnreadableRecord, deployment: str, revision: int, origin: Origin) -> Event:
    """Make the event that refuses a record that is no command."""
    return Event(
        event_id=origin.event_id,
        deployment=unreadable.deployment or deployment,
        kind=EventKind.REFUSED,
        revision=revision,
        worker=origin.worker,
        at=format_time(origin.at_ms),
        command_id=unreadable.command_id,
        problems=unreadable.problems,
    )
