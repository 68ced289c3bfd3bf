"""What reports on experiments promise, with known truth: false winners, coverage, and how long a difference takes.

Losses by card are drawn, and compared by the code of the report. Beside it, what is commonly done instead: a test for
one look that is looked at again and again. Every figure follows from the seed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from benchmarks.simulations.experiment_lots import LotLine, simulate_lots
from fraudstream.ops.rollout.experiments.cards import CardLosses
from fraudstream.ops.rollout.experiments.comparison import ArmDifference, pair_plans, winner_of
from fraudstream_client.arms import LIVE
from guards.shares import ArmShare
from metrics.arms import ArmsPlan
from metrics.columns import Floats

Progress = Callable[[str, int, int], None]
"""Told the stage, how much of it is done, and the total."""

ALPHA = 0.05
CAP_MINOR = 100_000
CHANCE = 0.10
"""Of a card to lose something in its days, with the live model."""
MEDIAN_MINOR, SPREAD = 8_000, 0.8
"""Of what such a card loses: its median, and the standard deviation of its logarithm."""
NEW_CARDS_A_DAY = 5_000
FINAL_AFTER_DAYS = 116
"""28 days in which the cards of a cohort appear, 28 of the last card, and 60 until its payments have matured."""
_LOOKS = 30
_MOST_CARDS = 3_000_000
THREE_ARMS = (ArmShare("a", 2_000), ArmShare("b", 2_000), ArmShare(LIVE, 6_000))
HALVES = (ArmShare("new", 5_000), ArmShare(LIVE, 5_000))
TENTH = (ArmShare("new", 1_000), ArmShare(LIVE, 9_000))
DIFFERENCES = (0.20, 0.10, 0.05)


class LossWorld(NamedTuple):
    """An experiment with known truth: its arms, and how often a card of each loses something, next to `CHANCE`."""

    name: str
    arms: tuple[ArmShare, ...]
    factors: tuple[float, ...]

    def means(self) -> Floats:
        """Return the true mean of the capped loss of a card in each arm."""
        return np.array(self.factors) * CHANCE * capped_mean()

    @property
    def best(self) -> frozenset[str]:
        """The arms of which none loses more than another: one may be named the winner if it is the only one."""
        least = min(self.factors)
        return frozenset(arm.name for arm, factor in zip(self.arms, self.factors, strict=True) if factor == least)

    def draw(self, rng: np.random.Generator, cards: int) -> CardLosses:
        """Draw the losses of cards; nothing of them is unknown."""
        arms = rng.choice(len(self.arms), cards, p=[arm.share_bp / 10_000 for arm in self.arms])
        amounts = np.exp(rng.normal(math.log(MEDIAN_MINOR), SPREAD, cards))
        loses = rng.random(cards) < CHANCE * np.array(self.factors)[arms]
        losses = np.where(loses, amounts, 0).astype(np.int64)
        return CardLosses(arms, losses, losses, np.arange(cards), np.zeros(0, np.int64))


SOUND = (
    LossWorld("all arms alike", THREE_ARMS, (1.0, 1.0, 1.0)),
    LossWorld("two arms alike, live loses 20 % more", THREE_ARMS, (0.8, 0.8, 1.0)),
    LossWorld("live best, the arms lose 10 and 20 % more", THREE_ARMS, (1.1, 1.2, 1.0)),
)


def capped_mean() -> float:
    """Return the mean of what a card loses that loses something, capped: of a lognormal, in closed form."""
    mu, log_cap, normal = math.log(MEDIAN_MINOR), math.log(CAP_MINOR), NormalDist()
    below = math.exp(mu + SPREAD**2 / 2) * normal.cdf((log_cap - mu) / SPREAD - SPREAD)
    return below + CAP_MINOR * (1 - normal.cdf((log_cap - mu) / SPREAD))


class SoundLine(NamedTuple):
    """How often an experiment of known truth was misjudged, looked at all the time.

    Attributes:
        name: of the world.
        runs: simulated.
        false_winners: the part of runs in which an arm was ever named that is not the only best one.
        found: the part of runs in which the only best arm was named by the end.
        missed: the part of runs in which an interval of an arm beside live ever left the truth out.
        naive: the false winners of a test for one look at the same alpha, taken at every look.
    """

    name: str
    runs: int
    false_winners: float
    found: float
    missed: float
    naive: float


class DifferenceLine(NamedTuple):
    """How many final cards, in both arms, and how many days until a difference is found: median and 90th percentile.

    `missed` is the part of runs in which it was not found among the cards that were drawn.
    """

    difference: float
    share_bp: int
    runs: int
    cards_median: float | None
    cards_p90: float | None
    days_median: float | None
    missed: float


class ExperimentFigures(NamedTuple):
    """Everything that was simulated."""

    seed: int
    sound: list[SoundLine]
    effects: list[DifferenceLine]
    lots: list[LotLine]


class ExperimentEffort(NamedTuple):
    """How many runs of each world, with how many cards, of each difference, and how many lots."""

    runs: int = 500
    cards: int = 10_000
    effect_runs: int = 40
    lots: int = 400


def simulate(seed: int, effort: ExperimentEffort, progress: Progress) -> ExperimentFigures:
    """Simulate experiments with and without a difference, and lots on declines."""
    sound = [
        _sound(world, effort, np.random.default_rng([seed, 1, number]), progress) for number, world in enumerate(SOUND)
    ]
    effects = list[DifferenceLine]()
    for number, (arms, difference) in enumerate(product((HALVES, TENTH), DIFFERENCES)):
        progress("differences", number, 2 * len(DIFFERENCES))
        effects.append(_effect(difference, arms, effort.effect_runs, np.random.default_rng([seed, 2, number])))
    return ExperimentFigures(seed, sound, effects, simulate_lots(np.random.default_rng([seed, 3]), effort.lots))


# --- without a difference, or with a known one


def _sound(world: LossWorld, effort: ExperimentEffort, rng: np.random.Generator, progress: Progress) -> SoundLine:
    wrong = found = missed = naive = 0
    for run in range(effort.runs):
        losses = world.draw(rng, effort.cards)
        winners, covers = follow_looks(world, losses, _ends(effort.cards))
        wrong += any(world.best != {one} for one in winners)
        found += any(world.best == {one} for one in winners)
        missed += not covers
        naive += _is_naive_wrong(world, losses, _ends(effort.cards))
        progress(world.name, run + 1, effort.runs)
    return SoundLine(world.name, effort.runs, *(count / effort.runs for count in (wrong, found, missed, naive)))


def _ends(cards: int) -> list[int]:
    """Return after how many cards a run is looked at."""
    return sorted({*np.geomspace(50, cards, _LOOKS).astype(int).tolist()})


def follow_looks(world: LossWorld, losses: CardLosses, ends: Sequence[int]) -> tuple[set[str], bool]:
    """Return the arms that were named at any look, and whether the intervals beside live held the truth at each."""
    plans, names = pair_plans(world.arms, CAP_MINOR, ALPHA), [arm.name for arm in world.arms]
    means, winners, covers = world.means(), set[str](), True
    for end in ends:
        found, seen = [], losses.part(0, end)
        for plan in plans:
            interval, truth = plan.interval(seen), means[plan.first] - means[plan.second]
            found.append(ArmDifference(names[plan.first], names[plan.second], interval))
            if LIVE in (names[plan.first], names[plan.second]):
                covers &= interval is not None and bool(interval.low <= truth <= interval.high)
        winner = winner_of(names, found, dict(zip(names, names, strict=True)))
        winners |= set() if winner is None else {winner}
    return winners, covers


def _is_naive_wrong(world: LossWorld, losses: CardLosses, ends: Sequence[int]) -> bool:
    """Tell whether pairs of z-tests at the same alpha, looked at again and again, ever name a wrong winner."""
    bound, kept = NormalDist().inv_cdf(1 - ALPHA / 2 / (len(world.arms) - 1)), np.minimum(losses.low, CAP_MINOR)
    masks = [losses.arms == place for place in range(len(world.arms))]
    sums = [(np.cumsum(mask), np.cumsum(kept * mask), np.cumsum(kept * kept * mask)) for mask in masks]
    for end in ends:
        moments = [_moments(*(column[end - 1] for column in one)) for one in sums]
        winner = _naive_winner(moments, bound)
        if winner is not None and world.best != {world.arms[winner].name}:
            return True
    return False


def _moments(count: int, total: int, squares: int) -> tuple[float, float]:
    """Return a mean and its variance."""
    number = max(int(count), 2)
    mean = float(total) / number
    return mean, max(float(squares) / number - mean**2, 1.0) / number


def _naive_winner(moments: Sequence[tuple[float, float]], bound: float) -> int | None:
    best = min(range(len(moments)), key=lambda place: moments[place][0])
    mean, variance = moments[best]
    distances = [(other - mean) / math.sqrt(variance + own) for other, own in moments]
    return best if all(distances[place] > bound for place in range(len(moments)) if place != best) else None


# --- how long it takes


def _effect(difference: float, arms: tuple[ArmShare, ...], runs: int, rng: np.random.Generator) -> DifferenceLine:
    world = LossWorld("new loses less", arms, (1 - difference, 1.0))
    needed = [cards_needed(world, rng) for _ in range(runs)]
    found = np.array([cards for cards in needed if cards is not None], np.float64)
    median, p90 = (_quantile(needed, share) for share in (0.5, 0.9))
    days = None if median is None else median / NEW_CARDS_A_DAY + FINAL_AFTER_DAYS
    return DifferenceLine(difference, arms[0].share_bp, runs, median, p90, days, 1 - len(found) / runs)


def _quantile(needed: Sequence[float | None], share: float) -> float | None:
    """Return a quantile of runs, those in which nothing was found counting as the longest."""
    ordered = sorted(math.inf if one is None else one for one in needed)
    value = ordered[min(int(share * len(ordered)), len(ordered) - 1)]
    return None if math.isinf(value) else value


def cards_needed(world: LossWorld, rng: np.random.Generator, most: int = _MOST_CARDS) -> int | None:
    """Return after how many cards the first arm wins; None if it does not within `most`."""
    first, live = (arm.share_bp for arm in world.arms)
    plan, step, losses = ArmsPlan(ALPHA / 2, CAP_MINOR, (live, first)), 2_000, world.draw(rng, 0)
    while len(losses.arms) < most:
        more = world.draw(rng, step)
        arms, amounts = np.concatenate((losses.arms, more.arms)), np.concatenate((losses.low, more.low))
        losses = CardLosses(arms, amounts, amounts, np.arange(len(arms)), np.zeros(0, np.int64))
        if plan.is_higher(amounts, (arms == 1, arms == 0)):
            return len(arms)
        step = max(2_000, len(arms) // 20)
    return None


def facts(figures: ExperimentFigures) -> Mapping[str, object]:
    """Return what was simulated as plain JSON."""
    lists = ("sound", "effects", "lots")
    return figures._asdict() | {name: [line._asdict() for line in getattr(figures, name)] for name in lists}
