"""Apply the cap on declines to the decisions of a batch: beyond it, what an artifact declines is reviewed."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from guards.shares import LIVE
from models.decline_cap import DECLINE_CAP, DeclineCap, DeclineWindow, DeclineWindows, overrule
from models.let_through import LET_THROUGH
from models.policy import Decision
from stream.contract.outputs import Overruled
from stream.engine.batches import Record
from stream.scoring.encode import Judgement


def cap_declines(
    records: Sequence[Record],
    judgements: Sequence[Judgement],
    windows: Mapping[int, DeclineWindows],
    cap: DeclineCap | None,
) -> tuple[Sequence[Judgement], Mapping[int, DeclineWindows]]:
    """Return the judgements of a batch's records as the cap leaves them, and the windows of each partition after them.

    `windows` are those after the last written score of each partition. Without a cap they move all the same. A decline
    by a rule counts in them as one by the model does. In the live arm the cap is asked nothing of it, since it may be
    an obligation; in a canary's or a split's arm the rule is what is tried out. A decline that a lot has overruled
    counts, too, and the cap is asked nothing of it.
    """
    rows: dict[tuple[int, str], list[int]] = {}
    for at, (record, judgement) in enumerate(zip(records, judgements, strict=True)):
        rows.setdefault((record.partition, judgement.arm), []).append(at)
    overruled, after = list[int](), {partition: dict(some) for partition, some in windows.items()}
    for (partition, arm), which in rows.items():
        own, declined = after.setdefault(partition, {}), [judgements[at].ruled is Decision.DECLINE for at in which]
        passed = [at for at, one in enumerate(declined) if one and _is_not_asked(judgements[which[at]])]
        found, own[arm] = overrule(own.pop(arm, DeclineWindow()), declined, cap, passed)
        overruled += [which[one] for one in found]
    return (_reviewed(judgements, overruled) if overruled else judgements), after


def _is_not_asked(decline: Judgement) -> bool:
    overruled = decline.overruled
    return overruled is not None and (decline.arm == LIVE or overruled.by == LET_THROUGH)


def _reviewed(judgements: Sequence[Judgement], which: Sequence[int]) -> Sequence[Judgement]:
    changed = list(judgements)
    for at in which:
        overruled = Overruled.of(DECLINE_CAP, changed[at].said, Decision.DECLINE)
        changed[at] = replace(changed[at], decision=Decision.REVIEW, overruled=overruled)
    return changed
