"""What the judge asks of commands about a split, and of others while one runs."""

from collections.abc import Collection, Iterator

from fraudstream_client.arms import CANARY, LIVE
from guards.shares import share_text
from models.arms import Split
from models.commands import Capability, Command, CommandKind
from models.lineup import Lineup
from models.problems import Problem, ProblemCode

_BESIDE_LIVE = (CommandKind.CANARY, CommandKind.ROLLOUT, CommandKind.SPLIT)
"""What would put another model beside the live one."""
_END_IT = "end it first, by `fraudstream model end-split --winner ARM`, or `--winner live`"


def split_problems(lineup: Lineup, command: Command, model: str | None) -> Iterator[Problem]:
    """Refuse a split that cannot run, and what must not be beside one; `model` is the command's, if it is known."""
    split = lineup.split
    if command.kind is CommandKind.SPLIT:
        yield from _start_problems(lineup)
    if command.kind is CommandKind.END_SPLIT:
        yield from _end_problems(lineup, str(command.winner))
    if split is None:
        return
    if command.kind in _BESIDE_LIVE:
        yield Problem(ProblemCode.SPLIT_RUNNING, f"{split_text(split)}, and its shares stay as they are; {_END_IT}")
    elif command.kind is CommandKind.CHALLENGE and model in split.models:
        detail = f"{split_text(split)}, and {model} decides in it already; scores tell how, by their arm"
        yield Problem(ProblemCode.SPLIT_RUNNING, detail)
    elif _makes_live(command) and model not in (None, lineup.live, *split.models):
        detail = f"{split_text(split)}, and {model} is the model of none of them; {_END_IT}"
        yield Problem(ProblemCode.SPLIT_RUNNING, detail)


def _makes_live(command: Command) -> bool:
    return command.kind is CommandKind.PROMOTE or command.to is not None


def _start_problems(lineup: Lineup) -> Iterator[Problem]:
    if lineup.live is None:
        yield Problem(ProblemCode.NOTHING_LIVE, "no model is live beside which a split could run; promote one")
    if lineup.canary is not None:
        running = f"{lineup.canary.model} is the canary, at {share_text(lineup.canary.share_bp)}"
        yield Problem(ProblemCode.CANARY_RUNNING, f"{running}; end it first, by `fraudstream model end-canary`")


def _end_problems(lineup: Lineup, winner: str) -> Iterator[Problem]:
    if lineup.split is None:
        canary = "" if lineup.canary is None else f"; a {CANARY} does: `fraudstream model end-canary` ends it"
        yield Problem(ProblemCode.NO_SPLIT, f"no split runs{canary}")
    elif winner != LIVE and lineup.split.arm(winner) is None:
        names = ", ".join(arm.name for arm in lineup.split.arms)
        yield Problem(
            ProblemCode.INVALID_FIELD, f"winner: no arm is called {winner!r}; the arms are {names} and {LIVE}"
        )


def exclusion_problems(command: Command, key_check: str | None, unable: Collection[str]) -> Iterator[Problem]:
    """Refuse excluded cards that a worker would take for others, and ids where the deployment hashes them.

    `key_check` is that of the deployment's hash key, None if it has none. `unable` are the members of the group that
    have not announced that they know hashes.
    """
    if not command.exclude:
        return
    if (problem := other_key_text(command.exclude_key_check, key_check)) is not None:
        yield Problem(ProblemCode.OTHER_HASH_KEY, problem)
    if command.exclude_key_check is not None and unable:
        yield Problem(ProblemCode.OLDER_WORKERS, older_text(unable))


def other_key_text(given: str | None, own: str | None) -> str | None:
    """Say how the key by which a sender hashes excluded cards is not the deployment's, and what to do.

    Both are check values; None is no key. Returns None if they are the same.
    """
    if given == own:
        return None
    if given is None:
        return (
            "exclude: ids of cards, which the topics keep for ever, where the deployment has a hash key: set "
            "FRAUDSTREAM_HASH_KEY_FILE where it is sent from, and hashes are sent"
        )
    if own is None:
        return (
            "exclude: hashed, and the workers have no hash key, so that they cannot tell which cards are meant: set "
            "FRAUDSTREAM_HASH_KEY_FILE for the whole deployment or not at all"
        )
    return (
        "exclude: hashed with another key than that of the workers: set FRAUDSTREAM_HASH_KEY_FILE to the file of the "
        "deployment's key where it is sent from"
    )


def older_text(unable: Collection[str]) -> str:
    """Say which workers do not know hashed cards, and what to do."""
    names = ", ".join(sorted(unable))
    return (
        f"exclude: {names} have not announced that they know hashed cards ({Capability.HASHED_EXCLUDE}), as workers of "
        "earlier versions do not, and would not exclude them: upgrade these first; after a restore of the control log "
        "workers announce it again within a minute"
    )


def split_text(split: Split) -> str:
    """Return the arms of a split for people."""
    arms = ", ".join(f"{arm.name} at {share_text(arm.share_bp)}" for arm in split.arms)
    return f"a split runs ({arms})"


def winners_model(lineup: Lineup, command: Command) -> str | None:
    """Return the model that an `end_split` makes live; None for that of `live`, or if there is no such arm."""
    won = None if lineup.split is None else lineup.split.arm(str(command.winner))
    return None if won is None else won.model
