"""Draws of cards: the same as those of the bootstrap that sorts rows anew each time, and paired for two models."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.lab.evaluation.draws import CardDraws
from metrics.bootstrap import BootstrapPlan, drawn_rows, drawn_times, rows_interval
from metrics.columns import ratios
from metrics.ranking import average_precision, roc_auc
from metrics.weighted_ranking import WeightedRanking
from support.evaluation_cases import payments, said

PLAN = BootstrapPlan(draws=40, seed=3)


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_the_times_that_cards_are_drawn_count_the_rows_that_are_drawn(seed: int, rows: int) -> None:
    cards = np.random.default_rng(seed).integers(0, 9, rows)
    found, index = np.unique(cards, return_inverse=True)
    plan = BootstrapPlan(draws=3, seed=seed)
    for times, (drawn, copies) in zip(drawn_times(len(found), plan), drawn_rows(cards, plan), strict=True):
        assert np.bincount(drawn, minlength=rows).tolist() == times[index].tolist()
        assert len(np.unique(copies)) == times.sum() == len(found)


def test_the_intervals_of_ranking_are_those_of_the_bootstrap_of_rows() -> None:
    of = payments()
    scores = said(of).scores
    ((area, precision),) = CardDraws(of.card, PLAN).rankings(
        of.fraud, [(WeightedRanking(of.fraud, scores), np.arange(len(scores)))]
    )
    for found, measure in ((area, roc_auc), (precision, average_precision)):
        assert found.value == pytest.approx(measure(of.fraud, scores))
        expected = rows_interval(of.card, lambda rows, _: measure(of.fraud[rows], scores[rows]), PLAN)  # noqa: B023 - called at once
        assert found.figure(PLAN).interval == pytest.approx(expected)


def test_sums_over_draws_are_sums_over_the_rows_that_are_drawn() -> None:
    of = payments(rows=600, cards=60)
    draws = CardDraws(of.card, PLAN)
    sums = draws.sums(of.fraud, of.amount_minor)
    plainly = [(of.fraud[rows].sum(), of.amount_minor[rows].sum()) for rows, _ in drawn_rows(of.card, PLAN)]
    assert sums.drawn.tolist() == [[float(one) for one in pair] for pair in plainly]
    found = sums.figure(lambda drawn: ratios(drawn[..., 1], drawn[..., 0]), 0)
    assert found.value == of.amount_minor.sum() / of.fraud.sum()
    assert found.cards == len(set(of.card[of.fraud].tolist()))


def test_groups_beside_each_other_hold_the_sums_of_their_payments() -> None:
    of = payments(rows=300, cards=20)
    groups = np.where(of.channel == 0, -1, of.channel - 1)
    sums = CardDraws(of.card, PLAN).grouped(groups, 2, np.ones(300), of.fraud)
    expected = [float(part[groups == group].sum()) for part in (np.ones(300), of.fraud) for group in range(2)]
    assert sums.by_card.sum(axis=0).tolist() == expected
