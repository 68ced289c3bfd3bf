"""The simulated worlds are what they are said to be, and the same seed gives the same figures."""

import numpy as np
import pytest

from benchmarks.simulations.verdicts import (
    LOOK_DAYS,
    Labelling,
    VerdictEffort,
    first_word,
    make_world,
    simulate_verdicts,
)
from fraudstream.ops.rollout.verdict.gates import VerdictWord


def test_a_much_better_model_is_promoted_when_its_cards_have_matured_and_a_worse_one_never() -> None:
    better = make_world(np.random.default_rng(4), 6_000, 0.3, Labelling(7.0))
    word, day = first_word(better)
    assert (word, day in LOOK_DAYS) == (VerdictWord.PROMOTE, True)
    assert day is not None
    assert day >= 88
    worse = make_world(np.random.default_rng(4), 6_000, -0.3, Labelling(7.0))
    assert first_word(worse)[0] is not VerdictWord.PROMOTE


@pytest.mark.acceptance
def test_the_same_seed_gives_the_same_figures() -> None:
    effort = VerdictEffort(runs=1, equal_runs=1, cards=100)
    found = [simulate_verdicts(1, effort, lambda *_: None) for _ in range(2)]
    assert found[0] == found[1]
    assert all(line.promote + line.hold + line.reject == line.runs == 1 for line in found[0].words)
    assert len(found[0].days) == 18
