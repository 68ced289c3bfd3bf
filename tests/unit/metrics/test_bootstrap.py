"""The bootstrap by card: what it draws, where it states nothing, and how often its intervals hold."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.worlds.declined import heavy_amounts
from metrics.alerts import ScoredRows
from metrics.bootstrap import (
    BootstrapPlan,
    draw_sums,
    effective_number,
    percentiles,
    ratio_interval,
    rows_interval,
    share_difference_interval,
    share_interval,
    sums_interval,
    total_interval,
)
from metrics.card_precision import card_precision
from metrics.errors import MeasureInputError
from support.acceptance import cases

SMALL = BootstrapPlan(draws=50, least_cards=5)


def payments(seed: int, cards: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw payments of cards, some of them compromised: (card, fraud, alerted). A card's frauds come together."""
    random = np.random.default_rng(seed)
    card = np.repeat(np.arange(cards), random.poisson((random.gamma(0.5, 2, cards) + 0.1) * 5))
    compromised = random.random(cards) < 0.15
    fraud = random.random(len(card)) < np.where(compromised[card], 0.5, 0.02)
    return card, fraud, random.random(len(card)) < np.where(fraud, 0.6, 0.05)


def test_the_drawn_sums_have_the_mean_and_the_spread_of_drawing_cards_with_replacement() -> None:
    random = np.random.default_rng(1)
    sums = np.column_stack((random.integers(0, 9, 300) * (random.random(300) < 0.2), np.ones(300)))
    drawn = draw_sums(sums, BootstrapPlan(draws=4_000))
    plainly = np.array([sums[random.integers(300, size=300)].sum(axis=0) for _ in range(4_000)])
    assert drawn.mean(axis=0) == pytest.approx(plainly.mean(axis=0), rel=0.02)
    assert drawn.std(axis=0) == pytest.approx(plainly.std(axis=0), rel=0.06, abs=1e-9)
    assert (drawn[:, 1] == 300).all()


@given(st.integers(0, 10**6))
def test_neither_the_order_of_rows_nor_the_names_of_cards_matter_and_a_seed_decides(seed: int) -> None:
    card, fraud, alerted = payments(seed, 60)
    order = np.random.default_rng(seed).permutation(len(card))
    found = ratio_interval(card, fraud & alerted, alerted, SMALL)
    assert found == ratio_interval(card[order], (fraud & alerted)[order], alerted[order], SMALL)
    named = np.array([f"card-{number:04}" for number in card.tolist()])
    assert found == ratio_interval(named, fraud & alerted, alerted, SMALL)


def test_a_ratio_of_sums_and_the_same_figure_over_drawn_rows_agree() -> None:
    card, fraud, alerted = payments(1, 400)
    from_sums = ratio_interval(card, fraud & alerted, alerted, BootstrapPlan(draws=1_000))
    from_rows = rows_interval(
        card, lambda rows, _: float(fraud[rows][alerted[rows]].mean()), BootstrapPlan(draws=1_000, seed=1)
    )
    assert from_sums == pytest.approx(from_rows, abs=0.02)


def test_all_rows_of_a_drawn_card_come_with_it() -> None:
    card = np.repeat(np.arange(60), np.arange(60) % 4 + 1)
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def keep(rows: Any, copies: Any) -> float:
        seen.append((rows, copies))
        return float(len(rows))

    rows_interval(card, keep, BootstrapPlan(draws=20))
    for rows, copies in seen:
        times = np.bincount(rows, minlength=len(card))
        assert all(len(set(times[card == one].tolist())) == 1 for one in range(60))
        assert sum(int(times[card == one][0]) for one in range(60)) == 60
        assert len(np.unique(copies)) == 60
        assert all(len(set(card[rows[copies == one]].tolist())) == 1 for one in range(60))


def test_a_card_that_is_drawn_twice_counts_as_two_cards() -> None:
    days, cards = np.zeros(60, np.int64), np.arange(60)
    scores, fraud = np.linspace(0, 1, 60), np.arange(60) >= 50

    def found_among_ten(rows: Any, copies: Any) -> float | None:
        return card_precision(ScoredRows(days[rows], copies, scores[rows], fraud[rows]), 10).mean

    found = rows_interval(cards, found_among_ten, BootstrapPlan(draws=200))
    assert found is not None
    assert found.low < 0.8
    assert found.high == 1.0


# --- where nothing is stated


