"""The E-values against stated figures, against a slow product over events, and by their laws under no difference."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from guards.evidence import (
    LARGEST_RATIO,
    RATIOS,
    log_evidence,
    log_evidence_of,
    log_ratio_evidence,
    log_ratio_evidence_of,
)
from support.acceptance import cases, sized

SHARES_BP = st.sampled_from([1, 100, 500, 1_000, 2_500, 5_000, 9_999])
EVENTS = st.lists(st.tuples(SHARES_BP, st.booleans()), max_size=60)
FACTORS = st.sampled_from([1.0, 1.1, 1.25, 2.0])
Arms = NDArray[np.bool_]


def slow_evidence(events: Sequence[tuple[int, bool]], factor: float) -> float:
    """Multiply, event by event, as the formula is written."""
    products = []
    for theta in np.geomspace(factor, LARGEST_RATIO, RATIOS):
        product = 1.0
        for share_bp, canary in events:
            rho = share_bp / 10_000
            supposed, tolerated = (one * rho / (one * rho + 1 - rho) for one in (theta, factor))
            product *= supposed / tolerated if canary else (1 - supposed) / (1 - tolerated)
        products.append(product)
    return math.fsum(products) / len(products)


def counts_of(events: Sequence[tuple[int, bool]]) -> dict[int, tuple[int, int]]:
    counts: dict[int, tuple[int, int]] = {}
    for share_bp, is_canary in events:
        canary, live = counts.get(share_bp, (0, 0))
        counts[share_bp] = (canary + is_canary, live + (not is_canary))
    return counts


@given(EVENTS, FACTORS)
def test_evidence_equals_the_product_over_events_under_the_share_of_each(
    events: list[tuple[int, bool]], factor: float
) -> None:
    assert math.exp(log_evidence_of(counts_of(events), factor)) == pytest.approx(slow_evidence(events, factor), 1e-9)


@given(SHARES_BP, FACTORS, st.integers(0, 1))
def test_one_more_event_leaves_the_mean_of_evidence_at_one_where_the_ratio_is_the_tolerated(
    share_bp: int, factor: float, before: int
) -> None:
    rho = share_bp / 10_000
    by_canary = factor * rho / (factor * rho + 1 - rho)
    base = math.exp(log_evidence_of({share_bp: (before, 1 - before)}, factor))
    steps = (
        math.exp(log_evidence_of({share_bp: (before + 1, 1 - before)}, factor)),
        math.exp(log_evidence_of({share_bp: (before, 2 - before)}, factor)),
    )
    assert by_canary * steps[0] + (1 - by_canary) * steps[1] == pytest.approx(base)


@given(SHARES_BP, FACTORS, st.integers(0, 30), st.integers(0, 300))
def test_evidence_rises_with_each_event_of_the_canary_and_falls_with_each_of_live(
    share_bp: int, factor: float, canary: int, live: int
) -> None:
    here = log_evidence_of({share_bp: (canary, live)}, factor)
    assert log_evidence_of({share_bp: (canary + 1, live)}, factor) >= here >= math.log(1 / RATIOS) - 1e-9
    assert log_evidence_of({share_bp: (canary, live + 1)}, factor) <= here


@given(SHARES_BP, st.integers(0, 10**6), st.integers(0, 10**6))
def test_evidence_is_finite_for_any_counts(share_bp: int, canary: int, live: int) -> None:
    assert math.isfinite(log_evidence_of({share_bp: (canary, live)}))
    assert math.isfinite(log_ratio_evidence_of({share_bp: (canary, live)}))


# --- oracles


def test_the_sample_ratio_stops_where_the_published_package_stops() -> None:
    shares = (0.1, 0.4, 0.5)
    arms = np.random.RandomState(1).multinomial(1, [0.1, 0.3, 0.6], 1000).cumsum(0)
    logs = [log_ratio_evidence(arms[at].tolist(), shares) for at in range(1000)]
    stop = next(at for at, log in enumerate(logs) if log >= math.log(20))
    assert stop + 1 == 402
    assert math.exp(-logs[stop]) == pytest.approx(0.04845591105969517, rel=1e-12)


@given(st.lists(st.integers(0, 2), max_size=200))
def test_the_sample_ratios_closed_form_equals_its_update_card_by_card(arms: list[int]) -> None:
    shares, evidence = (0.1, 0.4, 0.5), 1.0
    alphas = [100 * share for share in shares]
    for arm in arms:
        evidence *= alphas[arm] / sum(alphas) / shares[arm]
        alphas[arm] += 1
    assert math.exp(log_ratio_evidence([arms.count(arm) for arm in range(3)], shares)) == pytest.approx(evidence)


# --- simulations with a seed: events in a row, an E after each

ALPHA = 0.01


def evidence_along(arms: Arms, shares: NDArray[np.float64], factor: float = 1.0) -> NDArray[np.float64]:
    """Return log E after each event: `arms` of shape (runs, events), `shares` of shape (events,) ascending."""
    blocks = [shares == share for share in np.unique(shares)]
    canary = np.stack([(arms & block).cumsum(1) for block in blocks], -1).astype(float)
    live = np.stack([(~arms & block).cumsum(1) for block in blocks], -1).astype(float)
    pieces = [log_evidence(canary[at], live[at], np.unique(shares), factor) for at in range(len(arms))]
    return np.stack(pieces)


def draw(runs: int, shares: NDArray[np.float64], ratio: float, seed: int) -> Arms:
    by_canary = shares * ratio / (shares * ratio + 1 - shares)
    return np.asarray(np.random.default_rng(seed).random((runs, len(shares))) < by_canary)


RAMP = np.repeat([0.01, 0.05, 0.25], [300, 300, 400])


@pytest.mark.full_size
@pytest.mark.parametrize(("ratio", "factor"), [(1.0, 1.0), (1.25, 1.25), (0.8, 1.0)])
def test_evidence_crosses_its_bound_at_most_as_often_as_alpha_and_its_mean_is_at_most_one(
    ratio: float, factor: float
) -> None:
    runs = sized(400, 1_500)
    logs = evidence_along(draw(runs, RAMP, ratio, 1), RAMP, factor)
    for alpha in (0.01, 0.1):
        crossed = int((logs.max(1) >= math.log(1 / alpha)).sum())
        assert crossed <= runs * alpha + 3 * math.sqrt(runs * alpha)
    means = np.exp(logs[:, [9, 99, 999]])
    assert (means.mean(0) <= 1 + 4 * means.std(0) / math.sqrt(runs)).all()


@pytest.mark.parametrize(
    ("share", "ratio", "median", "in_canary"),
    cases(
        [(0.01, 10, 38, 4), (0.05, 3, 83, 13), (0.1, 2, 169, 33), (0.1, 10, 8, 5), (0.5, 2, 87, 60)],
        short=[(0.01, 10, 38, 4), (0.05, 3, 83, 13)],
    ),
)
def test_a_worse_canary_is_detected_after_about_as_many_events_as_stated(
    share: float, ratio: float, median: int, in_canary: int
) -> None:
    shares = np.full(8 * median, share)
    arms = draw(400, shares, ratio, 2)
    crossed = evidence_along(arms, shares) >= math.log(1 / ALPHA)
    first = np.where(crossed.any(1), crossed.argmax(1), len(shares) - 1)
    assert np.median(first + 1) == pytest.approx(median, rel=0.25, abs=1)
    assert np.median(arms.cumsum(1)[np.arange(400), first]) == pytest.approx(in_canary, rel=0.25, abs=1)


def test_sticky_cards_that_differ_raise_few_false_alarms_in_a_ramp() -> None:
    rng, runs, alpha = np.random.default_rng(5), 600, 0.1
    begins, shares = np.array([0.0, 0.3, 0.6]), np.array([0.01, 0.05, 0.25])
    crossed = 0
    for _ in range(runs):
        firsts = rng.exponential(size=1_500) / rng.gamma(0.5, size=1_500)  # each card's first bad event
        buckets = rng.random(1_500)
        order = np.argsort(firsts)[: int((firsts < 1).sum())]
        share = shares[np.searchsorted(begins, firsts[order], "right") - 1]
        crossed += bool(evidence_along((buckets[order] < share)[None], share).max() >= math.log(1 / alpha))
    assert crossed <= runs * alpha + 3 * math.sqrt(runs * alpha)
