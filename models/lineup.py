"""Who is live, as a fold over the events of one deployment.

Every worker folds the same log and comes to the same lineup. Nothing here judges a command or reads a topic.

Who has answered which candidate, as a fold over the events of one deployment.

Answers belong to one command, so a worker that could not load a model yesterday is asked again today. Nothing here
decides what the answers mean; `judge` does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType

from models.commands import Command, CommandKind, Event, EventKind
from models.errors import InvalidTimeError
from models.problems import Problem
from models.times import parse_time_ms

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

    def model_by_command(self, *, shadow: bool) -> dict[str, str]:
        """Return the models of those that are to be tried in the shadow, or of all the others, by `command_id`."""
        return {
            command_id: candidate.model
            for command_id, candidate in self.pending.items()
            if (candidate.command is CommandKind.CHALLENGE) is shadow
        }

    def answers_to(self, command_id: str) -> Mapping[str, Answer]:
        """Return the answers by worker, none if the command has no candidate."""
        candidate = self.pending.get(command_id)
        return _NO_ANSWERS if candidate is None else candidate.answers


def follow_candidates(candidates: Candidates, event: Event) -> Candidates:
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


@dataclass(frozen=True, slots=True)
class Lineup:
    """What holds at one revision of a deployment; models are named by their full digests.

    `previous` holds what was live before, the latest last. Neither it nor `live` or `challenger` ever names a digest
    of `quarantined`, and no two neighbours of (`previous`, `live`) are equal. `answers` maps each answered command to
    its first answer. Where `watched_until_ms` is set, `challenger` is the model `before`, which stays in the shadow up
    to that moment for no other reason than that it was live.
    """

    deployment: str
    revision: int = 0
    live: str | None = None
    challenger: str | None = None
    watched_until_ms: int | None = None
    previous: tuple[str, ...] = ()
    quarantined: frozenset[str] = frozenset()
    answers: Mapping[str, Event] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def serving(self) -> bool:
        """Tell whether a model is live."""
        return self.live is not None

    @property
    def rollback_target(self) -> str | None:
        """Name the model that a roll-back makes live."""
        return self.previous[-1] if self.previous else None

    @property
    def needed(self) -> tuple[str, ...]:
        """Name what a worker's own process keeps loaded: the live model, and the one before it."""
        return tuple(dict.fromkeys(digest for digest in (self.live, self.rollback_target) if digest))

    @property
    def explicit_challenger(self) -> str | None:
        """Name the model that someone put into the shadow; a model that is merely watched is none."""
        return self.challenger if self.watched_until_ms is None else None

    def challenger_at(self, now_ms: int) -> str | None:
        """Name the model that scores in the shadow at a moment: a watch ends by the clock alone."""
        if self.watched_until_ms is not None and now_ms >= self.watched_until_ms:
            return None
        return self.challenger


def artifact_needed(lineup: Lineup, command: Command) -> str | None:
    """Name the model whose artifact the command needs: its own, what a roll-back returns to, or none."""
    match command.kind:
        case CommandKind.CHALLENGE | CommandKind.PROMOTE:
            return command.model
        case CommandKind.ROLL_BACK | CommandKind.DEMOTE:
            return lineup.rollback_target
        case CommandKind.WITHDRAW:
            return None


def follow(lineup: Lineup, event: Event) -> Lineup:
    """Return the lineup after one more event of the log.

    An answer is void, and changes nothing, if its command has been answered before, or if it accepts with a revision
    that is not the next: so two judges cannot split the fleet. Other kinds and other deployments change nothing.
    """
    if event.deployment != lineup.deployment or event.command_id is None or event.command_id in lineup.answers:
        return lineup
    if event.kind is EventKind.REFUSED:
        return _answered(lineup, event)
    if event.kind is not EventKind.ACCEPTED or event.command is None or event.revision != lineup.revision + 1:
        return lineup
    moved = _MOVES[event.command](lineup, event)
    return lineup if moved is None else replace(_answered(moved, event), revision=event.revision)


def _answered(lineup: Lineup, event: Event) -> Lineup:
    return replace(lineup, answers=MappingProxyType({**lineup.answers, str(event.command_id): event}))


def _challenge(lineup: Lineup, event: Event) -> Lineup | None:
    if event.model is None or event.model == lineup.live:
        return None
    return replace(
        lineup, challenger=event.model, watched_until_ms=None, quarantined=lineup.quarantined - {event.model}
    )


def _withdraw(lineup: Lineup, _event: Event) -> Lineup:
    return replace(lineup, challenger=None, watched_until_ms=None)


def _promote(lineup: Lineup, event: Event) -> Lineup | None:
    model = event.model
    if model is None or model == lineup.live:
        return None
    challenger = None if lineup.explicit_challenger == model else lineup.explicit_challenger
    watch = _watch_end(event) if lineup.live is not None and challenger is None else None
    return replace(
        lineup,
        live=model,
        challenger=challenger if watch is None else lineup.live,
        watched_until_ms=watch,
        previous=lineup.previous if lineup.live is None else (*lineup.previous, lineup.live),
        quarantined=lineup.quarantined - {model},
    )


def _watch_end(event: Event) -> int | None:
    """Return when the watch that a promotion brings is over; None where it brings none."""
    if event.watch_until is None:
        return None
    try:
        return parse_time_ms(event.watch_until).epoch_ms
    except InvalidTimeError:  # no judge of this version writes it
        return None


def _roll_back(lineup: Lineup, _event: Event) -> Lineup | None:
    """Return to the model before. A watch ends with what it watched, and the model that failed is not watched."""
    if lineup.rollback_target is None:
        return None
    return replace(
        lineup,
        live=lineup.rollback_target,
        challenger=None if lineup.explicit_challenger == lineup.rollback_target else lineup.explicit_challenger,
        watched_until_ms=None,
        previous=lineup.previous[:-1],
    )


def _demote(lineup: Lineup, event: Event) -> Lineup | None:
    demoted, back = lineup.live, _roll_back(lineup, event)
    if demoted is None or back is None:
        return None
    return replace(
        back,
        challenger=None if back.challenger == demoted else back.challenger,
        previous=_without(demoted, back.previous, then=back.live),
        quarantined=back.quarantined | {demoted},
    )


def _without(demoted: str, previous: tuple[str, ...], then: str | None) -> tuple[str, ...]:
    """Take a digest out of the past, and the neighbours that this makes equal: a roll-back must change something."""
    kept: list[str | None] = [digest for digest in previous if digest != demoted]
    return tuple(digest for digest, after in pairwise([*kept, then]) if digest is not None and digest != after)


# None: an event that no judge of this version writes; it is void.
_MOVES: Mapping[CommandKind, Callable[[Lineup, Event], Lineup | None]] = MappingProxyType(
    {
        CommandKind.CHALLENGE: _challenge,
        CommandKind.WITHDRAW: _withdraw,
        CommandKind.PROMOTE: _promote,
        CommandKind.ROLL_BACK: _roll_back,
        CommandKind.DEMOTE: _demote,
    }
)
