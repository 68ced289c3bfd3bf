"""Decide the verdict on a command: a pure function, called by the one worker that owns the control log's partition.

What the judge has to look up (repository, group members, answers) comes in as a `Fleet`, the time as an argument.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

from fraudstream_client.arms import LIVE
from models.arms import Arm, Split
from models.command_decoder import unprintable_problems
from models.commands import ABOUT_PARTITIONS, LEAVES_REVISION, Capability, Command, CommandKind, Event
from models.limits import Limits
from models.lineup import Answer, Lineup, artifact_needed
from models.logs import Logs
from models.model_record import ModelRecord
from models.problems import Problem, ProblemCode
from models.promotion_rules import promotion_problems
from models.record_rules import StatedFacts, record_problems
from models.reviews import ReviewRecord
from models.rollout_rules import (
    canary_problems,
    cards_salt,
    cut_over_problems,
    limit_problems,
    limits_after,
    rollout_problems,
)
from models.rollouts import Plan, plan_of
from models.split_rules import exclusion_problems, split_problems, winners_model
from models.splits import excluded_of
from models.terms import Term
from models.volume_rules import volume_problems


class HeldArtifact(NamedTuple):
    """A complete artifact in the repository: its full digest, and the fingerprint of its features.

    `weaknesses` are what its manifest states of its training, `reviews` what its card says of reviews.
    """

    digest: str
    fingerprint: str
    weaknesses: tuple[str, ...] = ()
    reviews: ReviewRecord = ReviewRecord()

    @property
    def facts(self) -> StatedFacts:
        """What it states that may speak against the model."""
        return StatedFacts(self.digest, self.weaknesses, self.reviews)


class InputTopic(NamedTuple):
    """What the brokers say of the partition of an input topic: the topic's id, and the first and the end offset."""

    topic_id: str | None
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the judge knows besides the log.

    `fingerprints` are the feature sets that the workers compute, `members` the workers of the group. `artifact` belongs
    to the command's `lineup.artifact_needed`: for a model that it names, what the repository holds, or why it holds
    nothing; for the model to return to or to publish with, what this worker has loaded, or why it could not load it
    (empty: not tried yet). `arms` is the same of each arm's model of a split, by the arm's name. `answers` are the
    answers to this command's candidate. `watch_ms` is how long a promotion is watched that does not state it.
    `logs` are the logs of the input topics, and `input_topic` is the one that the command names; None if this
    deployment reads no such partition. `term` says which deployment publishes. `partitions` is how many
    `transactions` has, where the command needs it. `record` is what the log says against models. `can` are the
    capabilities that workers have announced, by name. `exclude_key_check` is that of this worker's hash key, which all
    workers of a deployment share.
    """

    fingerprints: frozenset[str]
    members: frozenset[str]
    artifact: HeldArtifact | tuple[Problem, ...] = ()
    answers: Mapping[str, Answer] = field(default_factory=lambda: MappingProxyType({}))
    watch_ms: int = 0
    logs: Logs = field(default_factory=Logs)
    input_topic: InputTopic | None = None
    term: Term = field(default_factory=Term)
    partitions: int = 1
    arms: Mapping[str, HeldArtifact | tuple[Problem, ...]] = field(default_factory=lambda: MappingProxyType({}))
    record: ModelRecord = field(default_factory=ModelRecord)
    can: Mapping[str, Collection[str]] = field(default_factory=lambda: MappingProxyType({}))
    exclude_key_check: str | None = None

    def unable(self, capability: Capability) -> tuple[str, ...]:
        """Return the members that have not announced a capability, sorted."""
        return tuple(sorted(name for name in self.members if capability not in self.can.get(name, ())))


@dataclass(frozen=True, slots=True)
class Accepted:
    """The command makes `revision`; `model` is the full digest of the model that it is about.

    `topic_id` is that of the topic in which a loss or a skip is accepted, `log` its number.

    Where a promotion is watched, the model that was live stays in the shadow until `watch_until_ms`. `share_bp` and
    `salt` are those of a canary, `split` is that of a split, `limits` all that overrules decisions after a command
    about it, `term` is the one that a hand-over begins.
    """

    revision: int
    model: str | None
    watch_until_ms: int | None = None
    topic_id: str | None = None
    log: int | None = None
    share_bp: int | None = None
    salt: str | None = None
    plan: Plan | None = None
    limits: Limits | None = None
    term: int | None = None
    split: Split | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The command is refused for good; `problems` holds all reasons."""

    problems: tuple[Problem, ...]
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The command waits until all of `missing` have answered for the candidate `model`, or for those of a split."""

    model: str | None
    missing: tuple[str, ...]
    split: Split | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The command already has an answer, which does not change."""

    answer: Event


