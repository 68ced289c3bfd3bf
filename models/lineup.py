"""Two folds over the events of one deployment: which model is live, and which workers answered for a candidate.

Every worker folds the same log and reaches the same state. Answers belong to one command: a worker that could not load
a model for one command is asked again for the next. `judge` decides what the answers mean.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from fraudstream_client.arms import LIVE, WHOLE_BP
from models.arms import Canary, Split
from models.commands import LEAVES_REVISION, Command, CommandKind, Event, EventKind
from models.decline_cap import DeclineCap
from models.let_through import LetThrough
from models.limits import Limits
from models.persistent import GrowingMap, LiveBefore, LiveSince
from models.problems import Problem
from models.rollouts import Freeze, Rollout, begun, paused, promoted, resumed
from models.splits import split_of
from models.times import stated_ms

_NO_ANSWERS: Mapping[str, "Answer"] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Answer:
    """One worker's answer: the hash of its probe scores, or the problems that prevent it."""

    probe_hash: str | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """The model with which the workers must be ready for a command, and each worker's latest answer.

    `arms` are the models of a split, which has no `model`.
    """

    model: str | None
    answers: Mapping[str, Answer] = field(default_factory=lambda: _NO_ANSWERS)
    command: CommandKind | None = None
    arms: frozenset[str] = frozenset()

    @property
    def models(self) -> frozenset[str]:
        """All models that are to be loaded."""
        return self.arms if self.model is None else frozenset({self.model})


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidates of a deployment whose commands have no verdict yet, by `command_id`."""

    deployment: str
    pending: Mapping[str, Candidate] = field(default_factory=lambda: MappingProxyType({}))

    def deciders(self) -> dict[str, frozenset[str]]:
        """Return the models that are to decide, all or a share of the cards, by `command_id`."""
        others = (CommandKind.CHALLENGE, CommandKind.CUT_OVER)
        return {name: one.models for name, one in self.pending.items() if one.command not in others}

    def challengers(self) -> dict[str, str]:
        """Return the models that are proposed as challenger, by `command_id`."""
        return self._of(CommandKind.CHALLENGE)

    def cut_overs(self) -> dict[str, str]:
        """Return the models that are to publish decisions after a hand-over, by its `command_id`."""
        return self._of(CommandKind.CUT_OVER)

    def _of(self, kind: CommandKind) -> dict[str, str]:
        return {name: one.model for name, one in self.pending.items() if one.command is kind and one.model is not None}

    def answers_to(self, command_id: str) -> Mapping[str, Answer]:
        """Return the answers by worker; empty if the command has no candidate."""
        candidate = self.pending.get(command_id)
        return _NO_ANSWERS if candidate is None else candidate.answers


def follow_candidates(candidates: Candidates, event: Event) -> Candidates:
    """Return the candidates after one more event: a candidate, a worker's answer, or the judge's verdict."""
    if event.deployment != candidates.deployment or event.command_id is None:
        return candidates
    pending = dict(candidates.pending)
    match event.kind:
        case EventKind.CANDIDATE if event.model is not None or event.arms is not None:
            arms = frozenset(arm.model for arm in (event.arms or {}).values())
            pending.setdefault(event.command_id, Candidate(event.model, command=event.command, arms=arms))
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
    """The state of a deployment at one revision; models are identified by their full digests.

    `previous` holds the models that were live before, the latest last. `previous`, `live` and `challenger` never
    contain a digest of `quarantined`, and no two neighbours of (`previous`, `live`) are equal. `answers` maps each
    answered command to its first answer. Where `watched_until_ms` is set, `challenger` is `rollback_target`: the
    promoted model's predecessor, kept in the shadow until then. The model of `canary` is neither live, nor challenger,
    nor quarantined; those of the arms of `split` are neither challenger nor quarantined, but one may be live. Only one
    of both runs at a time, and no watch beside it. `rollout` is the one whose canary runs, or whose model it made live.
    `live_since` says who was live at which time. `limits` is what overrules decisions, whichever models decide; None:
    it was never set.
    """

    deployment: str
    revision: int = 0
    live: str | None = None
    challenger: str | None = None
    watched_until_ms: int | None = None
    canary: Canary | None = None
    split: Split | None = None
    rollout: Rollout | None = None
    frozen: Freeze | None = None
    previous: Sequence[str] = ()
    quarantined: frozenset[str] = frozenset()
    answers: Mapping[str, Event] = field(default_factory=lambda: MappingProxyType({}))
    live_since: LiveSince = field(default_factory=LiveSince)
    limits: Limits | None = None

    @property
    def serving(self) -> bool:
        """Whether a model is live."""
        return self.live is not None

    @property
    def rollback_target(self) -> str | None:
        """The model that a roll-back makes live."""
        return self.previous[-1] if self.previous else None

    @property
    def arms(self) -> Split | None:
        """The arms beside the live model: those of the split, or the canary's; None if it decides for all cards."""
        return self.split if self.canary is None else self.canary.split

    @property
    def needed(self) -> tuple[str, ...]:
        """The models that a worker's own process keeps loaded: live, those of the arms, and the roll-back target."""
        arms = () if self.arms is None else tuple(arm.model for arm in self.arms.arms)
        return tuple(dict.fromkeys(digest for digest in (self.live, *arms, self.rollback_target) if digest))

    @property
    def climbing(self) -> Rollout | None:
        """The rollout whose canary runs; one that made the live model so is over when another canary begins."""
        return None if self.canary is None or self.rollout is None or self.rollout.promoted else self.rollout

    @property
    def guarding(self) -> Rollout | None:
        """The rollout whose guards watch: that of the canary, or the one that made the live model so."""
        return self.rollout if self.canary is None else self.climbing

    @property
    def deciding(self) -> frozenset[str]:
        """The models that decide: the live one, and those of the arms."""
        arms = frozenset[str]() if self.arms is None else self.arms.models
        return arms if self.live is None else arms | {self.live}

    @property
    def decline_cap(self) -> DeclineCap | None:
        """The cap on declines in force; None: none."""
        return None if self.limits is None else self.limits.cap

    @property
    def let_through(self) -> LetThrough | None:
        """The let-through in force; None: none."""
        return None if self.limits is None else self.limits.let_through

    @property
    def explicit_challenger(self) -> str | None:
        """The challenger that a command put into the shadow; None where it is there only because of a watch."""
        return self.challenger if self.watched_until_ms is None else None

    def challenger_at(self, now_ms: int) -> str | None:
        """Return the model that scores in the shadow at a time: a watch ends by the clock, without an event."""
        if self.watched_until_ms is not None and now_ms >= self.watched_until_ms:
            return None
        return self.challenger

    def compared_at(self, now_ms: int) -> str | None:
        """Return the model that is compared with the live one: the challenger, or else that of the canary."""
        return self.challenger_at(now_ms) or (self.canary.model if self.canary else None)

    def shadows_at(self, now_ms: int) -> frozenset[str]:
        """Return the models that score in the shadow: the challenger, or else both sides of a canary.

        Without a challenger, what the canary decides is scored by the live model too, and the other way round. During a
        split nothing is, unless a challenger is named.
        """
        challenger = self.challenger_at(now_ms)
        if challenger is not None:
            return frozenset({challenger})
        return self.deciding if self.canary is not None else frozenset()


