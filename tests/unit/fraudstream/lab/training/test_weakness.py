"""A model whose ranking may be chance, that alerts far more than asked, or that has hardly any trees, is refused."""

from typing import Any

import msgspec
import numpy as np
import pytest

from fraudstream.lab.training.request import ArtifactTerms, PolicyWish, Shares, WeakModelError
from fraudstream.lab.training.split import split
from fraudstream.lab.training.weakness import declines_beyond_asked, few_trees, refuse_weak, weaknesses
from models.policy import Policy
from models.volume import AlertBudget, Allowance, ExpectedVolume
from support.tables import learnable

DATA = learnable()
TEST = split(DATA, 0).test
ASKED = ArtifactTerms(None, PolicyWish(), Shares(0.01, 0.001))


def volume(alerts: float, payments: int = 5_000) -> ExpectedVolume:
    return ExpectedVolume(
        since="2026-01-01T00:00:00.000Z",
        until="2026-01-11T00:00:00.000Z",
        payments=payments,
        review_share=alerts / payments,
        decline_share=0.0,
        alerts_a_day=alerts / 10,
        busiest_day=int(alerts),
    )


def found(margins: np.ndarray, alerts: float = 50.0, **wish: Any) -> list[str]:
    terms = ASKED._replace(policy=PolicyWish(**wish))
    return list(weaknesses(DATA, TEST, margins, volume(alerts), terms))


def test_a_ranking_that_may_be_chance_is_weak_and_a_real_one_is_not() -> None:
    assert found(DATA.matrix[TEST, 0]) == []
    (text,) = found(np.random.default_rng(0).normal(size=len(TEST)))
    assert text.startswith("its ranking of the test part is not above chance: AUC 0.")
    (reversed_,) = found(-DATA.matrix[TEST, 0])
    assert "AUC 0.3" in reversed_ or "AUC 0.2" in reversed_
    assert len(found(np.zeros(len(TEST)))) == 1


def test_chance_passes_for_a_ranking_as_seldom_as_its_interval_says() -> None:
    drawn = (np.random.default_rng(seed).normal(size=len(TEST)) for seed in range(60))
    assert sum(not found(margins) for margins in drawn) <= 5  # 1.5 are expected of an interval of 95 %


def test_three_times_the_alerts_that_were_asked_for_are_weak() -> None:
    good = DATA.matrix[TEST, 0]
    assert found(good, 150.0) == []
    (text,) = found(good, 151.0)
    assert text.startswith("it alerts 151 of 5,000 payments of the test part, 3.0 times the 50 that were asked for")
    budget = AlertBudget(Allowance(a_day=4), Allowance(a_day=1))
    assert found(good, 120.0, budget=budget) == []
    assert len(found(good, 121.0, budget=budget)) == 1
    assert found(good, 4_000.0, thresholds=Policy(0.1, 0.2)) == []


def test_three_times_the_declines_that_were_asked_for_are_told_where_the_alerts_are_as_asked() -> None:
    def told(declines: int, reviews: int, **wish: Any) -> list[str]:
        measured = msgspec.structs.replace(
            volume(reviews), review_share=reviews / 5_000, decline_share=declines / 5_000
        )
        return list(declines_beyond_asked(measured, ASKED._replace(policy=PolicyWish(**wish))))

    assert told(15, 0) == []
    (text,) = told(38, 0)
    assert text.startswith(
        "it declines 38 of 5,000 payments of the test part, 7.6 times the 5 that were asked for: every"
    )
    (some,) = told(38, 12)
    assert "every alert" not in some
    assert told(38, 0, thresholds=Policy(0.1, 0.2)) == []


def test_what_is_weak_is_refused_unless_it_is_accepted() -> None:
    assert list(few_trees(10, 150)) == list(few_trees(5, 5)) == []
    assert len(list(few_trees(9, 150))) == 1
    (one,) = few_trees(1, 150)
    assert one.startswith("1 tree: more did not rank the frauds of later payments better")
    with pytest.raises(WeakModelError, match=r"(?s)1 tree: .*nothing was stored: .* \(--accept-weak\)"):
        refuse_weak([one], accepted=False)
    assert refuse_weak([one], accepted=True) == (one,)
    assert refuse_weak([], accepted=False) == ()
