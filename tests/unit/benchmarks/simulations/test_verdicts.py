"""The simulated worlds are what they are said to be, and the same seed gives the same figures."""

import numpy as np
import pytest

from benchmarks.simulations.verdicts import (
    LOOK_DAYS,
    Labelling,
    VerdictEffort,
    first_word,
    look,
    make_world,
    simulate_verdicts,
)
from fraudstream.ops.rollout.outcomes.labels import NO_TIME, UNLABELLED
from fraudstream.ops.rollout.outcomes.maturity import DAY_MS
from fraudstream.ops.rollout.verdict.gates import VerdictWord


def test_scores_are_probabilities_and_the_effect_is_that_on_caught_fraud() -> None:
    world = make_world(np.random.default_rng(1), 40_000, 0.1, Labelling(7.0))
    for scores in world.scores:
        assert float(scores.sum()) == pytest.approx(world.fraud.sum(), rel=0.05)
    live, challenger = (float(sign[world.fraud].mean()) for sign in (world.live, world.challenger))
    assert live == pytest.approx(0.6, abs=0.02)
    assert challenger - live == pytest.approx(0.1, abs=0.02)
    assert (np.diff(world.rows["occurred_ms"]) >= 0).all()


@pytest.mark.parametrize(("share", "genuine"), [(1.0, False), (0.5, False), (0.3, True)])
def test_labels_come_for_the_stated_share(share: float, *, genuine: bool) -> None:
    world = make_world(np.random.default_rng(2), 20_000, 0.0, Labelling(7.0, share, genuine))
    comes = world.labelled_ms != NO_TIME
    assert float(comes[world.fraud].mean()) == pytest.approx(share, abs=0.05)
    assert float(comes[~world.fraud].mean()) == pytest.approx(share if genuine else 0, abs=0.05)


def test_a_look_knows_nothing_of_later() -> None:
    world = make_world(np.random.default_rng(3), 2_000, 0.0, Labelling(30.0))
    seen = look(world, 60)
    rows = seen.pairs.rows
    assert rows["occurred_ms"].max() <= 60 * DAY_MS
    assert rows["labelled_ms"].max() <= 60 * DAY_MS
    assert 0 < (rows["fraud"] == 1).sum() < world.fraud[: len(rows)].sum()
    assert set(np.unique(rows["fraud"]).tolist()) == {UNLABELLED, 1}


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
