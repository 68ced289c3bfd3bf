"""The same figures by week, and by segment: band of the amount, channel, country, whether a card is new, categories.

A model that is good on the whole may be useless where it matters; and one that was good in its first week may not be in
its fourth.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from features.declaration import DAY_MS
from fraudstream.lab.evaluation.draws import CardDraws
from fraudstream.lab.evaluation.drift import ReferenceGroups
from fraudstream.lab.evaluation.figures import (
    Figures,
    ScoredBy,
    card_figures,
    decision_figures,
    differences,
    fraud_share,
    merged,
    ranking_figures,
)
from fraudstream.lab.evaluation.payments import EvaluatedPayments
from fraudstream.lab.evaluation.report import SliceEvaluation
from fraudstream.lab.evaluation.request import EvaluationTerms, Progress
from fraudstream.lab.training.segments import NamedTexts, SegmentColumns, segments
from metrics.columns import Floats, Ints
from models.times import format_time

_WEEK_MS = 7 * DAY_MS


class PaymentSlice(NamedTuple):
    """Some of the payments by their numbers; `since_ms` is the begin of a week."""

    kind: str
    name: str
    rows: Ints
    since_ms: int | None = None


class SliceContext(NamedTuple):
    """What every slice is cut from: all payments, what models said of them, terms, and the scores' reference."""

    payments: EvaluatedPayments
    scored: Sequence[ScoredBy]
    terms: EvaluationTerms
    reference: Sequence[ReferenceGroups]


def weeks(payments: EvaluatedPayments) -> list[PaymentSlice]:
    """Return spans of seven UTC days from the first day with payments on."""
    first = int(payments.occurred_ms[0]) // DAY_MS * DAY_MS
    number = (payments.occurred_ms - first) // _WEEK_MS
    found = []
    for week in np.unique(number).tolist():
        since = first + week * _WEEK_MS
        found.append(PaymentSlice("week", format_time(since)[:10], np.flatnonzero(number == week), since))
    return found


def segment_slices(
    payments: EvaluatedPayments, currencies: Sequence[str], history_ms: int, named: Sequence[NamedTexts] = ()
) -> list[PaymentSlice]:
    """Return the segments of every kind that the file tells apart; see `segments`."""
    columns = SegmentColumns(
        payments.amount_minor,
        payments.currency,
        payments.channel,
        payments.country,
        payments.card_age_ms,
        payments.categories,
    )
    return [PaymentSlice(*one) for one in segments(columns, currencies, history_ms, named)]


def slice_reports(
    context: SliceContext, slices: Sequence[PaymentSlice], progress: Progress
) -> tuple[SliceEvaluation, ...]:
    """Measure each slice; weeks have card precision and the stability of scores as well."""
    found = []
    for at, one in enumerate(slices):
        found.append(_slice_report(context, one))
        progress(f"{one.kind}s" if one.since_ms is not None else "segments", at + 1, len(slices))
    return tuple(found)


def _slice_report(context: SliceContext, one: PaymentSlice) -> SliceEvaluation:
    terms, plan = context.terms, context.terms.plan
    payments, scored = context.payments.where(one.rows), [each.where(one.rows) for each in context.scored]
    draws = CardDraws(payments.card, plan)
    parts = [ranking_figures(payments, scored, draws), decision_figures(payments, scored, draws)]
    if one.since_ms is not None:
        parts.append(card_figures(payments, scored, terms))
        parts.append(_stability(context.reference, [each.scores for each in scored], draws))
    figures = merged(*parts)
    return SliceEvaluation(
        kind=one.kind,
        name=one.name,
        since=None if one.since_ms is None else format_time(one.since_ms),
        payments=len(one.rows),
        cards=draws.count,
        frauds=int(payments.fraud.sum()),
        fraud_share=fraud_share(payments, draws).figure(plan),
        figures=tuple({name: figure.figure(plan) for name, figure in each.items()} for each in figures),
        differences={name: figure.figure(plan) for name, figure in differences(figures).items()},
    )


def _stability(reference: Sequence[ReferenceGroups], scores: Sequence[Floats], draws: CardDraws) -> list[Figures]:
    return [{"score_stability": groups.drift(values, draws)} for groups, values in zip(reference, scores, strict=True)]
