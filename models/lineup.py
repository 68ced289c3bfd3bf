"""Who is live, as a fold over the events of one deployment.

Every worker folds the same log and comes to the same lineup. Nothing here judges a command or reads a topic.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType

from models.commands import Command, CommandKind, Event, EventKind


@dataclass(frozen=True, slots=True)
class Lineup:
    """What holds at one revision of a deployment; models are named by their full digests.

    `previous` holds what was live before, the latest last. Neither it nor `live` or `challenger` ever names a digest
    of `quarantined`, and no two neighbours of (`previous`, `live`) are equal. `answers` maps each answered command to
    its first answer.
    """

    deployment: str
    revision: int = 0
    live: str | None = None
    challenger: str | None = None
    previous: tuple[str, ...] = ()
    quarantined: frozenset[str] = frozenset()
    answers: Mapping[str, Event] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def serving(self) -> bool:
        """Tell whether a model is live."""
        return self.live is not None

    @property
    def before(self) -> str | None:
        """Name the model that a roll-back makes live."""
        return self.previous[-1] if self.previous else None

    @property
    def needed(self) -> tuple[str, ...]:
        """Name what a worker keeps loaded, each once: the live model, the one before it, the challenger."""
        return tuple(dict.fromkeys(digest for digest in (self.live, self.before, self.challenger) if digest))


def subject(lineup: Lineup, command: Command) -> str | None:
    """Name the model whose artifact the command needs: its own, what a roll-back returns to, or none."""
    match command.kind:
        case CommandKind.CHALLENGE | CommandKind.PROMOTE:
            return command.model
        case CommandKind.ROLL_BACK | CommandKind.DEMOTE:
            return lineup.before
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
    moved = _MOVES[event.command](lineup, event.model)
    return lineup if moved is None else replace(_answered(moved, event), revision=event.revision)


def _answered(lineup: Lineup, event: Event) -> Lineup:
    return replace(lineup, answers=MappingProxyType({**lineup.answers, str(event.command_id): event}))


def _challenge(lineup: Lineup, model: str | None) -> Lineup | None:
    if model is None or model == lineup.live:
        return None
    return replace(lineup, challenger=model, quarantined=lineup.quarantined - {model})


def _withdraw(lineup: Lineup, _model: str | None) -> Lineup:
    return replace(lineup, challenger=None)


def _promote(lineup: Lineup, model: str | None) -> Lineup | None:
    if model is None or model == lineup.live:
        return None
    return replace(
        lineup,
        live=model,
        challenger=None if lineup.challenger == model else lineup.challenger,
        previous=lineup.previous if lineup.live is None else (*lineup.previous, lineup.live),
        quarantined=lineup.quarantined - {model},
    )


def _roll_back(lineup: Lineup, _model: str | None) -> Lineup | None:
    if lineup.before is None:
        return None
    return replace(
        lineup,
        live=lineup.before,
        challenger=None if lineup.challenger == lineup.before else lineup.challenger,
        previous=lineup.previous[:-1],
    )


def _demote(lineup: Lineup, model: str | None) -> Lineup | None:
    demoted, back = lineup.live, _roll_back(lineup, model)
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
_MOVES: Mapping[CommandKind, Callable[[Lineup, str | None], Lineup | None]] = MappingProxyType(
    {
        CommandKind.CHALLENGE: _challenge,
        CommandKind.WITHDRAW: _withdraw,
        CommandKind.PROMOTE: _promote,
        CommandKind.ROLL_BACK: _roll_back,
        CommandKind.DEMOTE: _demote,
    }
)