def test_few_cards_have_no_interval_however_many_rows_they_have() -> None:
    card = np.arange(49).repeat(100)
    hit = np.arange(4_900) % 3 == 0
    assert ratio_interval(card, hit, np.ones(4_900)) is None
    assert ratio_interval(np.append(card, 49), np.append(hit, True), np.ones(4_901)) is not None
    assert rows_interval(card, lambda rows, _: float(hit[rows].mean())) is None
    alerted = np.arange(4_900) < 4_000  # payments of 40 cards
    assert ratio_interval(np.append(card, 50), np.append(hit & alerted, False), np.append(alerted, False)) is None


def test_a_figure_without_spread_or_without_value_has_no_interval() -> None:
    card = np.arange(60)
    assert ratio_interval(card, np.ones(60), np.ones(60)) is None
    assert ratio_interval(np.empty(0), np.empty(0), np.empty(0)) is None
    assert percentiles(np.array([0.1, np.nan, 0.3]), 0.95) is None
    assert rows_interval(card, lambda rows, _: None if 0 in rows else 1.0) is None
    assert percentiles(np.linspace(0, 1, 101), 0.9) == pytest.approx((0.05, 0.95))


def test_a_plan_that_draws_nothing_is_refused() -> None:
    with pytest.raises(MeasureInputError, match="bootstrap: 0 draws, confidence 1, at least 50 cards"):
        BootstrapPlan(draws=0, confidence=1.0)


# --- coverage


def test_intervals_by_card_hold_nearly_as_often_as_stated_and_intervals_by_row_do_not() -> None:
    """60 runs of 600 cards; the truth is that of 600,000. By card about 94 % hold, by row about 77 %."""
    card, fraud, alerted = payments(10**6, 600_000)
    truth = (fraud & alerted).sum() / alerted.sum()
    held = np.zeros(2)
    for seed in range(60):
        card, fraud, alerted = payments(seed, 600)
        for at, clusters in enumerate((card, np.arange(len(card)))):
            found = ratio_interval(clusters, fraud & alerted, alerted, BootstrapPlan(draws=200, seed=seed))
            held[at] += found is not None and found.low <= truth <= found.high
    assert held[0] >= 52
    assert held[1] <= 51


def test_the_effective_number_is_that_of_cards_of_equal_weight() -> None:
    assert effective_number(np.full(40, 3.0)) == pytest.approx(40)
    assert effective_number(np.array([100.0, 1.0, 1.0])) == pytest.approx(102**2 / 10_002)
    assert effective_number(np.zeros(3)) == 0
    assert share_interval(0.5, np.zeros(3), 0.95) == (0, 1)


def heavy(seed: int, cards: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    return heavy_amounts(np.random.default_rng((seed, cards)), cards, share)


@pytest.mark.parametrize(
    ("cards", "runs", "share"),
    cases(
        [(cards, runs, share) for cards, runs in ((54, 100), (180, 100), (720, 60)) for share in (0.6, 0.9)],
        short=[(54, 100, 0.9), (180, 100, 0.6)],
    ),
)
def test_shares_of_money_hold_where_few_amounts_are_most_of_it(cards: int, runs: int, share: float) -> None:
    plan, held, naive = BootstrapPlan(draws=200), 0, 0
    for seed in range(runs):
        amounts, stopped = heavy(seed, cards, share)
        columns = np.arange(cards), amounts * stopped, amounts
        found, percentile = ratio_interval(*columns, plan, of_money=True), ratio_interval(*columns, plan)
        held += found is None or found.low <= share <= found.high
        naive += percentile is not None and percentile.low <= share <= percentile.high
    assert held / runs >= 0.93
    assert held >= naive


def test_a_sum_of_money_is_wider_upwards_than_percentiles() -> None:
    amounts, _ = heavy(1, 180, 1.0)
    plan = BootstrapPlan(draws=500)
    found, percentile = (
        total_interval(amounts, plan),
        sums_interval(amounts[:, np.newaxis], lambda one: one[:, 0], plan),
    )
    assert found is not None
    assert percentile is not None
    assert found.low <= percentile.low + 1e-6 < amounts.sum() < percentile.high < found.high
    assert total_interval(np.zeros(90), plan) is None
    assert total_interval(np.full(90, 2.0), plan) is None, "every draw is the same"
    assert total_interval(np.arange(1.0, 91.0), plan) is not None


def test_a_difference_of_shares_is_no_narrower_than_its_effective_number_allows() -> None:
    few, many = (share_difference_interval(0.1, 0.2, np.ones(number), 0.95) for number in (50, 5_000))
    assert few.low < many.low < 0.1 < many.high < few.high
    assert share_difference_interval(0.1, 0.2, np.zeros(2), 0.95) == (-1, 1)
