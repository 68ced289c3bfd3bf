"""What the judge asks of commands that set limits, and what is in force after them."""

from collections.abc import Iterator

from models.commands import Command, CommandKind
from models.let_through import LetThrough
from models.limits import Limits
from models.lineup import Lineup
from models.problems import Problem, ProblemCode
from models.volume import VolumeBudget


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