def artifact_needed(lineup: Lineup, command: Command) -> str | None:
    """Return the model that the command needs: its own, the roll-back target, the one that is to publish, or None."""
    match command.kind:
        case CommandKind.CHALLENGE | CommandKind.PROMOTE | CommandKind.CANARY | CommandKind.ROLLOUT:
            return command.model
        case CommandKind.ROLL_BACK if command.to_ms is not None:
            return lineup.live_since.at(command.to_ms)
        case CommandKind.ROLL_BACK | CommandKind.DEMOTE:
            return lineup.rollback_target if lineup.arms is None else None
        case CommandKind.CUT_OVER:
            return lineup.live
    return None


def follow(lineup: Lineup, event: Event) -> Lineup:
    """Return the lineup after one more event of the log.

    A verdict is void and changes nothing if its command already has an answer, or if it accepts with a revision that
    is not the next one: so two concurrent judges cannot split the fleet. Other kinds and deployments change nothing.
    """
    if event.deployment != lineup.deployment or event.command_id is None or event.command_id in lineup.answers:
        return lineup
    if event.kind is EventKind.REFUSED or (event.kind is EventKind.ACCEPTED and event.command in LEAVES_REVISION):
        return _answered(lineup, event)
    if event.kind is not EventKind.ACCEPTED or event.command is None or event.revision != lineup.revision + 1:
        return lineup
    changed = _TRANSITIONS[event.command](lineup, event)
    if changed is None:
        return lineup
    if changed.live != lineup.live:
        changed = replace(changed, live_since=lineup.live_since.with_added(stated_ms(event.at), changed.live))
    return replace(_answered(changed, event), revision=event.revision)


