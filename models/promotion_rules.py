"""What the judge asks of a promotion where the fleet needs a verdict for it: a PROMOTE in its evidence.

`fraudstream shadow verdict` gives verdicts, and the command line puts a short form into `evidence`. The judge does not
compute it again; it looks whether it is about this model and the one that is live, and not too old.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from models.commands import Command, CommandKind, Digest, Timestamp
from models.lineup import Lineup
from models.problems import Problem, ProblemCode
from models.times import format_time, stated_ms

VERDICT = "verdict"
"""The entry of `evidence`."""
PROMOTE = "PROMOTE"
MOST_HOURS = 24
"""A verdict holds for so long after it was given."""
_MOST_MS = MOST_HOURS * 3_600_000
SKEW_MS = 300_000
"""So far may the clock of whoever gave a verdict be ahead of the judge's."""
_ADVICE = "`fraudstream shadow verdict` gives one; --force promotes all the same, on the record"


class StatedVerdict(msgspec.Struct, frozen=True):
    """What the judge reads of a verdict: the word, about which models, the gate that decided, and when."""

    verdict: str
    challenger: Digest
    live: Digest
    gate: str
    at: Timestamp


def needs_verdict(lineup: Lineup, command: Command, model: str | None) -> bool:
    """Tell whether a command needs a verdict.

    `promote` and `rollout` do, where the fleet asks for it. The first model has nothing to be compared with, and the
    top of a ladder follows from a rollout that had its own.
    """
    return lineup.limits is not None and lineup.limits.promote_needs_verdict and is_gated(lineup, command, model)


def is_gated(lineup: Lineup, command: Command, model: str | None) -> bool:
    """Tell whether a command is one that the fleet's gates are about: with `needs_verdict` or a budget of alerts."""
    if lineup.live is None or command.force:
        return False
    climbs = lineup.canary is not None and lineup.rollout is not None and lineup.rollout.model == model
    return command.kind is CommandKind.ROLLOUT or (command.kind is CommandKind.PROMOTE and not climbs)


def promotion_problems(lineup: Lineup, command: Command, model: str | None, now_ms: int) -> Iterator[Problem]:
    """Refuse a promotion that needs a verdict and has none on this model, of now; what it says, `record_rules` asks."""
    if model is None or not needs_verdict(lineup, command, model):
        return
    found = stated_verdict((command.evidence or {}).get(VERDICT))
    if found is None:
        yield Problem(ProblemCode.NO_VERDICT, f"the evidence holds no verdict on {model}; {_ADVICE}")
        return
    for what, stated, is_so in (("challenger", found.challenger, model), ("live model", found.live, lineup.live)):
        if stated != is_so:
            detail = f"the verdict's {what} is {stated}, here it is {is_so}; {_ADVICE}"
            yield Problem(ProblemCode.OTHER_VERDICT, detail)
    if not _is_of_now(found, now_ms):
        detail = f"the verdict was given at {found.at}, and it is {format_time(now_ms)}; it holds for {MOST_HOURS} h"
        yield Problem(ProblemCode.STALE_VERDICT, f"{detail}; {_ADVICE}")


def is_in_force(verdict: StatedVerdict, live: str | None, now_ms: int) -> bool:
    """Tell whether a verdict says PROMOTE, compares with the model that is live, and is not too old."""
    return verdict.verdict == PROMOTE and verdict.live == live and _is_of_now(verdict, now_ms)


def _is_of_now(verdict: StatedVerdict, now_ms: int) -> bool:
    return -SKEW_MS <= now_ms - stated_ms(verdict.at) <= _MOST_MS


def stated_verdict(evidence: Any) -> StatedVerdict | None:  # noqa: ANN401 - anybody may send evidence of any form
    """Return the verdict that evidence states; None if it states none that can be read."""
    try:
        return msgspec.convert(evidence, StatedVerdict)
    except msgspec.ValidationError:
        return None
