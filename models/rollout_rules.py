"""What the judge asks of commands about a rollout, and of automatic commands while these are frozen."""

from collections.abc import Iterator

from guards.shares import LIVE
from models.commands import Command, CommandKind
from models.lineup import Lineup
from models.problems import Problem, ProblemCode
from models.rollouts import Freeze, is_automatic

_ENDS_EXPOSURE = frozenset(
    {CommandKind.END_CANARY, CommandKind.ROLL_BACK, CommandKind.DEMOTE, CommandKind.WITHDRAW, CommandKind.PAUSE}
)


def rollout_problems(lineup: Lineup, command: Command) -> Iterator[Problem]:
    """Refuse what would change nothing, and what automation must not do now."""
    climbing = lineup.climbing
    match command.kind:
        case CommandKind.PAUSE | CommandKind.RESUME if climbing is None:
            yield Problem(
                ProblemCode.NO_ROLLOUT, "no rollout climbs its ladder; start one by `fraudstream rollout start`"
            )
        case CommandKind.PAUSE if climbing is not None and climbing.paused:
            yield Problem(ProblemCode.NOTHING_CHANGES, "the rollout is paused already")
        case CommandKind.RESUME if climbing is not None and not climbing.paused:
            yield Problem(ProblemCode.NOTHING_CHANGES, "the rollout is not paused")
        case CommandKind.FREEZE if lineup.frozen == Freeze(command.hands_off):
            yield Problem(ProblemCode.NOTHING_CHANGES, f"automatic commands are {_frozen(lineup.frozen)} already")
        case CommandKind.THAW if lineup.frozen is None:
            yield Problem(ProblemCode.NOTHING_CHANGES, "automatic commands are not frozen")
    if lineup.frozen is not None and is_automatic(command.evidence) and _is_refused(lineup, command, lineup.frozen):
        detail = f"automatic commands are {_frozen(lineup.frozen)}; an operator may thaw them: `fraudstream model thaw`"
        yield Problem(ProblemCode.FROZEN, detail)


def _is_refused(lineup: Lineup, command: Command, freeze: Freeze) -> bool:
    return freeze.hands_off or not (_ends_exposure(command) or _lowers_share(lineup, command))


def _ends_exposure(command: Command) -> bool:
    return command.kind in _ENDS_EXPOSURE or (command.kind is CommandKind.END_SPLIT and command.winner == LIVE)


def _lowers_share(lineup: Lineup, command: Command) -> bool:
    share_bp = command.share_bp
    return share_bp is not None and lineup.canary is not None and share_bp < lineup.canary.share_bp


def _frozen(freeze: Freeze) -> str:
    return "frozen, those that end a model's exposure too" if freeze.hands_off else "frozen"
