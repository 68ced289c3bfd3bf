"""What can be told before any label: coverage, scores, decisions that differ, alerts a day, and time.

All of it counts compared decisions of all currencies; money is by currency.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import numpy as np

from fraudstream.ops.rollout.outcomes.columns import CODES
from fraudstream.ops.rollout.outcomes.maturity import DAY_MS, Outcomes
from fraudstream.ops.rollout.verdict.pairs import Pairs, SwapIds
from fraudstream.ops.rollout.verdict.terms import VerdictTerms
from fraudstream_client.arms import WHOLE_BP
from fraudstream_client.outputs import Decision
from metrics.columns import Bools, Ints
from metrics.drift import stability_of_counts
from metrics.money import DecisionCode, amounts_by_currency, decision_pairs
from models.policy import bands
from models.times import format_time
from shadow.history import WorkerReports
from shadow.tally import BAND_GROUP

LATE_MS = 60_000
"""A comparison that comes so long after its decision counts as late; it is compared all the same."""
LARGEST = 10
_DECISIONS = {int(code): decision for decision, code in CODES.items()}


class CoverageFacts(msgspec.Struct, frozen=True):
    """How many decisions were compared, and why the others were not.

    Attributes:
        eligible: decisions that had to be compared.
        compared: those that were; of them `late` more than a minute after the decision.
        skipped, failed: reported by workers for the stretch, of all cards; `astride` are those reported for times that
            begin before it.
        unexplained: neither compared nor reported: under way, or lost; None where only a share of the cards is read.
        void: scores that do not count.
        share: compared of eligible; None if none had to be.
    """

    eligible: int
    compared: int
    late: int
    skipped: int
    failed: int
    astride: int
    unexplained: int | None
    void: int
    share: float | None


class ShiftFacts(msgspec.Struct, frozen=True):
    """The challenger's scores less live's, where both have one; None without such."""

    scored: int
    mean: float | None = None
    mean_absolute: float | None = None
    band_quantiles: tuple[int, int, int] | None = None
    stability_index: float | None = None


class SwapFacts(msgspec.Struct, frozen=True):
    """A pair of decisions: how often, on how many cards, on how much money; and what is known of them.

    `frauds` and `genuine` are payments whose outcome is known, `unobserved` those that were declined; of the others
    the outcome is not known yet. Amounts are in minor units by currency.
    """

    live: Decision
    challenger: Decision
    events: int
    cards: int
    amount_minor: dict[str, int]
    frauds: int
    fraud_minor: dict[str, int]
    genuine: int
    unobserved: int


class LargestSwap(msgspec.Struct, frozen=True):
    """One of the largest payments on which the models differ; `outcome` says what is known of it."""

    transaction_id: str
    card_id: str
    occurred_at: str
    amount_minor: int
    live: Decision
    challenger: Decision
    live_score: float | None
    challenger_score: float | None
    outcome: str


class AlertFacts(msgspec.Struct, frozen=True):
    """Alerts a day of both models: payments that are reviewed or declined.

    `days` is the time from the first payment to the last, at least an hour; `budget` the most of the challenger's.
    """

    days: float
    live_per_day: float
    challenger_per_day: float
    live_busiest: int
    challenger_busiest: int
    budget: float
    stated: bool


class LatencyFacts(msgspec.Struct, frozen=True):
    """Times in milliseconds, but for the processor time of a row, which is in microseconds.

    `row_us` is the slowest worker's median, None where no worker measured: only models of a canary, a split or a
    watched promotion are measured. `lag` is from a decision to its comparison, so it tells of the shadow's queue, not
    of the model; `live` from the record's timestamp to the decision, of whatever decided.
    """

    row_us: float | None
    row_worker: str | None
    live_p50: int | None
    live_p99: int | None
    lag_p50: int | None
    lag_p99: int | None


class RowTimeReport(NamedTuple):
    """What a worker measured last of the challenger."""

    row_us: float
    worker: str


def coverage_facts(pairs: Pairs, counts: tuple[int, int], reports: WorkerReports, *, whole: bool) -> CoverageFacts:
    """Count what was compared.

    Args:
        pairs: the compared decisions.
        counts: eligible decisions, and void scores.
        reports: what workers reported as missed.
        whole: all cards are read, not a share of them.
    """
    eligible, void = counts
    compared, (within, astride) = len(pairs.rows), reports
    left = max(0, eligible - compared - within.missed)
    return CoverageFacts(
        eligible=eligible,
        compared=compared,
        late=int((pairs.lags_ms > LATE_MS).sum()),
        skipped=within.skipped,
        failed=within.failed,
        astride=astride.missed,
        unexplained=left - min(astride.missed, left) if whole else None,
        void=void,
        share=compared / eligible if eligible else None,
    )


def shift_facts(pairs: Pairs) -> ShiftFacts:
    """Return how far the challenger's scores are from live's."""
    scored = ~np.isnan(pairs.live_scores) & ~np.isnan(pairs.challenger_scores)
    live, challenger = pairs.live_scores[scored], pairs.challenger_scores[scored]
    if not len(live):
        return ShiftFacts(0)
    live_bands, challenger_bands = bands(live), bands(challenger)
    low, middle, high = (
        int(one) for one in np.quantile(challenger_bands - live_bands, (0.01, 0.5, 0.99), method="inverted_cdf")
    )
    groups = (Counter((one // BAND_GROUP).tolist()) for one in (live_bands, challenger_bands))
    return ShiftFacts(
        len(live),
        float((challenger - live).mean()),
        float(np.abs(challenger - live).mean()),
        (low, middle, high),
        stability_of_counts(*groups),
    )


def swap_facts(pairs: Pairs, outcomes: Outcomes, currencies: list[str]) -> tuple[SwapFacts, ...]:
    """Return every pair of decisions that differ and occurred, in the order of live's."""
    found = []
    for live, challenger, chosen in decision_pairs(pairs.live, pairs.challenger):
        if live is challenger:
            continue
        fraud = chosen & outcomes.matured & outcomes.fraud
        rows, frauds = pairs.rows[chosen], pairs.rows[fraud]
        found.append(
            SwapFacts(
                live=_DECISIONS[live],
                challenger=_DECISIONS[challenger],
                events=len(rows),
                cards=len(np.unique(rows["card"])),
                amount_minor=amounts_by_currency(rows["currency"], rows["amount_minor"], currencies),
                frauds=len(frauds),
                fraud_minor=amounts_by_currency(frauds["currency"], frauds["amount_minor"], currencies),
                genuine=int((chosen & outcomes.matured & ~outcomes.fraud).sum()),
                unobserved=int((chosen & outcomes.unobserved).sum()),
            )
        )
    return tuple(found)


