"""Apply the cap on declines to the decisions of a batch: beyond it, what a model declines is reviewed.

It runs behind the encoding, on the whole batch, right before the scores are written: a batch may be decided in parts,
some of them again, and each decision must move its window once. Only scores that are overruled are encoded again.
"""

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from models.decline_cap import DECLINE_CAP, DeclineCap, DeclineWindow, DeclineWindows, overrule
from models.policy import Decision
from stream.contract.outputs import Overruled, Score
from stream.kafka.publisher import Outgoing
from stream.scoring.encode import Judgement, Scored

_OVERRULED = Overruled(DECLINE_CAP, Decision.DECLINE)
_decode = msgspec.json.Decoder(Score).decode
_encode = msgspec.json.Encoder().encode


def cap_declines(
    scored: Scored, windows: Mapping[int, DeclineWindows], cap: DeclineCap | None
) -> tuple[Scored, Mapping[int, DeclineWindows]]:
    """Return the decisions as the cap leaves them, and the windows of each partition after them.

    `windows` are those after the last written score of each partition. Without a cap they move all the same.
    """
    rows: dict[tuple[int, str], list[int]] = {}
    for at, (record, judgement) in enumerate(zip(scored.records, scored.judgements, strict=True)):
        rows.setdefault((record.partition, judgement.arm), []).append(at)
    overruled, after = list[int](), {partition: dict(some) for partition, some in windows.items()}
    for (partition, arm), which in rows.items():
        own = after.setdefault(partition, {})
        declined = [scored.judgements[at].said is Decision.DECLINE for at in which]
        found, own[arm] = overrule(own.pop(arm, DeclineWindow()), declined, cap)
        overruled += [which[one] for one in found]
    return (_overruled(scored, overruled) if overruled else scored), after


def _overruled(scored: Scored, which: list[int]) -> Scored:
    """Return the decisions with some declines turned into reviews."""
    judgements, outgoing = list[Judgement](scored.judgements), list[Outgoing](scored.outgoing)
    for at in which:
        judgements[at] = replace(judgements[at], decision=Decision.REVIEW, overruled=_OVERRULED)
        score = _decode(outgoing[at].value or b"")
        changed = msgspec.structs.replace(score, decision=Decision.REVIEW, overruled=_OVERRULED)
        outgoing[at] = outgoing[at]._replace(value=_encode(changed))
    return replace(scored, judgements=judgements, outgoing=outgoing)