Verdict = Accepted | Refused | Waiting | Answered


def judge(lineup: Lineup, command: Command, fleet: Fleet, now_ms: int) -> Verdict:
    """Return the verdict on a command of the lineup's own deployment.

    Call it again when the lineup, the fleet or the time has changed, until the verdict is not `Waiting`.
    """
    if command.command_id in lineup.answers:
        return Answered(lineup.answers[command.command_id])
    model, split = _model(lineup, command, fleet), _split_of(command, fleet)
    problems = (
        *unprintable_problems(command.actor, command.reason),
        *_revision_problems(lineup, command),
        *_state_problems(lineup, command, model, now_ms),
        *_artifact_problems(lineup, command, fleet),
        *exclusion_problems(command, fleet.exclude_key_check, fleet.unable(Capability.HASHED_EXCLUDE)),
        *_partition_problems(command, fleet),
        *rollout_problems(lineup, command),
        *cut_over_problems(lineup, command, fleet.term),
        *limit_problems(command, fleet.partitions),
        *promotion_problems(lineup, command, model, now_ms),
        *record_problems(lineup, command, _deciders(command, fleet, model), fleet.record, now_ms),
        *volume_problems(lineup, command, model, now_ms),
    )
    needs_answers = command.asks_workers
    if now_ms >= command.expires_ms:
        expired = (_expired(command, fleet), *_answer_problems(fleet)) if needs_answers else (_expired(command, None),)
        return Refused((*problems, *expired), model)
    if problems:
        return Refused(problems, model)
    if command.kind in LEAVES_REVISION:
        accepted = _leaving_revision(lineup, command, fleet)
    else:
        watch_until_ms = _watch_until(lineup, model, _watch_ms(command, fleet), now_ms)
        accepted = replace(_next_revision(lineup, command, model, watch_until_ms, fleet.partitions), split=split)
    return _by_answers(accepted, fleet) if needs_answers and (model or split) else accepted


def _model(lineup: Lineup, command: Command, fleet: Fleet) -> str | None:
    """Return the full digest of the model that the command makes live or a challenger, if it is known."""
    if command.kind is CommandKind.END_SPLIT:
        return winners_model(lineup, command)
    if command.needs_candidate:
        return fleet.artifact.digest if isinstance(fleet.artifact, HeldArtifact) else None
    return artifact_needed(lineup, command)


def _deciders(command: Command, fleet: Fleet, model: str | None) -> dict[str, StatedFacts]:
    """Return the models that the command lets decide, by the arm's name, as far as they are known."""
    if command.kind is CommandKind.SPLIT:
        return {name: held.facts for name, held in fleet.arms.items() if isinstance(held, HeldArtifact)}
    if isinstance(fleet.artifact, HeldArtifact) and command.needs_candidate:
        return {"": fleet.artifact.facts}
    return {} if model is None else {"": StatedFacts(model)}


def _split_of(command: Command, fleet: Fleet) -> Split | None:
    """Return the split that the command starts; None if it starts none, or if a model is not known."""
    arms = []
    for name, asked in sorted((command.arms or {}).items()):
        held = fleet.arms.get(name)
        if not isinstance(held, HeldArtifact):
            return None
        arms.append(Arm(name, held.digest, asked.share_bp))
    return Split(tuple(arms), command.salt or command.command_id, excluded_of(command)) if arms else None


def _next_revision(
    lineup: Lineup, command: Command, model: str | None, watch_until_ms: int | None, partitions: int
) -> Accepted:
    """Accept a command that changes the lineup."""
    plan = plan_of(command)
    return Accepted(
        lineup.revision + 1,
        model,
        watch_until_ms,
        share_bp=command.share_bp if plan is None else plan.ladder.rungs[0].share_bp,
        salt=cards_salt(lineup, command),
        plan=plan,
        limits=limits_after(lineup, command, partitions),
    )


