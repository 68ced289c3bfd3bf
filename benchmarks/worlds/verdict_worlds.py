"""Worlds of the verdict, of its intervals of money, and of what lots tell: `verdict.md` and `fraud-metrics.md`."""

from functools import partial

import numpy as np

from benchmarks.worlds.declined import DECLINES, FRAUD_SHARE, draw_capped_lots, share_missed, sum_missed
from benchmarks.worlds.ordered_cards import (
    BETTER,
    EQUAL,
    FRAUD_WAVE,
    FREQUENT,
    LABELS_BEYOND_MATURITY,
    LATE_LABELS,
    LITTLE,
    NEW_CARDS,
    TERMS,
    TURN,
    WAVES,
    DrawCards,
    promoted,
    rare_and_large,
    wrongly_promoted,
)
from benchmarks.worlds.promise import Bound, Promise, World
from fraudstream.ops.rollout.outcomes.declines import decline_figures
from metrics.bootstrap import BootstrapPlan

_PART, _PAGE, _METRICS = "verdict", "verdict", "fraud-metrics"
_CARDS, _MANY = 8_000, 40_000
_PLAN = BootstrapPlan(draws=500)
_LOTS_PLAN = BootstrapPlan(draws=200)
_WRONG = Promise("a wrong PROMOTE at any look", Bound.AT_MOST, TERMS.alpha, _PAGE)


def _wrong(rng: np.random.Generator, draw: DrawCards, cards: int, *, frauds_only: bool = False) -> tuple[bool]:
    return (wrongly_promoted(draw(rng, cards), frauds_only=frauds_only),)


def _ordered(name: str, peculiar: str, draw: DrawCards, cards: int = _CARDS, runs: int = 80) -> World:
    return World(f"{name}, {cards:,} cards", _PART, peculiar, (_WRONG,), runs, partial(_wrong, draw=draw, cards=cards))


def _money(cards: int, sum_covered: float) -> World:
    promises = (
        Promise("the interval of a share leaves out the truth", Bound.AT_MOST, 0.05, _METRICS),
        Promise("the interval of a sum leaves out the truth", Bound.AT_MOST, 1 - sum_covered, _METRICS),
    )
    return World(
        f"money with heavy tails, {cards} cards",
        _PART,
        "amounts with a deviation of 2 of the logarithm: a few are most of it",
        promises,
        150,
        lambda rng: (share_missed(rng, cards, _PLAN), sum_missed(rng, cards, _PLAN)),
    )


def _lots(rng: np.random.Generator) -> tuple[float, bool]:
    """Return the error of the estimated share of fraud, and whether its interval leaves out the truth."""
    found = decline_figures(draw_capped_lots(rng).rows, 0, _LOTS_PLAN).precision
    assert found.value is not None  # noqa: S101 - lots were drawn
    assert found.interval is not None  # noqa: S101 - for many cards
    return found.value - FRAUD_SHARE, not found.interval.low <= FRAUD_SHARE <= found.interval.high


_FREQUENT = "better on the half of cards that pays more, worse on the other; frequent payers come first"
_WAVE = "fraud is five times as frequent in the second cohort, where it alone stops it; worse on the first as much"
_NEW = "better on cards that appear late alone, as much worse on those before"

VERDICT_WORLDS = (
    _ordered("equal models", "each swap is as often right as wrong", EQUAL),
    _ordered("frequent payers come first", _FREQUENT, FREQUENT),
    _ordered("frequent payers come first", _FREQUENT, FREQUENT, _MANY, 16),
    _ordered("frequent payers, few swaps", f"{_FREQUENT}; 5 % of frauds", LITTLE),
    _ordered("the first cohort", "better on cards of the first 28 days, as much worse on the next", TURN),
    _ordered("campaigns", "better and worse by turns of three days", WAVES),
    _ordered("rare and large", "EUR 10 saved on one card in twenty, EUR 600 lost on one in a thousand", rare_and_large),
    _ordered("a wave of fraud in one cohort", _WAVE, FRAUD_WAVE),
    _ordered("a wave of fraud in one cohort", _WAVE, FRAUD_WAVE, _MANY, 16),
    _ordered("new cards", _NEW, NEW_CARDS),
    _ordered("new cards", _NEW, NEW_CARDS, _MANY, 16),
    World(
        f"large frauds are labelled later, {_CARDS:,} cards",
        _PART,
        "it stops small frauds, labelled after 2 days, live large ones, after 12; all within the maturity of 20",
        (_WRONG,),
        80,
        partial(_wrong, draw=LATE_LABELS, cards=_CARDS, frauds_only=True),
    ),
    World(
        f"large frauds are labelled after the maturity, {_MANY:,} cards",
        _PART,
        "the same, and large frauds are labelled after 60 days in the mean: most count as genuine until then",
        (Promise("a wrong PROMOTE at any look", Bound.NONE, 0.0, _PAGE),),
        16,
        partial(_wrong, draw=LABELS_BEYOND_MATURITY, cards=_MANY, frauds_only=True),
    ),
    World(
        f"better challenger, {_CARDS:,} cards",
        _PART,
        "it saves a fifth of fraud, on all cards alike",
        (Promise("it is promoted within half a year", Bound.AT_LEAST, 0.8, _PAGE),),
        30,
        lambda rng: (promoted(BETTER(rng, _CARDS)),),
    ),
    _money(54, 0.82),
    _money(180, 0.86),
    _money(720, 0.90),
    World(
        "lots while the cap holds",
        "let-through",
        f"{DECLINES:,} declines, each with a lot of 20 %; the cap sends 70 % of the others to review, which has labels",
        (
            Promise("error of the estimated share of fraud", Bound.UNBIASED, 0.0, _PAGE),
            Promise("its interval leaves out the truth", Bound.AT_MOST, 0.07, _METRICS),
        ),
        150,
        _lots,
    ),
)
