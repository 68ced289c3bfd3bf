"""Verdicts on challengers whose truth is known: how often each word is said, and how long a difference takes to show.

A card is compromised now and then, and then has one to four frauds. Each model sees a payment's risk through a sign of
its own: it shows on most frauds and on few genuine payments, and alike for both models in most cases. A model reviews
what shows its sign; its score is the probability of fraud given the sign, so scores are calibrated. A challenger is
better or worse by the share of frauds that show its sign, and so by that part of the savings.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from fraudstream.ops.rollout.outcomes.columns import PAYMENT_ROW, ColumnNames, PaymentRows
from fraudstream.ops.rollout.outcomes.labels import LABEL_ROW, NO_TIME, UNLABELLED
from fraudstream.ops.rollout.outcomes.maturity import DAY_MS
from fraudstream.ops.rollout.verdict.gates import VerdictWord, decide, gates_of_verdict
from fraudstream.ops.rollout.verdict.pairs import Pairs
from fraudstream.ops.rollout.verdict.report import Subject, VerdictInput, gated_facts
from fraudstream.ops.rollout.verdict.terms import VerdictTerms
from metrics.columns import Bools, Floats, Ints
from metrics.money import CostMatrix, DecisionCode
from shadow.history import WorkerReports

EFFECTS = (-0.2, -0.1, 0.0, 0.1, 0.2)
DELAYS = (1.0, 7.0, 30.0, 60.0)
LABELLED = (1.0, 0.5, 0.1)
FOUND_EFFECTS = (0.05, 0.1, 0.2)
FOUND_DELAYS = (1.0, 7.0, 30.0)
LOOK_DAYS = tuple(range(14, 183, 14))
"""A verdict is asked for each fortnight, for half a year, until it is no HOLD any more."""
_LIVE_RECALL = 0.6
_FALSE_SIGNS = 0.004
_SHARED = 0.8
"""How often both models go by the same chance."""
_COMPROMISED = 0.06
"""Of the cards, in half a year."""
_FRAUD_MINOR, _REVIEW_MINOR = 12_000, 300

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class VerdictEffort:
    """How much is simulated: runs of each case, of no difference, and the cards of each run."""

    runs: int = 20
    equal_runs: int = 100
    cards: int = 8_000


class VerdictWorld(NamedTuple):
    """One run: payments of shape (n,) in the order of time, and when each label comes, `NO_TIME` if never."""

    rows: PaymentRows
    live: Bools
    challenger: Bools
    fraud: Bools
    labelled_ms: Ints
    scores: tuple[Floats, Floats]


class Labelling(NamedTuple):
    """How labels come: after an exponential delay of so many days on average, for so much of the frauds.

    With `genuine`, the others are labelled as well, with the same delays.
    """

    delay_days: float
    share: float = 1.0
    genuine: bool = False


class WordsLine(NamedTuple):
    """What was said of a challenger within half a year, in how many of so many runs."""

    effect: float
    delay_days: float
    labelled: float
    runs: int
    promote: int
    hold: int
    reject: int


class DaysLine(NamedTuple):
    """After how many days a difference was found, at the median; None if it was not in most runs."""

    effect: float
    delay_days: float
    genuine_labelled: bool
    runs: int
    found: int
    median_days: float | None


class VerdictFigures(NamedTuple):
    """All that was simulated; `equal` is of challengers without a difference, looked at each fortnight."""

    words: list[WordsLine]
    days: list[DaysLine]
    equal: WordsLine


def make_world(random: np.random.Generator, cards: int, effect: float, labelling: Labelling) -> VerdictWorld:
    """Draw the payments of half a year."""
    length = LOOK_DAYS[-1] * DAY_MS
    card = np.repeat(np.arange(cards), random.poisson(10, cards))
    occurred = random.integers(length, size=len(card))
    bad = np.flatnonzero(random.random(cards) < _COMPROMISED)
    bad_card = np.repeat(bad, random.integers(1, 5, len(bad)))
    begins = random.integers(length - 3 * DAY_MS, size=cards)
    bad_ms = begins[bad_card] + random.integers(3 * DAY_MS, size=len(bad_card))
    fraud = np.concatenate((np.zeros(len(card), np.bool_), np.ones(len(bad_card), np.bool_)))
    rows = np.zeros(len(fraud), PAYMENT_ROW)
    rows["card"], rows["occurred_ms"] = np.concatenate((card, bad_card)), np.concatenate((occurred, bad_ms))
    rows["amount_minor"] = np.where(fraud, _FRAUD_MINOR, 4_000) * random.lognormal(-0.5, 1, len(fraud))
    order = np.argsort(rows["occurred_ms"], kind="stable")
    rows, fraud = rows[order], fraud[order]
    rows["payment"], rows["propensity"] = np.arange(len(rows)), np.nan
    return _seen(random, rows, fraud, (effect, labelling))


def _seen(random: np.random.Generator, rows: PaymentRows, fraud: Bools, what: tuple[float, Labelling]) -> VerdictWorld:
    """Draw what each model sees of the payments, and their labels."""
    effect, labelling = what
    count = len(rows)
    chance = random.random(count)
    own = np.where(random.random(count) < _SHARED, chance, random.random(count))
    recalls = _LIVE_RECALL, _LIVE_RECALL + effect / (1 - _REVIEW_MINOR / _FRAUD_MINOR)
    live, challenger = (
        np.where(fraud, seen < recall, seen < _FALSE_SIGNS) for seen, recall in zip((chance, own), recalls, strict=True)
    )
    comes = (fraud | labelling.genuine) & (random.random(count) < labelling.share)
    delays = np.rint(random.exponential(labelling.delay_days * DAY_MS, count)).astype(np.int64)
    labelled = np.where(comes, rows["occurred_ms"] + delays, NO_TIME)
    base = fraud.mean()
    scores = tuple(
        _calibrated(sign, recall, float(base)) for sign, recall in zip((live, challenger), recalls, strict=True)
    )
    rows["said"] = rows["decided"] = np.where(live, DecisionCode.REVIEW, DecisionCode.APPROVE)
    return VerdictWorld(rows, live, challenger, fraud, labelled, (scores[0], scores[1]))


def _calibrated(sign: Bools, recall: float, base: float) -> Floats:
    """Return the probability of fraud given the sign, by Bayes' rule."""
    shown = base * recall / (base * recall + (1 - base) * _FALSE_SIGNS)
    hidden = base * (1 - recall) / (base * (1 - recall) + (1 - base) * (1 - _FALSE_SIGNS))
    return np.where(sign, shown, hidden)