def _leaving_revision(lineup: Lineup, command: Command, fleet: Fleet) -> Accepted:
    """Accept a command that changes no lineup; a skip names no log, so it is the one that the topic is now."""
    if command.kind is CommandKind.CUT_OVER:
        return Accepted(lineup.revision, lineup.live, term=fleet.term.number + 1)
    if command.kind not in ABOUT_PARTITIONS:
        return Accepted(lineup.revision, None)
    topic_id = None if fleet.input_topic is None else fleet.input_topic.topic_id
    log = fleet.logs.number(str(command.topic), topic_id) if command.log is None else command.log
    return Accepted(lineup.revision, None, None, topic_id, log)


def _by_answers(accepted: Accepted, fleet: Fleet) -> Verdict:
    """Judge a command that has no problems of its own by the members' answers for its candidate."""
    missing = _unanswered(fleet)
    if missing or not fleet.members:
        return Waiting(accepted.model, missing, accepted.split)
    problems = _answer_problems(fleet)
    return Refused(problems, accepted.model) if problems else accepted


def _watch_until(lineup: Lineup, model: str | None, watch_ms: int, now_ms: int) -> int | None:
    """Return when a promotion's watch ends; a challenger that was put into the shadow by command is not replaced."""
    if not watch_ms or lineup.live in (None, model) or lineup.explicit_challenger not in (None, model):
        return None
    return now_ms + watch_ms


def _watch_ms(command: Command, fleet: Fleet) -> int:
    if command.kind is CommandKind.END_SPLIT:
        return fleet.watch_ms if command.winner != LIVE else 0
    if command.kind is not CommandKind.PROMOTE:
        return 0
    return fleet.watch_ms if command.watch_seconds is None else command.watch_seconds * 1000


def _unanswered(fleet: Fleet) -> tuple[str, ...]:
    return tuple(sorted(fleet.members - fleet.answers.keys()))


def _revision_problems(lineup: Lineup, command: Command) -> Iterator[Problem]:
    if command.kind is not CommandKind.CUT_OVER and command.expected_revision != lineup.revision:
        yield Problem(
            ProblemCode.WRONG_REVISION,
            f"the command expects revision {command.expected_revision}, the current one is {lineup.revision}",
        )


def _state_problems(lineup: Lineup, command: Command, model: str | None, now_ms: int) -> Iterator[Problem]:
    yield from split_problems(lineup, command, model)
    match command.kind:
        case CommandKind.CHALLENGE | CommandKind.PROMOTE | CommandKind.CANARY | CommandKind.ROLLOUT:
            yield from _choice_problems(lineup, command, model)
            yield from canary_problems(lineup, command, model)
        case CommandKind.WITHDRAW if lineup.challenger_at(now_ms) is None:
            yield Problem(ProblemCode.NO_CHALLENGER, "no model is in the shadow")
        case CommandKind.END_CANARY if lineup.canary is None:
            ends = "" if lineup.split is None else "; a split does: `fraudstream model end-split --winner live` ends it"
            yield Problem(ProblemCode.NO_CANARY, f"no canary runs{ends}")
        case CommandKind.ROLL_BACK if command.to_ms is not None:
            yield from _past_problems(lineup, command, command.to_ms, now_ms)
            yield from _choice_problems(lineup, command, model)
            yield from canary_problems(lineup, command, model)
        case CommandKind.ROLL_BACK | CommandKind.DEMOTE if lineup.arms is None:
            yield from _way_back_problems(lineup)


def _past_problems(lineup: Lineup, command: Command, to_ms: int, now_ms: int) -> Iterator[Problem]:
    if to_ms > now_ms:
        yield Problem(ProblemCode.INVALID_FIELD, f"to: {command.to} is not in the past")
    elif lineup.live_since.at(to_ms) is None:
        yield Problem(ProblemCode.NOTHING_TO_ROLL_BACK, f"no model was live at {command.to}")


def _way_back_problems(lineup: Lineup) -> Iterator[Problem]:
    if lineup.live is None:
        yield Problem(ProblemCode.NOTHING_LIVE, "no model is live")
    if lineup.rollback_target is None:
        yield Problem(ProblemCode.NOTHING_TO_ROLL_BACK, "no other model was live before; promote one")


