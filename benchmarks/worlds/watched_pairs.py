"""A promotion watched by pairs, in which a fraud has a label or not by what the live model decides."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from guards.paired import PAIRED_SHARE_BP, GuardedComparison, Pair, PairedSide, paired_guards, paired_scores
from guards.records import GuardedOutcome
from guards.specs import default_guards
from guards.state import GuardState

PAIR = Pair("n" * 64, "p" * 64)
GUARDS = paired_guards(default_guards())
REVISION, DEPLOYMENT = 7, "default"
_AT = "1970-01-01T00:00:00.000Z"
_ALIKE = 0.5
"""On so much of the frauds both models see the same."""


class Labelled(NamedTuple):
    """The parts of the live model's declines and of its reviews that get a label; all approved frauds do."""

    declines: float
    reviews: float = 1.0


def comparison(
    payment: int, card: int, decisions: tuple[str, str], revision: int = REVISION, digests: Sequence[str | None] = PAIR
) -> GuardedComparison:
    """Return a comparison of two decisions, the live model's first."""
    live, challenger = (PairedSide(*side) for side in zip(decisions, digests, strict=True))
    return GuardedComparison(str(payment), f"c-{card}", live, challenger, revision, DEPLOYMENT, _AT)


def watch_frauds(
    rng: np.random.Generator, stopped: tuple[float, float], labelled: Labelled, frauds: int = 250, looks: int = 1
) -> Iterator[GuardState]:
    """Watch frauds, one a card, of which the new and the previous model stop a part, half of it by declining.

    Args:
        rng: of the draws.
        stopped: the parts that the new and the previous model stop.
        labelled: which frauds get a label.
        frauds: how many there are.
        looks: the state, which is the same object, is yielded after each of so many equal parts of them.
    """
    state = GuardState(GUARDS, DEPLOYMENT, {REVISION: PAIRED_SHARE_BP}, is_paired=True)
    shared = rng.random(frauds)
    seen = [np.where(rng.random(frauds) < _ALIKE, shared, rng.random(frauds)) for _ in range(2)]
    new, previous = (
        np.where(values < part / 2, "decline", np.where(values < part, "review", "approve"))
        for values, part in zip(seen, stopped, strict=True)
    )
    rows = [comparison(at, at, (str(new[at]), str(previous[at]))) for at in range(frauds)]
    chance = {"approve": 1.0, "decline": labelled.declines, "review": labelled.reviews}
    is_known = [bool(rng.random() < chance[row.live.decision]) for row in rows]
    for part in np.array_split(np.arange(frauds), looks):
        own = [rows[at] for at in part]
        state.count(0, paired_scores(own, PAIR), int(part[-1]) + 1)
        known = [rows[at] for at in part if is_known[at]]
        outcomes = [GuardedOutcome(row.transaction_id, row.card_id, fraud=True, deployment=DEPLOYMENT) for row in known]
        state.count_outcomes(0, outcomes, int(part[-1]) + 1)
        yield state