def _answered(lineup: Lineup, event: Event) -> Lineup:
    return replace(lineup, answers=GrowingMap.of(lineup.answers).with_added(str(event.command_id), event))


def _challenge(lineup: Lineup, event: Event) -> Lineup | None:
    if event.model is None or event.model in lineup.deciding:
        return None
    return replace(
        lineup, challenger=event.model, watched_until_ms=None, quarantined=lineup.quarantined - {event.model}
    )


def _withdraw(lineup: Lineup, _event: Event) -> Lineup:
    return replace(lineup, challenger=None, watched_until_ms=None)


def _promote(lineup: Lineup, event: Event) -> Lineup | None:
    model = event.model
    if model is None or model == lineup.live or (lineup.arms is not None and model not in lineup.arms.models):
        return None
    return _made_live(lineup, model, event)


def _made_live(lineup: Lineup, model: str, event: Event) -> Lineup:
    """Make a model live for all cards in place of the one that is; whatever arms there are end."""
    challenger = None if lineup.explicit_challenger == model else lineup.explicit_challenger
    watch = _watch_end(event) if lineup.live is not None and challenger is None else None
    return replace(
        lineup,
        live=model,
        challenger=challenger if watch is None else lineup.live,
        watched_until_ms=watch,
        canary=None,
        split=None,
        rollout=promoted(lineup.rollout, model),
        previous=_with_live(lineup),
        quarantined=lineup.quarantined - {model},
    )


def _with_live(lineup: Lineup) -> LiveBefore:
    before = LiveBefore.of(lineup.previous)
    return before if lineup.live is None else before.with_added(lineup.live, lineup.revision)


def _watch_end(event: Event) -> int | None:
    """Return when a promotion's watch ends; None where it has none."""
    return None if event.watch_until is None else stated_ms(event.watch_until) or None


def _canary(lineup: Lineup, event: Event) -> Lineup | None:
    """Start a canary, or change its share. A watch ends: from now on live and the canary are compared."""
    model, share_bp, salt, before = event.model, event.share_bp, event.salt, lineup.canary
    if model is None or salt is None or share_bp is None or not 0 < share_bp < WHOLE_BP:
        return None
    if lineup.split is not None or lineup.live in (None, model):
        return None
    if before is not None and (before.model, before.salt) != (model, salt):
        return None
    return replace(
        lineup,
        challenger=None if lineup.explicit_challenger == model else lineup.explicit_challenger,
        watched_until_ms=None,
        canary=Canary(model, share_bp, salt),
        quarantined=lineup.quarantined - {model},
    )


def _end_canary(lineup: Lineup, _event: Event) -> Lineup | None:
    return None if lineup.canary is None else _without_arms(lineup)


def _without_arms(lineup: Lineup) -> Lineup:
    return replace(lineup, canary=None, split=None, rollout=None)


def _split(lineup: Lineup, event: Event) -> Lineup | None:
    """Start a split. A watch ends: the live model decides for a part of the cards from now on."""
    split = split_of(event)
    if split is None or lineup.live is None or lineup.arms is not None:
        return None
    return replace(
        lineup,
        challenger=None if lineup.explicit_challenger in split.models else lineup.explicit_challenger,
        watched_until_ms=None,
        split=split,
        rollout=None,
        quarantined=lineup.quarantined - split.models,
    )


