"""Cards that differ by when they appear: a PROMOTE is wrong at most as often as alpha, and one is taken back."""

import numpy as np
import pytest

from benchmarks.worlds.ordered_cards import (
    FRAUD_WAVE,
    FREQUENT,
    LATE_LABELS,
    LITTLE,
    NEW_CARDS,
    TURN,
    WAVES,
    DrawCards,
    drawn,
    everywhere,
    for_the_first,
    is_promoted,
    looked_at,
    rare_and_large,
    wrongly_promoted,
)


def wrong_promotions(draw: DrawCards, cards: int, runs: int, *, frauds_only: bool = False) -> int:
    """Count the worlds that are promoted at any look at which the true mean over the final cards is not above 0."""
    worlds = (draw(np.random.default_rng((cards, seed)), cards) for seed in range(runs))
    return sum(wrongly_promoted(world, frauds_only=frauds_only) for world in worlds)


WORLDS: dict[str, DrawCards] = {
    "frequent payers, 20 %": FREQUENT,
    "frequent payers, 5 %": LITTLE,
    "the first cohort": TURN,
    "waves": WAVES,
    "rare and large": rare_and_large,
    "a wave of fraud": FRAUD_WAVE,
    "new cards": NEW_CARDS,
    "large frauds are labelled later": LATE_LABELS,
}


@pytest.mark.parametrize("name", WORLDS)
def test_a_challenger_that_saves_nothing_is_seldom_promoted_whoever_appears_first(name: str) -> None:
    assert wrong_promotions(WORLDS[name], 1_000, 6) <= 2


@pytest.mark.acceptance
@pytest.mark.timeout(3_000)
@pytest.mark.parametrize(("cards", "runs"), [(8_000, 100), (40_000, 60), (150_000, 40)])
@pytest.mark.parametrize("name", WORLDS)
def test_wrong_promotions_are_at_most_alpha(name: str, cards: int, runs: int) -> None:
    """At alpha 0.05, with three standard deviations for so many runs."""
    wrong = wrong_promotions(WORLDS[name], cards, runs)
    assert wrong <= 0.05 * runs + 3 * (0.05 * 0.95 * runs) ** 0.5, f"{wrong} of {runs}"


def test_labels_of_frauds_alone_promote_nothing_that_saves_nothing() -> None:
    assert wrong_promotions(FREQUENT, 1_000, 6, frauds_only=True) <= 2


def test_a_proof_on_the_first_cohort_is_taken_back_when_later_cards_lose() -> None:
    world = drawn(np.random.default_rng(3), 20_000, 1.0, for_the_first, often=2.0)
    first = looked_at(world, 62)
    assert (is_promoted(first), first.changed) == (True, False)
    assert [one.proved_better for one in first.cohorts if one.final] == [True]
    later = looked_at(world, 120)
    assert (is_promoted(later), later.changed) == (False, True)
    final = [one for one in later.cohorts if one.final]
    assert [one.proved_better for one in final][:2] == [True, False]
    assert final[0].mean_worst_minor is not None
    assert final[1].mean_worst_minor is not None
    assert final[0].mean_worst_minor > 0 > final[1].mean_worst_minor
    assert sum(one.cards for one in later.cohorts) == later.cards
    assert sum(one.cards for one in final) == later.final


def test_a_better_challenger_is_promoted_with_the_first_cohort() -> None:
    world = drawn(np.random.default_rng(4), 8_000, 0.2, everywhere)
    assert not looked_at(world, 50).final
    assert is_promoted(looked_at(world, 62))
