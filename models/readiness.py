"""Who has answered which candidate, as a fold over the events of one deployment.

Answers belong to one command, so a worker that could not load a model yesterday is asked again today. Nothing here
decides what the answers mean; `judge` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from models.commands import CommandKind, Event, EventKind
from models.problems import Problem

_NO_ANSWERS: Mapping[str, "Answer"] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Answer:
    """One worker's answer: the hash of its probe scores, or why it has none."""

    probe_hash: str | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that the fleet is asked to load for a command, and each worker's latest answer."""

    model: str
    answers: Mapping[str, Answer] = field(default_factory=lambda: _NO_ANSWERS)
    command: CommandKind | None = None


@dataclass(frozen=True, slots=True)
class Candidates:
    """All candidates of a deployment whose commands have not been answered, by `command_id`."""

    deployment: str
    pending: Mapping[str, Candidate] = field(default_factory=lambda: MappingProxyType({}))

    def for_shadow(self, *, wanted: bool) -> dict[str, str]:
        """Return the models of those that are to be tried in the shadow, or of all the others, by `command_id`."""
        return {
            command_id: candidate.model
            for command_id, candidate in self.pending.items()
            if (candidate.command is CommandKind.CHALLENGE) is wanted
        }

    def answers_to(self, command_id: str) -> Mapping[str, Answer]:
        """Return the answers by worker, none if the command has no candidate."""
        candidate = self.pending.get(command_id)
        return _NO_ANSWERS if candidate is None else candidate.answers


def gather(candidates: Candidates, event: Event) -> Candidates:
    """Return the candidates after one more event: announced, answered by a worker, or settled by the judge."""
    if event.deployment != candidates.deployment or event.command_id is None:
        return candidates
    pending = dict(candidates.pending)
    match event.kind:
        case EventKind.CANDIDATE if event.model is not None:
            pending.setdefault(event.command_id, Candidate(event.model, command=event.command))
        case EventKind.READY | EventKind.NOT_READY if event.command_id in pending:
            pending[event.command_id] = _with_answer(pending[event.command_id], event)
        case EventKind.ACCEPTED | EventKind.REFUSED if event.command_id in pending:
            del pending[event.command_id]
        case _:
            return candidates
    return Candidates(candidates.deployment, MappingProxyType(pending))


def _with_answer(candidate: Candidate, event: Event) -> Candidate:
    if event.model != candidate.model:
        return candidate
    answer = Answer(event.probe_hash if event.kind is EventKind.READY else None, event.problems)
    return replace(candidate, answers=MappingProxyType({**candidate.answers, event.worker: answer}))