def _end_split(lineup: Lineup, event: Event) -> Lineup | None:
    """End a split; the winner's model becomes live, if it is not."""
    if lineup.split is None or event.winner is None:
        return None
    won = lineup.split.arm(event.winner)
    if (None if won is None else won.model) != event.model or (won is None and event.winner != LIVE):
        return None
    return _without_arms(lineup) if won is None or won.model == lineup.live else _made_live(lineup, won.model, event)


def _rollout(lineup: Lineup, event: Event) -> Lineup | None:
    rollout = begun(event)
    if rollout is None or lineup.arms is not None or event.share_bp != rollout.ladder.rungs[0].share_bp:
        return None
    started = _canary(lineup, event)
    return None if started is None else replace(started, rollout=rollout)


def _pause(lineup: Lineup, event: Event) -> Lineup | None:
    rollout = lineup.rollout  # also one that is over, which a judge of a version before may have paused
    if rollout is None or lineup.canary is None:
        return None
    return replace(lineup, rollout=paused(rollout, event) if event.command is CommandKind.PAUSE else resumed(rollout))


def _freeze(lineup: Lineup, event: Event) -> Lineup:
    freeze = Freeze(bool(event.hands_off)) if event.command is CommandKind.FREEZE else None
    return replace(lineup, frozen=freeze)


def _roll_back(lineup: Lineup, _event: Event) -> Lineup | None:
    """Return to the roll-back target. The watch ends, and the model that was rolled back is not watched in turn.

    While a canary or a split runs, its models are what went wrong: it ends, and live stays.
    """
    if lineup.arms is not None:
        return _without_arms(lineup)
    if lineup.rollback_target is None:
        return None
    return replace(
        lineup,
        live=lineup.rollback_target,
        challenger=None if lineup.explicit_challenger == lineup.rollback_target else lineup.explicit_challenger,
        watched_until_ms=None,
        rollout=None,
        previous=LiveBefore.of(lineup.previous).without_last(),
    )


def _demote(lineup: Lineup, event: Event) -> Lineup | None:
    if lineup.arms is not None:
        return _demote_arms(lineup, lineup.arms.models - {lineup.live})
    demoted, rolled_back = lineup.live, _roll_back(lineup, event)
    if demoted is None or rolled_back is None:
        return None
    return replace(
        rolled_back,
        challenger=None if rolled_back.challenger == demoted else rolled_back.challenger,
        previous=LiveBefore.of(rolled_back.previous).without(demoted, lineup.revision, rolled_back.live),
        quarantined=rolled_back.quarantined | {demoted},
    )


def _demote_arms(lineup: Lineup, models: frozenset[str]) -> Lineup:
    previous = LiveBefore.of(lineup.previous)
    for model in sorted(models):
        previous = previous.without(model, lineup.revision, lineup.live)
    return replace(_without_arms(lineup), previous=previous, quarantined=lineup.quarantined | models)


def _limits(lineup: Lineup, event: Event) -> Lineup | None:
    return None if event.limits is None else replace(lineup, limits=event.limits)


# A handler returns None for an event that no judge of this version writes; it is void.
_TRANSITIONS: Mapping[CommandKind, Callable[[Lineup, Event], Lineup | None]] = MappingProxyType(
    {
        CommandKind.CHALLENGE: _challenge,
        CommandKind.WITHDRAW: _withdraw,
        CommandKind.PROMOTE: _promote,
        CommandKind.ROLL_BACK: _roll_back,
        CommandKind.DEMOTE: _demote,
        CommandKind.CANARY: _canary,
        CommandKind.END_CANARY: _end_canary,
        CommandKind.SPLIT: _split,
        CommandKind.END_SPLIT: _end_split,
        CommandKind.ROLLOUT: _rollout,
        CommandKind.PAUSE: _pause,
        CommandKind.RESUME: _pause,
        CommandKind.FREEZE: _freeze,
        CommandKind.THAW: _freeze,
        CommandKind.LIMITS: _limits,
    }
)
