"""What the judge asks of a promotion where the fleet has a budget of alerts: a volume within it, in its evidence.

The command line takes the volume from the shadow or from manifests, and puts it into `evidence`. The judge does not
compute it again; it looks whether it is about this model and the one that is live, not too old, and within the budget.
So its verdict follows from the log.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from models.commands import Command, CommandKind, Digest, Timestamp
from models.lineup import Lineup
from models.problems import Problem, ProblemCode
from models.promotion_rules import MOST_HOURS, SKEW_MS, is_gated
from models.times import format_time, stated_ms
from models.volume import ROUNDING, VolumeBudget, VolumeShare

VOLUME = "volume"
"""The entry of `evidence`."""
_MOST_MS = MOST_HOURS * 3_600_000
_ADVICE = "`fraudstream model promote`, or `end-split`, states one; --force promotes all the same, on the record"
_WAY_OUT = (
    "choose other thresholds by `fraudstream model policy`, or another budget by `fraudstream limits set`; --force "
    "promotes all the same, on the record"
)


class VolumeBasis(StrEnum):
    """Where a volume comes from."""

    SHADOW = "shadow"
    """What both models said of the same payments, in the shadow."""
    MANIFEST = "manifest"
    """What each model's manifest expects, of its own validation part."""


class StatedVolume(msgspec.Struct, frozen=True):
    """What the judge reads of a volume.

    Attributes:
        model: whose volume it is.
        live: the live model that it is compared with.
        basis: where it comes from.
        payments: of how many payments it is.
        alert_share: of these, the share that the model reviews or declines.
        decline_share: the share that it declines.
        live_alert_share: the share that the live model reviews or declines; None: it is not known.
        at: when it was stated.
    """

    model: Digest
    live: Digest
    basis: VolumeBasis
    payments: Annotated[int, msgspec.Meta(ge=1)]
    alert_share: VolumeShare
    decline_share: VolumeShare
    live_alert_share: VolumeShare | None
    at: Timestamp


def needs_volume(lineup: Lineup, command: Command, model: str | None) -> bool:
    """Tell whether a command needs a volume: as a promotion needs a verdict, where the fleet has a budget.

    So does the end of a split that makes another model live; its grounds are the experiment, so it needs no verdict.
    """
    if lineup.limits is None or lineup.limits.volume_budget is None:
        return False
    wins = command.kind is CommandKind.END_SPLIT and not command.force and model not in (None, lineup.live)
    return wins or is_gated(lineup, command, model)


def volume_problems(lineup: Lineup, command: Command, model: str | None, now_ms: int) -> Iterator[Problem]:
    """Refuse a promotion that needs a volume and has none, or one beyond the fleet's budget, of this model, now."""
    if model is None or lineup.limits is None or not needs_volume(lineup, command, model):
        return
    found = stated_volume((command.evidence or {}).get(VOLUME))
    if found is None:
        yield Problem(ProblemCode.NO_VOLUME, f"the evidence holds no volume of {model}; {_ADVICE}")
        return
    for what, stated, is_so in (("model", found.model, model), ("live model", found.live, lineup.live)):
        if stated != is_so:
            yield Problem(ProblemCode.OTHER_VOLUME, f"the volume's {what} is {stated}, here it is {is_so}; {_ADVICE}")
    if not -SKEW_MS <= now_ms - stated_ms(found.at) <= _MOST_MS:
        detail = f"the volume was stated at {found.at}, and it is {format_time(now_ms)}; it holds for {MOST_HOURS} h"
        yield Problem(ProblemCode.STALE_VOLUME, f"{detail}; {_ADVICE}")
    for detail in beyond_budget(found, lineup.limits.volume_budget or VolumeBudget()):
        yield Problem(ProblemCode.OVER_BUDGET, f"{detail}; {_WAY_OUT}")


def beyond_budget(found: StatedVolume, budget: VolumeBudget) -> Iterator[str]:
    """Yield each bound of a budget that a volume leaves, in words."""
    basis = f"of {found.payments:,} payments ({found.basis})"
    alerts, declines = (found.alert_share, budget.alert_share), (found.decline_share, budget.decline_share)
    for what, (share, most) in {"alerts": alerts, "declines": declines}.items():
        if most is not None and _is_beyond(share, most):
            yield f"{what} on {_percent(share)} {basis}, the budget is {_percent(most)}"
    if budget.change is None:
        return
    before = found.live_alert_share
    if before is None:
        yield "the live model's volume is not known, so nothing shows how far alerts would move"
    elif _is_beyond(abs(found.alert_share - before), budget.change * before):
        move = f"from {_percent(before)} to {_percent(found.alert_share)} {basis}"
        yield f"alerts would move {move}, the budget is {_percent(budget.change)} of the former"


def _is_beyond(share: float, most: float) -> bool:
    return share > most + ROUNDING


def stated_volume(evidence: Any) -> StatedVolume | None:  # noqa: ANN401 - anybody may send evidence of any form
    """Return the volume that evidence states; None if it states none that can be read."""
    try:
        return msgspec.convert(evidence, StatedVolume)
    except msgspec.ValidationError:
        return None


def _percent(share: float) -> str:
    return f"{share * 100:.4g} %"