def look(world: VerdictWorld, day: int) -> VerdictInput:
    """Return what is known of a world on a day."""
    as_of_ms = day * DAY_MS
    until = int(np.searchsorted(world.rows["occurred_ms"], as_of_ms, side="right"))
    rows = world.rows[:until].copy()
    known = (world.labelled_ms[:until] != NO_TIME) & (world.labelled_ms[:until] <= as_of_ms)
    rows["fraud"] = np.where(known, world.fraud[:until], UNLABELLED)
    rows["labelled_ms"] = np.where(known, world.labelled_ms[:until], NO_TIME)
    said = np.where(world.challenger[:until], DecisionCode.REVIEW, DecisionCode.APPROVE).astype(np.int8)
    live_scores, scores = (one[:until] for one in world.scores)
    pairs = Pairs(rows, rows["said"], said, live_scores, scores, np.zeros(until, np.int16), np.zeros(until, np.int64))
    return VerdictInput(
        Subject("bench", "challenger", "live", 1),
        pairs,
        until,
        0,
        ColumnNames(["EUR"], ["live"], ["live"]),
        np.empty(0, LABEL_ROW),
        WorkerReports(),
        (),
        0,
        as_of_ms,
        as_of_ms,
    )


TERMS = VerdictTerms(currency="EUR", costs=CostMatrix(_REVIEW_MINOR, 0, 200, 500), alert_tolerance=1.0)
"""The default terms, but that the challenger may alert twice as often: what is simulated is the gate of losses."""


def first_word(world: VerdictWorld) -> tuple[VerdictWord, int | None]:
    """Return the first verdict that is no HOLD, and its day; HOLD and None if there is none within half a year."""
    for day in LOOK_DAYS:
        facts = gated_facts(look(world, day), TERMS)
        word, _ = decide(gates_of_verdict(facts, TERMS), facts.loss)
        if word is not VerdictWord.HOLD:
            return word, day
    return VerdictWord.HOLD, None


def simulate_verdicts(seed: int, effort: VerdictEffort, progress: Progress) -> VerdictFigures:
    """Simulate all cases; the same seed and effort give the same figures."""
    words, days = list(product(EFFECTS, DELAYS, LABELLED)), list(product(FOUND_EFFECTS, FOUND_DELAYS, (False, True)))
    found_words, found_days = list[WordsLine](), list[DaysLine]()
    for at, (effect, delay, share) in enumerate(words):
        progress("verdicts", at, len(words))
        said = list(_runs((seed, 0, at), effort.runs, effort.cards, (effect, Labelling(delay, share))))
        found_words.append(_words((effect, delay, share), said))
    for at, (effect, delay, genuine) in enumerate(days):
        progress("days", at, len(days))
        said = list(_runs((seed, 1, at), effort.runs, effort.cards, (effect, Labelling(delay, 1.0, genuine))))
        found_days.append(_days((effect, delay, genuine), said))
    progress("equal", 0, 1)
    equal = list(_runs((seed, 2), effort.equal_runs, effort.cards, (0.0, Labelling(7.0))))
    progress("equal", 1, 1)
    return VerdictFigures(found_words, found_days, _words((0.0, 7.0, 1.0), equal))


def _runs(
    seed: tuple[int, ...], runs: int, cards: int, what: tuple[float, Labelling]
) -> Iterator[tuple[VerdictWord, int | None]]:
    for run in range(runs):
        random = np.random.default_rng((*seed, run))
        yield first_word(make_world(random, cards, *what))


def _words(case: tuple[float, float, float], said: list[tuple[VerdictWord, int | None]]) -> WordsLine:
    words = [word for word, _ in said]
    return WordsLine(*case, len(words), *(words.count(one) for one in VerdictWord))


def _days(case: tuple[float, float, bool], said: list[tuple[VerdictWord, int | None]]) -> DaysLine:
    days = [math.inf if word is not VerdictWord.PROMOTE or day is None else float(day) for word, day in said]
    median = float(np.median(days))
    found = sum(day < math.inf for day in days)
    return DaysLine(*case, len(days), found, None if median == math.inf else median)