def _partition_problems(command: Command, fleet: Fleet) -> Iterator[Problem]:
    """Refuse to accept a loss, or to skip an offset, that no partition can have reported."""
    if command.kind not in ABOUT_PARTITIONS:
        return
    topic = fleet.input_topic
    if topic is None:
        yield Problem(
            ProblemCode.UNKNOWN_TOPIC, f"this deployment reads no partition {command.partition} of {command.topic}"
        )
        return
    if command.log is not None and not fleet.logs.may_be(str(command.topic), topic.topic_id, command.log):
        following = fleet.logs.last(str(command.topic)) + 1
        detail = f"log {command.log} is neither this topic's own number nor the next one, {following}"
        yield Problem(ProblemCode.WRONG_LOG, detail)
    if command.kind is CommandKind.SKIP and fleet.logs.number(str(command.topic), topic.topic_id) is None:
        detail = f"{command.topic} was made anew: accept its loss first, by `fraudstream topics accept-loss`"
        yield Problem(ProblemCode.WRONG_LOG, detail)
    wanted = command.up_to if command.kind is CommandKind.ACCEPT_LOSS else command.offset
    if wanted is not None and not topic.begin <= wanted <= topic.end:
        detail = f"offset {wanted} is not between the first, {topic.begin}, and the end, {topic.end}"
        yield Problem(ProblemCode.WRONG_OFFSET, detail)
    if command.first is not None and wanted is not None and command.first > wanted:
        detail = f"first: {command.first} is above up_to, {wanted}, so that nothing would be lost"
        yield Problem(ProblemCode.WRONG_OFFSET, detail)


def _choice_problems(lineup: Lineup, command: Command, model: str | None) -> Iterator[Problem]:
    if model is None:
        return
    if model == lineup.live:
        yield Problem(ProblemCode.ALREADY_LIVE, f"{model} is live at revision {lineup.revision}")
    if command.kind is CommandKind.CHALLENGE and model == lineup.explicit_challenger:
        yield Problem(ProblemCode.ALREADY_CHALLENGER, f"{model} is in the shadow")
    yield from _quarantine_problems(lineup, command, model)


def _quarantine_problems(lineup: Lineup, command: Command, model: str) -> Iterator[Problem]:
    if model in lineup.quarantined and not command.force:
        yield Problem(ProblemCode.QUARANTINED, f"{model} was demoted; force lifts the quarantine")


def _arm_problems(lineup: Lineup, command: Command, fleet: Fleet) -> Iterator[Problem]:
    """Yield what prevents the models of a split's arms from deciding, each with the arm's name."""
    for name, arm in sorted((command.arms or {}).items()):
        held, problems = fleet.arms.get(name, ()), list[Problem]()
        if isinstance(held, HeldArtifact):
            problems += _quarantine_problems(lineup, command, held.digest)
        for one in (*problems, *_held_problems(arm.model, held, fleet)):
            yield Problem(one.code, f"arm {name}: {one.detail}")


def _artifact_problems(lineup: Lineup, command: Command, fleet: Fleet) -> tuple[Problem, ...]:
    if command.kind is CommandKind.SPLIT:
        return tuple(_arm_problems(lineup, command, fleet))
    needed = artifact_needed(lineup, command)
    if needed is None:
        return ()
    if not isinstance(fleet.artifact, HeldArtifact) and not command.needs_candidate:
        # The way back needs no repository: every worker keeps that model loaded, or is loading it.
        return () if _is_unavailable(fleet.artifact) else fleet.artifact
    return _held_problems(needed, fleet.artifact, fleet)


def _held_problems(needed: str, held: HeldArtifact | tuple[Problem, ...], fleet: Fleet) -> tuple[Problem, ...]:
    if not isinstance(held, HeldArtifact):
        return held or (Problem(ProblemCode.UNKNOWN_MODEL, f"the repository has no model {needed}"),)
    if held.fingerprint in fleet.fingerprints:
        return ()
    ours = ", ".join(sorted(fleet.fingerprints)) or "none"
    detail = f"the model needs features {held.fingerprint}, the fleet computes {ours}"
    return (Problem(ProblemCode.WRONG_FINGERPRINT, detail),)


def _is_unavailable(problems: tuple[Problem, ...]) -> bool:
    return all(problem.code is ProblemCode.REPOSITORY_UNAVAILABLE for problem in problems)


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
        listed = ", ".join(f"{worker} {probe_hash[:12]}" for worker, probe_hash in hashes.items())
        problems.append(Problem(ProblemCode.PROBE_MISMATCH, f"the workers' probe scores differ: {listed}"))
    return tuple(problems)


def _expired(command: Command, fleet: Fleet | None) -> Problem:
    missing = () if fleet is None else _unanswered(fleet)
    unanswered = f"; no answer from {', '.join(missing)}" if missing else ""
    return Problem(ProblemCode.EXPIRED, f"the command expired at {command.expires_at}{unanswered}")
