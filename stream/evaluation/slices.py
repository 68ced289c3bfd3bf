"""The same figures by week, and by segment: band of the amount, channel, country, and whether a card is new.

A model that is good on the whole may be useless where it matters; and one that was good in its first week may not be in
its fourth.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from features.declaration import DAY_MS
from metrics.columns import Floats, Ints
from models.times import format_time
from stream.contract.money import number_text
from stream.evaluation.draws import CardDraws
from stream.evaluation.drift import ReferenceGroups
from stream.evaluation.figures import (
    Figures,
    ScoredBy,
    card_figures,
    decision_figures,
    differences,
    fraud_share,
    merged,
    ranking_figures,
)
from stream.evaluation.payments import EvaluatedPayments, channel_name, country_name
from stream.evaluation.report import SliceEvaluation
from stream.evaluation.request import EvaluationTerms, Progress

NEW_CARD_MS = 7 * DAY_MS
"""A card is new for so long from its first payment in the file on."""
MOST_COUNTRIES = 8
"""Of the merchants, by payments; the others are one segment."""
_WEEK_MS = 7 * DAY_MS
_QUANTILES = (0.25, 0.5, 0.75, 0.95)
"""Where the amounts of a currency are cut into bands."""
_DIGITS = 2
_LEAST_CURRENCY_SHARE = 0.02
"""Amounts of a currency with fewer payments are one band."""


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


def segments(payments: EvaluatedPayments, currencies: Sequence[str], file_first_ms: int) -> list[PaymentSlice]:
    """Return the segments of every kind that the file tells apart."""
    found = list(_amount_bands(payments, currencies))
    for kind, column, name in (
        ("channel", payments.channel, channel_name),
        ("country", payments.country, country_name),
    ):
        if column.any():
            found += _named(kind, column, name)
    if int(payments.occurred_ms[0]) - file_first_ms >= NEW_CARD_MS:
        is_new = payments.card_age_ms < NEW_CARD_MS
        names = ("card in its first 7 days", "card known for longer")
        found += [
            PaymentSlice("card", name, np.flatnonzero(which))
            for name, which in zip(names, (is_new, ~is_new), strict=True)
        ]
    return [one for one in found if len(one.rows)]


def _amount_bands(payments: EvaluatedPayments, currencies: Sequence[str]) -> Iterator[PaymentSlice]:
    counts = np.bincount(payments.currency, minlength=len(currencies))
    for place in np.argsort(-counts, kind="stable").tolist():
        rows, currency = np.flatnonzero(payments.currency == place), currencies[place]
        if len(rows) < _LEAST_CURRENCY_SHARE * len(payments.currency):
            yield PaymentSlice("amount", f"{currency}, any", rows)
            continue
        amounts = payments.amount_minor[rows]
        edges = np.unique([_rounded(one) for one in np.quantile(amounts, _QUANTILES).tolist()])
        band = np.searchsorted(edges, amounts, side="right")
        names = [number_text(edge, currency) for edge in edges.tolist()]
        for at in range(len(edges) + 1):
            low = f"from {names[at - 1]}" if at else ""
            high = f"below {names[at]}" if at < len(edges) else ""
            yield PaymentSlice("amount", " ".join(filter(None, (currency, low, high))), rows[band == at])


def _rounded(minor: float) -> int:
    """Return an amount with its first two digits."""
    whole = round(minor)
    return int(round(whole, _DIGITS - len(str(whole))))


def _named(kind: str, column: Ints, name: Callable[[int], str]) -> Iterator[PaymentSlice]:
    """Yield a segment for each of the most frequent values, and one for all others."""
    values, counts = np.unique(column, return_counts=True)
    most = values[np.argsort(-counts, kind="stable")][:MOST_COUNTRIES]
    for value in most.tolist():
        yield PaymentSlice(kind, name(value), np.flatnonzero(column == value))
    yield PaymentSlice(kind, "others", np.flatnonzero(~np.isin(column, most)))


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
