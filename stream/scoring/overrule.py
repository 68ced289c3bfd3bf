"""Overrule decisions of a batch after the models have spoken: first let-through, then the cap on declines.

It runs behind the encoding, on the whole batch, right before the scores are written: a batch may be decided in parts,
some of them again, and each decision must count once. Only scores that change are encoded again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from models.decline_cap import DeclineCap
from models.let_through import LetThrough, LetThroughTotals
from models.limits import LimitState
from stream.contract.outputs import Score
from stream.scoring.cap import cap_declines
from stream.scoring.encode import Judgement, Scored
from stream.scoring.let_through import let_through

_decode = msgspec.json.Decoder(Score).decode
_encode = msgspec.json.Encoder().encode


def overrule_decisions(
    scored: Scored, states: Mapping[int, LimitState], cap: DeclineCap | None, rule: LetThrough | None
) -> tuple[Scored, Mapping[int, LimitState]]:
    """Return the decisions as the limits leave them, and what these go by in each partition after them.

    `states` are those after the last written score of each partition; `cap` and `rule` are in force, None: there is no
    such limit.
    """
    judgements, totals = scored.judgements, _totals(states)
    if rule is not None:
        judgements, totals = let_through(scored, totals, rule)
    before = {partition: one.declines for partition, one in states.items()}
    judgements, windows = cap_declines(scored.records, judgements, before, cap)
    after = {partition: LimitState(windows[partition], totals[partition]) for partition in states}
    return (scored if judgements is scored.judgements else _encoded(scored, judgements)), after


def _totals(states: Mapping[int, LimitState]) -> Mapping[int, LetThroughTotals]:
    return {partition: one.let_through for partition, one in states.items()}


def _encoded(scored: Scored, judgements: Sequence[Judgement]) -> Scored:
    """Return the decisions with other judgements; the scores of those that differ are encoded again."""
    outgoing = list(scored.outgoing)
    for at, (one, before) in enumerate(zip(judgements, scored.judgements, strict=True)):
        if one is not before:
            score = msgspec.structs.replace(
                _decode(outgoing[at].value or b""),
                decision=one.decision,
                overruled=one.overruled,
                propensity=one.propensity,
            )
            outgoing[at] = outgoing[at]._replace(value=_encode(score))
    return replace(scored, judgements=judgements, outgoing=outgoing)
