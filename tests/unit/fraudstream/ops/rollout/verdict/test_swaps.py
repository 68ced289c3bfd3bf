"""What is counted before any label: coverage, alerts a day, times, shifts of scores."""

import numpy as np
import pytest

from fraudstream.ops.rollout.verdict.swaps import RowTimeReport, alert_facts, coverage_facts, latency_facts, shift_facts
from fraudstream.ops.rollout.verdict.terms import VerdictTerms
from fraudstream_client.outputs import Decision
from shadow.comparison import Comparison, Side, Source
from shadow.history import Totals, WorkerReports
from shadow.tally import Shift, Tally
from support.outcome_cases import Payment
from support.verdict_cases import COSTS, Compared, pairs_of

TERMS = VerdictTerms(currency="EUR", costs=COSTS)
REPORTS = WorkerReports(Totals(0, 3, 2), Totals(0, 4, 0))


def test_coverage_counts_what_was_missed_and_why() -> None:
    pairs = pairs_of([Compared(Payment(f"c-{at}", 1.0), "review") for at in range(90)])
    pairs.lags_ms[:7] = 60_001
    found = coverage_facts(pairs, (100, 5), REPORTS, whole=True)
    assert (found.eligible, found.compared, found.late, found.skipped, found.failed) == (100, 90, 7, 3, 2)
    assert (found.astride, found.unexplained, found.void, found.share) == (4, 1, 5, 0.9)
    assert coverage_facts(pairs, (92, 0), REPORTS, whole=True).unexplained == 0
    assert coverage_facts(pairs, (100, 0), REPORTS, whole=False).unexplained is None
    assert coverage_facts(pairs_of([]), (0, 0), WorkerReports(), whole=True).share is None


def test_alerts_a_day_are_of_the_time_between_first_and_last() -> None:
    compared = [Compared(Payment("a", day, "review" if day < 1 else "approve"), "decline") for day in (0, 0.5, 1, 4)]
    found = alert_facts(pairs_of(compared), 10_000, TERMS)
    assert (found.days, found.live_per_day, found.challenger_per_day) == (4, 0.5, 1)
    assert (found.live_busiest, found.challenger_busiest) == (2, 2)
    assert (found.budget, found.stated) == (pytest.approx(0.55), False)
    tenth = alert_facts(pairs_of(compared), 1_000, VerdictTerms(currency="EUR", costs=COSTS, alerts_per_day=7.0))
    assert (tenth.live_per_day, tenth.challenger_busiest, tenth.budget, tenth.stated) == (5, 20, 7, True)
    assert alert_facts(pairs_of(compared[:1]), 10_000, TERMS).days == pytest.approx(1 / 24)


def test_times_are_those_of_the_topics_and_of_the_slowest_worker() -> None:
    pairs = pairs_of([Compared(Payment("a", 1.0), "review") for _ in range(100)])
    pairs.rows["latency_ms"] = np.arange(100)
    found = latency_facts(pairs, [RowTimeReport(3.0, "v"), RowTimeReport(9.0, "w")])
    assert (found.row_us, found.row_worker) == (9.0, "w")
    assert (found.live_p50, found.live_p99, found.lag_p50, found.lag_p99) == (49, 98, 7, 7)
    nothing = latency_facts(pairs_of([]), [])
    assert set(nothing.__struct_fields__) == set(found.__struct_fields__)
    assert (nothing.row_us, nothing.live_p50, nothing.lag_p99) == (None, None, None)


def test_the_shift_is_that_of_the_shadow_report() -> None:
    random = np.random.default_rng(3)
    live, challenger = random.random(500), random.random(500) ** 2
    compared = [
        Compared(Payment("a", 1.0, score=float(one)), "review", float(other))
        for one, other in zip(live, challenger, strict=True)
    ]
    compared.append(Compared(Payment("a", 1.0, score=None), "review", 0.5))
    found = shift_facts(pairs_of(compared))
    expected = Shift.of(Tally.of(_comparison(one) for one in compared))
    assert found.scored == 500
    assert found.mean == pytest.approx(expected.mean, abs=1e-9)
    assert found.mean_absolute == pytest.approx(expected.mean_absolute, abs=1e-9)
    assert (found.band_quantiles, found.stability_index) == (expected.band_quantiles, expected.stability_index)
    assert shift_facts(pairs_of([])).mean is None


def _comparison(one: Compared) -> Comparison:
    from models.policy import bands  # noqa: PLC0415 - used here alone

    live = one.payment.score
    sides = [
        Side("a" * 64, score, None if score is None else int(bands(np.array([score]))[0]), Decision.APPROVE)
        for score in (live, one.score)
    ]
    return Comparison(
        transaction_id="t",
        card_id="a",
        occurred_at="2026-01-02T00:00:00.000Z",
        amount_minor=1,
        currency="EUR",
        live=sides[0],
        challenger=sides[1],
        decision_changed=False,
        revision=1,
        source=Source("transactions", 0, 0),
        compared_at="2026-01-02T00:00:00.000Z",
    )
