"""How the arms of an experiment stand: the differences, the winner or none yet, and what is missing before one wins."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fraudstream.ops.rollout.experiments.cards import CardLosses
from fraudstream.ops.rollout.experiments.comparison import (
    ArmDifference,
    ArmLoss,
    Missing,
    Standings,
    arm_losses,
    compare,
    missing_cards,
    winner_of,
)
from fraudstream.ops.rollout.experiments.terms import ExperimentTerms
from fraudstream.ops.rollout.outcomes.maturity import DAY_MS
from guards.shares import ArmShare

_RATE_DAYS = 7
"""New cards a day are those of the last days."""


def standings_of(
    losses: CardLosses, arms: Sequence[ArmShare], models: Mapping[str, str], terms: ExperimentTerms
) -> Standings:
    """Return how the arms stand; `models` are the digests of their models by arm."""
    names = [arm.name for arm in arms]
    differences, by_arm = compare(losses, arms, terms), arm_losses(losses, arms, terms.cap_minor)
    winner = winner_of(names, differences, models)
    leader = None if winner is not None else _leader(by_arm)
    pairs = () if leader is None else _open_pairs(leader, differences, models)
    missing = tuple(_missing(pair, by_arm, losses, terms) for pair in pairs)
    return Standings(by_arm, differences, terms.alpha / max(len(arms) - 1, 1), winner, missing)


def _leader(arms: Mapping[str, ArmLoss]) -> str | None:
    """Return the arm with the lowest mean loss at present; None while one has no final card."""
    middles = {name: _middle(one) for name, one in arms.items()}
    known = {name: middle for name, middle in middles.items() if middle is not None}
    return min(known, key=known.__getitem__) if known and len(known) == len(arms) else None


def _middle(loss: ArmLoss) -> float | None:
    return None if loss.low is None or loss.high is None else (loss.low + loss.high) / 2


def _open_pairs(
    leader: str, differences: Sequence[ArmDifference], models: Mapping[str, str]
) -> Iterator[ArmDifference]:
    """Yield the differences of the leading arm to those of other models that it has not left behind."""
    for one in differences:
        if leader in (one.first, one.second) and models[one.first] != models[one.second] and one.lower != leader:
            yield one.of(leader)


def _missing(pair: ArmDifference, arms: Mapping[str, ArmLoss], losses: CardLosses, terms: ExperimentTerms) -> Missing:
    cards = missing_cards(pair, arms, len(losses.arms))
    days = None if cards is None else days_until(cards, losses, terms)
    return Missing(pair.first, pair.second, cards, days, _why(pair, arms, cards))


def _why(pair: ArmDifference, arms: Mapping[str, ArmLoss], cards: int | None) -> str:
    first, second = arms[pair.first], arms[pair.second]
    if cards is not None:
        return "more cards"
    if pair.interval is None:
        return "the difference has changed while the experiment ran: what it is now needs a new experiment"
    if _middle(first) == _middle(second):
        return "no difference so far"
    return "outcomes of declined payments, which more cards do not show: let some of them through"


def days_until(cards: int, losses: CardLosses, terms: ExperimentTerms) -> float | None:
    """Return in about how many days so many more cards are final, at the rate at which new cards came lately.

    A card is final when the days of its cohort, of the last card in it, and the wait for labels are over. None if no
    new cards came, or if the experiment is over and has not so many.
    """
    now_ms, waiting = terms.maturity.as_of_ms, losses.waiting_ms
    if cards <= len(waiting):
        return max(float(losses.final_by_ms(int(waiting[cards - 1]), terms) - now_ms), 0.0) / DAY_MS
    came = np.concatenate((losses.first_ms, waiting))
    recent = int((came > now_ms - _RATE_DAYS * DAY_MS).sum())
    if losses.cut_off is not None or not recent:
        return None
    return (cards - len(waiting)) / (recent / _RATE_DAYS) + (terms.card_ms + terms.wait_ms) / DAY_MS
