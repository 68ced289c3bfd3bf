"""Apply the cap on declines to the decisions of a batch: beyond it, what a model declines is reviewed."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from models.decline_cap import DECLINE_CAP, DeclineCap, DeclineWindow, DeclineWindows, overrule
from models.policy import Decision
from stream.contract.outputs import Overruled
from stream.kafka.batches import Record
from stream.scoring.encode import Judgement

_OVERRULED = Overruled(DECLINE_CAP, Decision.DECLINE)


def cap_declines(
    records: Sequence[Record],
    judgements: Sequence[Judgement],
    windows: Mapping[int, DeclineWindows],
    cap: DeclineCap | None,
) -> tuple[Sequence[Judgement], Mapping[int, DeclineWindows]]:
    """Return the judgements of a batch's records as the cap leaves them, and the windows of each partition after them.

    `windows` are those after the last written score of each partition. Without a cap they move all the same. A decline
    that a lot or a rule has overruled counts in them, but the cap is asked nothing of it.
    """
    rows: dict[tuple[int, str], list[int]] = {}
    for at, (record, judgement) in enumerate(zip(records, judgements, strict=True)):
        rows.setdefault((record.partition, judgement.arm), []).append(at)
    overruled, after = list[int](), {partition: dict(some) for partition, some in windows.items()}
    for (partition, arm), which in rows.items():
        own, declined = after.setdefault(partition, {}), [judgements[at].said is Decision.DECLINE for at in which]
        passed = [at for at, one in enumerate(declined) if one and judgements[which[at]].overruled is not None]
        found, own[arm] = overrule(own.pop(arm, DeclineWindow()), declined, cap, passed)
        overruled += [which[one] for one in found]
    return (_reviewed(judgements, overruled) if overruled else judgements), after


def _reviewed(judgements: Sequence[Judgement], which: Sequence[int]) -> Sequence[Judgement]:
    changed = list(judgements)
    for at in which:
        changed[at] = replace(changed[at], decision=Decision.REVIEW, overruled=_OVERRULED)
    return changed
