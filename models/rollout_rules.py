"""What the judge asks of commands about rollouts, canaries, hand-overs and limits, and what it refuses while frozen."""

from collections.abc import Iterator

from fraudstream_client.arms import LIVE
from guards.shares import share_text
from models.commands import Command, CommandKind
from models.let_through import LetThrough
from models.limits import Limits
from models.lineup import Lineup
from models.problems import Problem, ProblemCode
from models.rollouts import Freeze, is_automatic
from models.terms import Term
from models.volume import VolumeBudget

_ENDS_EXPOSURE = frozenset(
    {CommandKind.END_CANARY, CommandKind.ROLL_BACK, CommandKind.DEMOTE, CommandKind.WITHDRAW, CommandKind.PAUSE}
)


def limits_after(lineup: Lineup, command: Command, partitions: int) -> Limits | None:
    """Return all limits after an accepted command that sets some; what it does not name stays. None: it sets none."""
    if command.kind is not CommandKind.LIMITS:
        return None
    before = lineup.limits or Limits()
    cap = before.decline_cap if command.decline_cap is None else command.decline_cap
    needs = command.promote_needs_verdict
    let_through = _let_through_after(before, command, partitions)
    needs = before.promote_needs_verdict if needs is None else needs
    return Limits(cap, let_through, needs, _budget_after(before, command))


def _budget_after(before: Limits, command: Command) -> VolumeBudget | None:
    """Return the budget of alerts after a command; one that asks for nothing ends it."""
    wish = before.volume_budget if command.volume_budget is None else command.volume_budget
    return None if wish is None or wish.asks_nothing else wish


def _let_through_after(before: Limits, command: Command, partitions: int) -> LetThrough | None:
    wish = command.let_through
    if wish is None:
        return before.let_through
    if not wish.share_bp:
        return None
    return LetThrough(wish.share_bp, wish.caps, wish.salt or command.command_id, partitions)


def limit_problems(command: Command, partitions: int) -> Iterator[Problem]:
    """Refuse a let-through without a cap, or whose cap leaves nothing to each of the partitions."""
    wish = command.let_through
    if wish is None:
        return
    if wish.share_bp and not wish.caps:
        detail = "let_through.caps: missing; without a cap in money nothing is let through, so state one by currency"
        yield Problem(ProblemCode.INVALID_FIELD, detail)
    for currency, cap in wish.caps.items():
        if cap < partitions:
            detail = f"{cap} in minor units is less than one for each of {partitions} partitions"
            yield Problem(ProblemCode.INVALID_FIELD, f"let_through.caps.{currency}: {detail}")


def cut_over_problems(lineup: Lineup, command: Command, term: Term) -> Iterator[Problem]:
    """Refuse a hand-over of an old term, to a fleet without a model, or without evidence that the fleet may publish."""
    if command.kind is not CommandKind.CUT_OVER:
        return
    if command.expected_revision != term.number:
        detail = f"the command expects term {command.expected_revision}, the current one is {term.number}"
        yield Problem(ProblemCode.STALE_TERM, f"{detail}, in which {term.publisher} publishes")
    if lineup.live is None:
        detail = f"no model is live in deployment {lineup.deployment}, so it could decide nothing; promote one in it"
        yield Problem(ProblemCode.NOTHING_LIVE, detail)
    elif term.publisher == lineup.deployment:
        yield Problem(ProblemCode.NOTHING_CHANGES, f"deployment {lineup.deployment} publishes already")
    if not command.force and (command.evidence or {}).get("go") is not True:
        detail = "the evidence does not say that the deployment may publish (`go`: true)"
        advice = f"`fraudstream deployment status {lineup.deployment}` says why not; --force does it all the same"
        yield Problem(ProblemCode.NO_GO, f"{detail}; {advice}")


def cards_salt(lineup: Lineup, command: Command) -> str | None:
    """Return what the cards' hash is keyed with; a running canary keeps its own, so that no card changes sides."""
    if command.kind not in (CommandKind.CANARY, CommandKind.SPLIT, CommandKind.ROLLOUT):
        return None
    return command.salt or command.command_id if lineup.canary is None else lineup.canary.salt


def canary_problems(lineup: Lineup, command: Command, model: str | None) -> Iterator[Problem]:
    """Refuse a canary that cannot run, and what must not be beside one; `model` is the command's, if it is known."""
    if command.kind in (CommandKind.CANARY, CommandKind.ROLLOUT) and lineup.live is None:
        yield Problem(ProblemCode.NOTHING_LIVE, "no model is live beside which a canary could run; promote one")
    if lineup.canary is None or model is None:
        return
    running = f"{lineup.canary.model} is the canary, at {share_text(lineup.canary.share_bp)}"
    if command.kind is CommandKind.ROLLOUT or model != lineup.canary.model:
        if command.kind is not CommandKind.CHALLENGE and model != lineup.live:
            detail = f"{running}; end it first, by `fraudstream model end-canary`"
            yield Problem(ProblemCode.CANARY_RUNNING, detail)
    elif command.kind is CommandKind.CHALLENGE:
        yield Problem(ProblemCode.CANARY_RUNNING, f"{running}: it is compared with the live model as it is")
    elif command.kind is CommandKind.CANARY:
        yield from _change_problems(lineup.canary.share_bp, lineup.canary.salt, command, running)


def _change_problems(share_bp: int, salt: str, command: Command, running: str) -> Iterator[Problem]:
    if command.share_bp == share_bp:
        yield Problem(ProblemCode.CANARY_RUNNING, f"{running}: nothing would change")
    if command.salt not in (None, salt):
        yield Problem(ProblemCode.INVALID_FIELD, f"salt: the canary keeps {salt!r} while it runs; leave it out")


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
