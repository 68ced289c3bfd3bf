"""Draw lots for the declines of a batch: a small share of them is approved, within a cap in money."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from models.let_through import LET_THROUGH, DeclinedPayment, LetThrough, LetThroughTotals, draw_lots
from models.policy import Decision
from models.times import day_of
from stream.contract.outputs import DecidedBy, Overruled
from stream.scoring.encode import Judgement, Scored

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
        return replace(judgement, propensity=propensity)
    return replace(judgement, decision=Decision.APPROVE, overruled=_OVERRULED, propensity=propensity)