def largest_swaps(pairs: Pairs, outcomes: Outcomes, ids: Mapping[int, SwapIds]) -> tuple[LargestSwap, ...]:
    """Return the largest payments of one currency on which the models differ, the largest first."""
    differ = np.flatnonzero(pairs.differ)
    order = differ[np.argsort(-pairs.rows["amount_minor"][differ], kind="stable")]
    found = []
    for at in order[:LARGEST].tolist():
        row, known = pairs.rows[at], ids.get(int(pairs.rows["payment"][at]))
        if known is None:
            continue
        found.append(
            LargestSwap(
                transaction_id=known.transaction_id,
                card_id=known.card_id,
                occurred_at=format_time(int(row["occurred_ms"])),
                amount_minor=int(row["amount_minor"]),
                live=_DECISIONS[int(pairs.live[at])],
                challenger=_DECISIONS[int(pairs.challenger[at])],
                live_score=_number(pairs.live_scores[at]),
                challenger_score=_number(pairs.challenger_scores[at]),
                outcome=_outcome(outcomes, at),
            )
        )
    return tuple(found)


def _number(score: np.float64) -> float | None:
    return None if np.isnan(score) else float(score)


def _outcome(outcomes: Outcomes, at: int) -> str:
    if outcomes.matured[at]:
        return "fraud" if outcomes.fraud[at] else "genuine"
    return "declined" if outcomes.unobserved[at] else "not known yet"


def alert_facts(pairs: Pairs, cards_bp: int, terms: VerdictTerms) -> AlertFacts:
    """Count alerts a day; of a share of the cards, what all cards would have."""
    occurred: Ints = pairs.rows["occurred_ms"]
    span_ms = int(occurred.max() - occurred.min()) if len(occurred) else 0
    days, scale = max(span_ms / DAY_MS, 1 / 24), WHOLE_BP / cards_bp
    counts = [_per_day(occurred, said != DecisionCode.APPROVE) for said in (pairs.live, pairs.challenger)]
    live, challenger = (int(one.sum()) / days * scale for one in counts)
    stated = terms.alerts_per_day
    return AlertFacts(
        days=days,
        live_per_day=live,
        challenger_per_day=challenger,
        live_busiest=round(int(counts[0].max(initial=0)) * scale),
        challenger_busiest=round(int(counts[1].max(initial=0)) * scale),
        budget=live * (1 + terms.alert_tolerance) if stated is None else stated,
        stated=stated is not None,
    )


def _per_day(occurred_ms: Ints, alerted: Bools) -> Ints:
    """Return the alerts of each UTC day that has any."""
    _, counts = np.unique(occurred_ms[alerted] // DAY_MS, return_counts=True)
    return counts.astype(np.int64)


def latency_facts(pairs: Pairs, reports: list[RowTimeReport]) -> LatencyFacts:
    """Return what the topics tell of times."""
    slowest = max(reports, default=None)
    live, lag = (_percentiles(one) for one in (pairs.rows["latency_ms"], pairs.lags_ms))
    worker = None if slowest is None else slowest.worker
    return LatencyFacts(None if slowest is None else slowest.row_us, worker, *live, *lag)


def _percentiles(times: Ints) -> tuple[int | None, int | None]:
    if not len(times):
        return None, None
    middle, high = np.quantile(times, (0.5, 0.99), method="inverted_cdf")
    return int(middle), int(high)
