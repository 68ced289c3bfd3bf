"""What the judge asks of commands about a canary, and of others while one runs."""

from collections.abc import Iterator

from guards.shares import share_text
from models.commands import Command, CommandKind
from models.lineup import Lineup
from models.problems import Problem, ProblemCode


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
