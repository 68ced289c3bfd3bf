"""A verdict on a challenger, computed of decisions, comparisons and labels: a pure function of columns and terms."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import numpy as np

from fraudstream.ops.rollout.outcomes.columns import BY_RULES, ColumnNames, was_declined
from fraudstream.ops.rollout.outcomes.labels import LabelRows
from fraudstream.ops.rollout.outcomes.maturity import MaturityCurve, Outcomes, maturity_curve, outcomes_of
from fraudstream.ops.rollout.verdict.declined import DeclinedFacts, declined_facts
from fraudstream.ops.rollout.verdict.estimate import EstimateFacts, estimate
from fraudstream.ops.rollout.verdict.figures import MaturedFacts, matured_facts
from fraudstream.ops.rollout.verdict.gates import (
    GatedFacts,
    GateName,
    LabelFacts,
    OpponentFacts,
    VerdictGate,
    VerdictWord,
    decide,
    gates_of_verdict,
)
from fraudstream.ops.rollout.verdict.losses import LossFacts, compare_losses
from fraudstream.ops.rollout.verdict.pairs import Pairs, SwapIds
from fraudstream.ops.rollout.verdict.swaps import (
    AlertFacts,
    CoverageFacts,
    LargestSwap,
    LatencyFacts,
    RowTimeReport,
    ShiftFacts,
    SwapFacts,
    alert_facts,
    coverage_facts,
    largest_swaps,
    latency_facts,
    shift_facts,
    swap_facts,
)
from fraudstream.ops.rollout.verdict.terms import VerdictOptions, VerdictTerms
from fraudstream_client.arms import WHOLE_BP
from models.times import format_time
from shadow.history import WorkerReports

CURVE_SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
_NO_IDS: Mapping[str, Mapping[int, SwapIds]] = MappingProxyType({})


class CurveFacts(msgspec.Struct, frozen=True):
    """The maturity curve: by which age, in milliseconds, which share of the frauds is known.

    `frauds` are those that it rests on, `reach_ms` is the age up to which it can tell.
    """

    frauds: int
    reach_ms: int
    ages_ms: dict[str, int]
    points: tuple[tuple[int, float], ...]

    @classmethod
    def of(cls, curve: MaturityCurve) -> "CurveFacts":
        """Return some ages by share, and at most a hundred points to draw."""
        quantiles = {f"{share:g}": curve.quantile_ms(share) for share in CURVE_SHARES}
        chosen = np.unique(np.linspace(0, max(0, len(curve.ages_ms) - 1), 100).astype(int))
        points = tuple(
            (int(curve.ages_ms[at]), float(curve.shares[at])) for at in chosen.tolist() if len(curve.ages_ms)
        )
        ages = {share: age for share, age in quantiles.items() if age is not None}
        return cls(curve.frauds, curve.reach_ms, ages, points)


class StretchFacts(msgspec.Struct, frozen=True):
    """Which payments a verdict is about.

    Attributes:
        since: the decisions that were read, by their Kafka timestamps.
        first: the time of the first compared payment; None if nothing was compared.
        last: of the last.
        as_of: until when labels and payments are known.
        settled_before: payments that occurred before have matured, but for those that were declined.
        cards_share: the share of the cards that was read.
    """

    since: str
    first: str | None
    last: str | None
    as_of: str
    settled_before: str | None
    cards_share: float


class VerdictReport(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict, the gate that decided it, and all that it rests on. Money is in minor units of `terms.currency`."""

    verdict: VerdictWord
    gate: GateName
    deployment: str
    challenger: str
    live: dict[str, int]
    live_now: str | None
    revision: int
    at: str
    stretch: StretchFacts
    terms: VerdictTerms
    gates: tuple[VerdictGate, ...]
    coverage: CoverageFacts
    opponent: OpponentFacts
    shift: ShiftFacts
    swaps: tuple[SwapFacts, ...]
    largest: tuple[LargestSwap, ...]
    alerts: AlertFacts
    latency: LatencyFacts
    labels: LabelFacts
    curve: CurveFacts
    matured: MaturedFacts
    loss: LossFacts
    declined: DeclinedFacts
    estimate: EstimateFacts

    def facts(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        facts: dict[str, Any] = msgspec.to_builtins(self)
        return facts


class Subject(NamedTuple):
    """Whom a verdict is about.

    Attributes:
        deployment: of both models.
        challenger: its digest.
        live_now: the digest of the model that is live now; None if none is.
        revision: of the lineup now.
    """

    deployment: str
    challenger: str
    live_now: str | None
    revision: int


class VerdictInput(NamedTuple):
    """What was read for a verdict.

    Attributes:
        subject: whom it is about.
        pairs: compared decisions, with their labels.
        eligible: how many decisions had to be compared.
        void: void scores.
        names: what the indexes of columns stand for.
        labels: the label that counts of each payment, compared or not.
        reports: what workers reported as missed comparisons.
        row_times: what workers measured of the challenger.
        ids: of the largest swaps, by currency and payment.
        since_ms: from when decisions were read.
        as_of_ms: until when labels and payments are known.
        now_ms: when the verdict is given.
        cards_bp: the share of the cards that was read, in 0.01 %.
    """

    subject: Subject
    pairs: Pairs
    eligible: int
    void: int
    names: ColumnNames
    labels: LabelRows
    reports: WorkerReports
    row_times: tuple[RowTimeReport, ...]
    since_ms: int
    as_of_ms: int
    now_ms: int
    cards_bp: int = WHOLE_BP
    ids: Mapping[str, Mapping[int, SwapIds]] = _NO_IDS


def judge_challenger(read: VerdictInput, options: VerdictOptions) -> VerdictReport:
    """Return the verdict on a challenger.

    Raises:
        ValueError: the options state costs or a cap, but not in the verdict's currency.
    """
    terms = options.terms(most_frequent_currency(read))
    outcomes = outcomes_of(read.pairs.rows, terms.maturity(read.as_of_ms))
    priced, known = _of_currency(read, outcomes, terms)
    curve = maturity_curve(read.labels, terms.maturity(read.as_of_ms))
    gated = gated_facts(read, terms)
    gates = gates_of_verdict(gated, terms)
    verdict, gate = decide(gates, gated.loss)
    return VerdictReport(
        verdict=verdict,
        gate=gate,
        **read.subject._asdict(),
        live=_opponents(read),
        at=format_time(read.now_ms),
        stretch=_stretch(read, outcomes),
        terms=terms,
        gates=gates,
        **gated._asdict(),
        shift=shift_facts(read.pairs),
        swaps=swap_facts(read.pairs, outcomes, read.names.currencies),
        largest=largest_swaps(priced, known, read.ids.get(terms.currency, {})),
        curve=CurveFacts.of(curve),
        matured=matured_facts(priced.where(known.used), known.fraud[known.used], read.labels, terms),
        declined=declined_facts(priced, known, terms),
        estimate=estimate(priced, known, (curve, read.as_of_ms), terms),
    )


def gated_facts(read: VerdictInput, terms: VerdictTerms) -> GatedFacts:
    """Return what the gates look at, without all that is shown beside it."""
    outcomes = outcomes_of(read.pairs.rows, terms.maturity(read.as_of_ms))
    priced, known = _of_currency(read, outcomes, terms)
    counts, is_whole = (read.eligible, read.void), read.cards_bp == WHOLE_BP
    return GatedFacts(
        coverage_facts(read.pairs, counts, read.reports, whole=is_whole),
        _opponent_facts(read),
        latency_facts(read.pairs, list(read.row_times)),
        alert_facts(read.pairs, read.cards_bp, terms),
        _label_facts(priced, known),
        compare_losses(priced, known, read.as_of_ms, terms),
    )


def _of_currency(read: VerdictInput, outcomes: Outcomes, terms: VerdictTerms) -> tuple[Pairs, Outcomes]:
    own = read.pairs.rows["currency"] == _index(read.names.currencies, terms.currency)
    return read.pairs.where(own), Outcomes(*(column[own] for column in outcomes))


def most_frequent_currency(read: VerdictInput) -> str:
    """Return the currency of most compared payments, of equal ones the first by its code; EUR without payments."""
    numbers, counts = np.unique(read.pairs.rows["currency"], return_counts=True)
    found = [(-count, read.names.currencies[at]) for at, count in zip(numbers.tolist(), counts.tolist(), strict=True)]
    return min(found)[1] if found else "EUR"


def _index(names: list[str], name: str) -> int:
    return names.index(name) if name in names else -1


def _label_facts(pairs: Pairs, outcomes: Outcomes) -> LabelFacts:
    counted = outcomes.used & ~np.isnan(pairs.live_scores) & ~was_declined(pairs.rows)
    return LabelFacts(
        int(counted.sum()), int((counted & outcomes.fraud).sum()), float(pairs.live_scores[counted].sum())
    )


def _opponent_facts(read: VerdictInput) -> OpponentFacts:
    at = BY_RULES if read.subject.live_now is None else _index(read.names.models, read.subject.live_now)
    same = 0 if at == BY_RULES else int((read.pairs.opponents == at).sum())
    return OpponentFacts(len(read.pairs.rows), same)


def _opponents(read: VerdictInput) -> dict[str, int]:
    """Count the compared decisions by the live model's digest, `rules` where these decided."""
    numbers, counts = np.unique(read.pairs.opponents, return_counts=True)
    return {
        "rules" if at == BY_RULES else read.names.models[at]: count
        for at, count in zip(numbers.tolist(), counts.tolist(), strict=True)
    }


def _stretch(read: VerdictInput, outcomes: Outcomes) -> StretchFacts:
    occurred = read.pairs.rows["occurred_ms"]
    settled = occurred[outcomes.settled]
    return StretchFacts(
        since=format_time(read.since_ms),
        first=format_time(int(occurred.min())) if len(occurred) else None,
        last=format_time(int(occurred.max())) if len(occurred) else None,
        as_of=format_time(read.as_of_ms),
        settled_before=format_time(int(settled.max()) + 1) if len(settled) else None,
        cards_share=read.cards_bp / WHOLE_BP,
    )
