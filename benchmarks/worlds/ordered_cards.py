"""Cards that differ by when they appear: a payment of each card, what two models say of it, and its label.

Cards pay at lognormal rates, so those that pay often appear first. What the challenger saves on a card depends on how
often it pays, on when it appears, or on its amount, and the true mean over any set of cards is known.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from fraudstream.ops.rollout.outcomes.columns import PAYMENT_ROW
from fraudstream.ops.rollout.outcomes.maturity import outcomes_of
from fraudstream.ops.rollout.verdict.gates import gates_of_losses
from fraudstream.ops.rollout.verdict.losses import LossFacts, compare_losses
from fraudstream.ops.rollout.verdict.pairs import Pairs
from fraudstream.ops.rollout.verdict.terms import VerdictTerms
from metrics.columns import Bools, Floats, Ints
from metrics.money import CostMatrix, DecisionCode

DAY_MS = 86_400_000
COHORT_DAYS = 28
DAYS = 196
"""Seven cohorts."""
LOOK_DAYS = range(61, DAYS + 1, COHORT_DAYS)
"""A verdict is asked for whenever a cohort may have become final."""
FINAL_DAYS = 140
"""Cards that appeared until then are final at the last look."""
TERMS = VerdictTerms(currency="EUR", costs=CostMatrix(0, 0, 0, 0), maturity_days=20.0, least_labels=0.0)
"""Reviews cost nothing, so what a swap saves is the amount of a fraud."""
_LABEL_DAYS = 5.0
_FRAUD_MINOR = 12_000
_COMPROMISED = 0.06
"""Of the cards."""
_WAVE = 5.0
"""A wave of fraud compromises so many times as many cards."""
_TURN_DAYS = 3
_SMALL_MINOR, _LARGE_MINOR = 3_000, 30_000


class OrderedWorld(NamedTuple):
    """Cards of shape (n,), in the order of their first payments: what the challenger saves on each, and its mean.

    `saved` is in minor units: above 0 the challenger alone stops a fraud, below 0 live alone. `expected` is its mean in
    units of its own; only its sign over a set of cards counts. `label_days` is after how many days a fraud is labelled.
    """

    first_ms: Ints
    saved: Ints
    expected: Floats
    label_days: Floats

    def pairs(self, day: float, *, frauds_only: bool = False) -> Pairs:
        """Return what is known on a day, with labels of all payments, or of frauds alone."""
        count = int(np.searchsorted(self.first_ms, day * DAY_MS, side="right"))
        rows, saved = np.zeros(count, PAYMENT_ROW), self.saved[:count]
        rows["card"] = rows["payment"] = np.arange(count) * 7_919 % 1_000_003 * 1_000_003 + np.arange(count)
        rows["occurred_ms"], rows["propensity"], rows["score"] = self.first_ms[:count], np.nan, 0.1
        rows["amount_minor"] = np.abs(saved)
        labelled = self.first_ms[:count] + self.label_days[:count] * DAY_MS <= day * DAY_MS
        fraud = saved != 0
        rows["fraud"] = np.where(labelled & (fraud | (not frauds_only)), fraud, -1)
        live, challenger = (
            np.where(stops, DecisionCode.REVIEW, DecisionCode.APPROVE).astype(np.int8)
            for stops in (saved < 0, saved > 0)
        )
        rows["said"] = rows["decided"] = live
        scores = np.full(count, 0.1)
        return Pairs(rows, live, challenger, scores, scores, np.zeros(count, np.int16), np.zeros(count, np.int64))

    def mean_of(self, final: int) -> float:
        """Return the true mean over the first cards, in units of its own."""
        return float(self.expected[:final].sum())


DrawCards = Callable[[np.random.Generator, int], OrderedWorld]
Expects = Callable[[Floats, Floats], Floats]
"""From rates and first days of cards to a figure of each."""


def compromised(_rates: Floats, days: Floats) -> Floats:
    """Return the same probability of fraud for all cards."""
    return np.full(len(days), _COMPROMISED)


def drawn(
    random: np.random.Generator,
    cards: int,
    effect: float,
    expects: Expects,
    *,
    often: float = 10.0,
    chance: Expects = compromised,
) -> OrderedWorld:
    """Draw a world: 6 % of the cards have a fraud, and on a part `effect` of these the models differ.

    Args:
        random: of the draws.
        cards: how many.
        effect: the part of frauds on which the models differ.
        expects: the mean sign of what is saved on a card on which they differ, from -1 to 1.
        often: payments of the median card in 28 days.
        chance: the probability that a card has a fraud.
    """
    rates = often * np.exp(random.normal(0, 1.2, cards)) / COHORT_DAYS
    days = random.exponential(1 / rates)
    order = np.argsort(days, kind="stable")
    rates, days = rates[order], days[order]
    chances, means = chance(rates, days), expects(rates, days)
    swaps = (random.random(cards) < chances) & (random.random(cards) < effect)
    amounts = np.rint(_FRAUD_MINOR * np.exp(random.normal(-0.5, 1, cards))).astype(np.int64) + 1
    signs = np.where(random.random(cards) < (1 + means) / 2, 1, -1)
    kept = days < DAYS
    saved = np.where(swaps, signs * amounts, 0)
    labels = np.full(int(kept.sum()), _LABEL_DAYS)
    return OrderedWorld((days[kept] * DAY_MS).astype(np.int64), saved[kept], (chances * means)[kept], labels)


def _balance(first: float, second: float) -> float:
    """Return by what a second sum is multiplied to be as large as the first, at most 1."""
    return min(1.0, first / max(second, 1.0))


def _in_second(days: Floats) -> Bools:
    found: Bools = (days >= COHORT_DAYS) & (days < 2 * COHORT_DAYS)
    return found


def nowhere(_rates: Floats, days: Floats) -> Floats:
    """Each swap is as often right as wrong."""
    return np.zeros(len(days))


def everywhere(_rates: Floats, days: Floats) -> Floats:
    """Nine of ten swaps are right."""
    return np.full(len(days), 0.8)


def for_frequent(rates: Floats, _days: Floats) -> Floats:
    """Better on the half that pays more, worse on the other: nothing is saved over all cards."""
    return np.where(rates > np.median(rates), 1.0, -1.0)


def for_the_first(_rates: Floats, days: Floats) -> Floats:
    """Better on cards of the first cohort, and so much worse on those of the second that nothing is saved."""
    first, second = days < COHORT_DAYS, _in_second(days)
    share = min(1.0, second.sum() / max(first.sum(), 1))
    return np.where(first, 0.999 * share, np.where(second, -1.0, -0.2))


def in_waves(_rates: Floats, days: Floats) -> Floats:
    """Better and worse by turns of three days, as campaigns come and go."""
    worse = days % (2 * _TURN_DAYS) < _TURN_DAYS
    return np.where(worse, -0.8, 0.8 * _balance(worse.sum(), (~worse).sum()))


def wave_in_the_second(_rates: Floats, days: Floats) -> Floats:
    """Return the probability of fraud: five times as high on cards of the second cohort."""
    return np.where(_in_second(days), _WAVE * _COMPROMISED, _COMPROMISED)


def for_the_wave(_rates: Floats, days: Floats) -> Floats:
    """Better on the second cohort, where the wave is, and worse on the first: nothing is saved on both together.

    It is slightly worse on all later ones.
    """
    first, second = days < COHORT_DAYS, _in_second(days)
    lost, saved = float(first.sum()), _WAVE * float(second.sum())
    return np.where(second, 0.999 * _balance(lost, saved), np.where(first, -_balance(saved, lost), -0.2))


def for_new_cards(_rates: Floats, days: Floats) -> Floats:
    """Better on cards that appear in the fourth and fifth cohort alone, and as much worse on those before."""
    early, late = days < 3 * COHORT_DAYS, (days >= 3 * COHORT_DAYS) & (days < FINAL_DAYS)
    return np.where(late, _balance(early.sum(), late.sum()), np.where(early, -_balance(late.sum(), early.sum()), 0.0))


def rare_and_large(random: np.random.Generator, cards: int) -> OrderedWorld:
    """Saves a little on one card in twenty, and loses as much in all on one card in a thousand: the cap and more."""
    days = np.sort(random.exponential(5.0, cards))
    draw = random.random(cards)
    saved = np.where(draw < 0.001, -60_000, np.where(draw < 0.051, 1_000, 0))  # noqa: PLR2004 - parts of the cards
    return OrderedWorld((days * DAY_MS).astype(np.int64), saved, np.zeros(cards), np.full(cards, _LABEL_DAYS))


def late_where_large(
    random: np.random.Generator, cards: int, mean_days: float, most_days: float = np.inf
) -> OrderedWorld:
    """Draw a challenger that stops small frauds, where live stops large ones, of as much money in all.

    Small frauds are labelled after two days in the mean, and large ones after more.

    Args:
        random: of the draws.
        cards: how many.
        mean_days: until a large fraud is labelled, in the mean of an exponential distribution.
        most_days: until any is labelled at the latest.
    """
    found = drawn(random, cards, 0.2, nowhere)
    is_large = random.random(len(found.saved)) < _SMALL_MINOR / (_SMALL_MINOR + _LARGE_MINOR)
    signed = np.where(is_large, -_LARGE_MINOR, _SMALL_MINOR)
    delays = random.exponential(np.where(is_large, mean_days, 2.0))
    saved = np.where(found.saved != 0, signed, 0)
    return found._replace(saved=saved, expected=np.zeros(len(saved)), label_days=np.minimum(delays, most_days))


def all_cards(draw: DrawCards, random: np.random.Generator, cards: int) -> OrderedWorld:
    """Draw a world that is judged by the mean over all cards, which is 0, whichever of them are final."""
    world = draw(random, cards)
    return world._replace(expected=np.zeros(len(world.expected)))


EQUAL: DrawCards = partial(drawn, effect=0.2, expects=nowhere)
FREQUENT: DrawCards = partial(all_cards, partial(drawn, effect=0.2, expects=for_frequent))
LITTLE: DrawCards = partial(all_cards, partial(drawn, effect=0.05, expects=for_frequent))
TURN: DrawCards = partial(drawn, effect=0.5, expects=for_the_first, often=2.0)
WAVES: DrawCards = partial(all_cards, partial(drawn, effect=0.3, expects=in_waves, often=2.0))
FRAUD_WAVE: DrawCards = partial(drawn, effect=0.3, expects=for_the_wave, often=2.0, chance=wave_in_the_second)
NEW_CARDS: DrawCards = partial(drawn, effect=0.5, expects=for_new_cards, often=0.5)
BETTER: DrawCards = partial(drawn, effect=0.2, expects=everywhere)
LATE_LABELS: DrawCards = partial(late_where_large, mean_days=12.0, most_days=19.5)
LABELS_BEYOND_MATURITY: DrawCards = partial(late_where_large, mean_days=60.0)


# --- what a verdict says


def looked_at(world: OrderedWorld, day: float, *, frauds_only: bool = False) -> LossFacts:
    """Return what the gates of losses look at on a day."""
    pairs, as_of_ms = world.pairs(day, frauds_only=frauds_only), round(day * DAY_MS)
    return compare_losses(pairs, outcomes_of(pairs.rows, TERMS.maturity(as_of_ms)), as_of_ms, TERMS)


def is_promoted(facts: LossFacts) -> bool:
    """Tell whether all gates of losses are passed."""
    return all(gate.passed for gate in gates_of_losses(facts, TERMS))


def wrongly_promoted(world: OrderedWorld, *, frauds_only: bool = False) -> bool:
    """Tell whether a world is promoted at any look at which the true mean over the final cards is not above 0."""
    return any(
        world.mean_of(facts.final) <= 0 and is_promoted(facts)
        for facts in (looked_at(world, day, frauds_only=frauds_only) for day in LOOK_DAYS)
    )


def promoted(world: OrderedWorld) -> bool:
    """Tell whether a world is promoted at any look."""
    return any(is_promoted(looked_at(world, day)) for day in LOOK_DAYS)
