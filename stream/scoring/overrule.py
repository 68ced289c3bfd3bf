"""Overrule decisions of a batch after the models have spoken: first let-through, then the cap on declines.

It runs behind the encoding, on the whole batch, right before the scores are written: a batch may be decided in parts,
some of them again, and each decision must count once. Only scores that change are encoded again.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import structs

from fraudstream_client.arms import LIVE
from fraudstream_client.outputs import DecidedBy, Decision, Overruled, Score
from models.decline_cap import DECLINE_CAP, DeclineCap, DeclineWindow, DeclineWindows, overrule
from models.let_through import LET_THROUGH, DeclinedPayment, LetThrough, LetThroughTotals, draw_lots
from models.limits import LimitState
from models.times import day_of
from stream.engine.batches import Record
from stream.scoring.encode import Judgement, Scored

_decode = msgspec.json.Decoder(Score).decode
_encode = msgspec.json.Encoder().encode
_OVERRULED = Overruled(LET_THROUGH, Decision.DECLINE)


def let_through(
    scored: Scored, totals: Mapping[int, LetThroughTotals], rule: LetThrough
) -> tuple[Sequence[Judgement], Mapping[int, LetThroughTotals]]:
    """Return the judgements of a batch as the lots leave them, and the totals of each partition after them.

    `totals` are those after the last written score of each partition. A lot is drawn only for what a model declined,
    be it the arm's own or one that stood in, and no rule beside the model asks for: that may be an obligation.
    """
    rows: dict[int, list[int]] = {}
    for at, one in enumerate(scored.judgements):
        if _gets_lot(one):
            rows.setdefault(scored.records[at].partition, []).append(at)
    if not rows:
        return scored.judgements, totals
    judgements, after = list(scored.judgements), dict(totals)
    for partition, which in rows.items():
        declined = [_declined(scored, at) for at in which]
        lots, after[partition] = draw_lots(rule, partition, after.get(partition, LetThroughTotals()), declined)
        for at, lot in zip(which, lots, strict=True):
            if lot is not None:
                judgements[at] = _drawn(judgements[at], rule.propensity, is_let_through=lot)
    return judgements, after


def _gets_lot(judgement: Judgement) -> bool:
    """Tell whether a model alone declined the payment."""
    is_free = judgement.overruled is None and not judgement.is_bound
    return is_free and judgement.decision is Decision.DECLINE and judgement.decided_by is not DecidedBy.RULES


def _declined(scored: Scored, at: int) -> DeclinedPayment:
    """Return a declined payment with the day that its score states in `scored_at`."""
    payment, scored_ms = scored.transactions[at], scored.records[at].timestamp + scored.latencies_ms[at]
    return DeclinedPayment(payment.transaction_id, payment.currency, payment.amount_minor, day_of(scored_ms))


def _drawn(judgement: Judgement, propensity: float, *, is_let_through: bool) -> Judgement:
    if not is_let_through:
        return structs.replace(judgement, propensity=propensity)
    return structs.replace(judgement, decision=Decision.APPROVE, overruled=_OVERRULED, propensity=propensity)


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
        changed[at] = structs.replace(changed[at], decision=Decision.REVIEW, overruled=overruled)
    return changed


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
            score = structs.replace(
                _decode(outgoing[at].value or b""),
                decision=one.decision,
                overruled=one.overruled,
                propensity=one.propensity,
            )
            outgoing[at] = outgoing[at]._replace(value=_encode(score))
    return dataclasses.replace(scored, judgements=judgements, outgoing=outgoing)
