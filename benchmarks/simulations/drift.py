"""The watch of a live model on payments whose truth is known: false alarms in a year, and how soon a drift is found.

Cards differ: in how often they pay (some a hundred times as often as others) and in where their values lie, so that
payments of one card are alike. Weekends differ from workdays. There are worlds with paydays, with a season, and with
cards that come and go. A reference is made of four weeks before, as training makes it, and the rule that is watched by
runs on the days of a year. Beside it stand simpler rules on the same windows.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fraudstream.ops.watch.drift.alarm import AlarmKind
from fraudstream.ops.watch.drift.counts import DriftCounts, DriftRows
from fraudstream.ops.watch.drift.fold import LATENESS_MS, DriftFold, WatchedPair
from fraudstream.ops.watch.drift.judge import JudgedWindow
from fraudstream.ops.watch.drift.layout import Layout
from fraudstream.ops.watch.drift.terms import DAYS_OF_YEAR, DriftTerms
from guards.hashes import hash_of
from metrics.columns import Floats, Ints
from metrics.drift import LEAST_SHARE, stability_index
from metrics.drift_test import shares_of
from models.artifact import Manifest, TrainingData
from models.calibration import Calibration
from models.policy import Policy
from models.training_reference import (
    DAY_MS,
    ReferenceRows,
    TrainingReference,
    build_reference,
    decision_bins,
    is_weekend,
)

REFERENCE_DAYS = 28
BEGIN_DAY = 20_454
"""The first day of a reference: 2026-01-01."""
DRIFT_DAY = 30
"""A planted drift begins so many days after the model went live, and is watched for two months."""
DRIFT_DAYS = 60
FEATURES = ("amount", "count", "flag", "share", "age", "tail", "level", "noise", "known")
GAINS = (0.3, 0.1, 0.02, 0.05, 0.02, 0.01, 0.25, 0.0, 0.25)
"""What the model goes by; `known` is as a merchant's share of known frauds, 0 for nearly all payments."""
KNOWN_SHARE = 0.03
_KNOWN_NOISE = 0.15
ODD_EVERY = 30
"""One day in so many is an odd one, in the case that has them: as a holiday, with other amounts and counts."""
PAYDAYS = (24, 25, 26)
"""Days of each 30 on which people pay more, and more often, in the cases that have paydays."""
SEASON = 0.35
"""Amounts, counts and the number of payments rise and fall by this share over a year, in the cases with a season."""
CHURN = 0.005
"""The share of cards that is replaced by others each day, in the cases with churn."""
CARDS_FOR_EACH = 4
"""Cards for each that pays on a day, on average."""
_PAIR = WatchedPair("0" * 64, "live")
SIMPLE_BOUND = 0.2

Progress = Callable[[str, int, int], None]
Shift = Callable[[np.random.Generator, Floats, Floats], None]
"""Changes vectors of shape (n, features) and the logits of scores of shape (n,) in place."""


CARDS = (300, 1_500, 5_000)


@dataclass(frozen=True, slots=True)
class DayTraits:
    """How a day differs from an ordinary one, for all cards alike.

    Attributes:
        raised: is added to the logarithm of amounts and of counts.
        volume: payments are so many times as many.
        churn: the share of cards that has been replaced since the day before.
    """

    raised: float = 0.0
    volume: float = 1.0
    churn: float = 0.0


Case = Callable[[int], DayTraits]
"""From a day, counted from the first of the reference's year, to its traits."""
ORDINARY = DayTraits()


def _odd(day: int) -> DayTraits:
    return DayTraits(raised=0.8) if day >= 0 and day % ODD_EVERY == 0 else ORDINARY


def _payday(day: int) -> DayTraits:
    return DayTraits(raised=0.4, volume=1.2) if day % ODD_EVERY in PAYDAYS else ORDINARY


def _season(day: int) -> DayTraits:
    factor = 1 + SEASON * math.sin(2 * math.pi * day / DAYS_OF_YEAR)
    return DayTraits(raised=math.log(factor), volume=factor)


def _payday_in_season(day: int) -> DayTraits:
    payday, season = _payday(day), _season(day)
    return DayTraits(payday.raised + season.raised, payday.volume * season.volume)


def _all_at_once(day: int) -> DayTraits:
    found = _payday_in_season(day)
    return DayTraits(found.raised, found.volume, CHURN)


CASES: Mapping[str, Case] = MappingProxyType(
    {
        "nothing": lambda _day: ORDINARY,
        "odd days": _odd,
        "paydays": _payday,
        "a season": _season,
        "paydays in a season": _payday_in_season,
        "and churn": _all_at_once,
    }
)
"""Worlds without a drift; the model goes live on day 0, after four weeks of reference."""


@dataclass(frozen=True, slots=True)
class DriftEffort:
    """How much is simulated: years without a drift and runs with one, and the cards of each that pay on a day."""

    years: int = 20
    runs: int = 20
    cards: tuple[int, ...] = CARDS


class QuietLine(NamedTuple):
    """Years without a drift.

    Attributes:
        case: one of `CASES`.
        cards: that pay on a day.
        years: how many were simulated.
        simple: alarms a year if each day is compared with the whole reference, and an index of 0.2 is an alarm.
        single: likewise, by this watch's windows, and weekends by weekends.
        bounded: likewise, where chance does not explain it either.
        alarms: alarms a year of the watch.
    """

    case: str
    cards: int
    years: int
    simple: float
    single: float
    bounded: float
    alarms: float


class FoundLine(NamedTuple):
    """Runs with a planted drift.

    Attributes:
        drift: which.
        cards: that pay on a day.
        runs: how many were simulated.
        largest_index: the stability index that it gives to the feature that it moves most, or to the score.
        found: in how many an alarm was raised within two months.
        median_days: until then, from the drift's first day; None if it was not found in most runs.
        slowest_days: of those found.
    """

    drift: str
    cards: int
    runs: int
    largest_index: float
    found: int
    median_days: float | None
    slowest_days: int | None


class DriftFigures(NamedTuple):
    """All that was simulated."""

    quiet: list[QuietLine]
    found: list[FoundLine]


class CardPopulation(NamedTuple):
    """Cards: how often each pays on a day, where its values lie, and its hash; of shape (c,), (c, features), (c,)."""

    rate: Floats
    level: Floats
    hashes: NDArray[np.uint64]


def _moved(column: int, by: float) -> Shift:
    def shift(_random: np.random.Generator, matrix: Floats, _logits: Floats) -> None:
        matrix[:, column] += by

    return shift


def _undefined(column: int, share: float) -> Shift:
    def shift(random: np.random.Generator, matrix: Floats, _logits: Floats) -> None:
        matrix[random.random(len(matrix)) < share, column] = np.nan

    return shift


def _scaled(column: int, factor: float) -> Shift:
    def shift(_random: np.random.Generator, matrix: Floats, _logits: Floats) -> None:
        matrix[:, column] *= factor

    return shift


def _forgotten(column: int, share: float) -> Shift:
    def shift(random: np.random.Generator, matrix: Floats, _logits: Floats) -> None:
        matrix[random.random(len(matrix)) < share, column] = 0.0

    return shift


def _scored(by: float) -> Shift:
    def shift(_random: np.random.Generator, _matrix: Floats, logits: Floats) -> None:
        logits += by

    return shift


DRIFTS: Mapping[str, Shift] = MappingProxyType(
    {
        "level + 0.3 deviations": _moved(6, 0.3),
        "level + 0.5 deviations": _moved(6, 0.5),
        "level + 1 deviation": _moved(6, 1.0),
        "age undefined in 5 %": _undefined(4, 0.05),
        "age undefined in 20 %": _undefined(4, 0.20),
        "amount in cents": _scaled(0, 100.0),
        "known at 0 in a half": _forgotten(8, 0.5),
        "known at 0 in all": _forgotten(8, 1.0),
        "odds of scores x 1.5": _scored(0.405),
        "odds of scores x 3": _scored(1.1),
    }
)


def make_cards(random: np.random.Generator, cards: int) -> CardPopulation:
    """Draw cards, so many of which pay on a day on average."""
    count = cards * CARDS_FOR_EACH
    rate = random.lognormal(-1.2, 1.0, count)
    hashes = np.fromiter((hash_of(f"{int(one)}") for one in random.integers(2**62, size=count)), np.uint64, count)
    return CardPopulation(rate, random.normal(size=(count, len(FEATURES))), hashes)


class SimulatedDay(NamedTuple):
    """Payments of a day: the card of each, vectors and scores."""

    card: Ints
    matrix: Floats
    scores: Floats


def replaced(random: np.random.Generator, cards: CardPopulation, share: float) -> CardPopulation:
    """Replace a share of the cards by others."""
    gone = np.flatnonzero(random.random(len(cards.rate)) < share)
    new = make_cards(random, -(-len(gone) // CARDS_FOR_EACH))
    found = CardPopulation(cards.rate.copy(), cards.level.copy(), cards.hashes.copy())
    for column, drawn in zip(found, new, strict=True):
        column[gone] = drawn[: len(gone)]
    return found


def make_day(
    random: np.random.Generator,
    cards: CardPopulation,
    day: int,
    shift: Shift | None = None,
    traits: DayTraits = ORDINARY,
) -> SimulatedDay:
    """Draw the payments of a day."""
    weekend = bool(is_weekend(np.array([day]))[0])
    rate = cards.rate * ((0.7 if weekend else 1.0) * traits.volume)
    card = np.repeat(np.arange(len(cards.rate)), random.poisson(rate))
    own = 0.7 * cards.level[card] + 0.7 * random.normal(size=(len(card), len(FEATURES)))
    later = 1.0 if weekend else 0.0
    matrix = own.copy()
    matrix[:, 0] = np.round(30 * np.exp(own[:, 0] + 0.4 * later + traits.raised), 2)
    matrix[:, 1] = np.floor(np.exp(0.8 * own[:, 1] + traits.raised))
    matrix[:, 2] = own[:, 2] + 1.2 * later > 1.0
    matrix[:, 3] = np.clip(own[:, 3], 0, None)
    matrix[random.random(len(card)) < 0.02, 4] = np.nan  # noqa: PLR2004 - a share of undefined values
    matrix[:, 5] = np.exp(2.0 * own[:, 5])
    known_share = KNOWN_SHARE * math.exp(random.normal(0, _KNOWN_NOISE))
    matrix[:, 8] = np.where(random.random(len(card)) < known_share, random.exponential(0.1, len(card)), 0.0)
    logits = -6.0 + 1.2 * own[:, 0] + 1.0 * own[:, 6]
    if shift is not None:
        shift(random, matrix, logits)
    return SimulatedDay(card, matrix, 1 / (1 + np.exp(-logits)))


def make_manifest(random: np.random.Generator, cards: CardPopulation, case: Case = CASES["nothing"]) -> Manifest:
    """Return the manifest of a model with a reference of four weeks; it alerts on 0.5 % and declines 0.1 %."""
    days = [make_day(random, cards, BEGIN_DAY + at, traits=case(at - REFERENCE_DAYS)) for at in range(REFERENCE_DAYS)]
    matrix, scores = np.concatenate([day.matrix for day in days]), np.concatenate([day.scores for day in days])
    card = np.concatenate([day.card for day in days])
    occurred = np.concatenate([np.full(len(day.card), (BEGIN_DAY + at) * DAY_MS) for at, day in enumerate(days)])
    policy = Policy(*np.quantile(scores, (0.995, 0.999)).tolist())
    rows = ReferenceRows(matrix, np.arange(len(card)), scores, card, occurred, gains=np.array(GAINS))
    reference = build_reference(rows, policy)
    return Manifest(
        name="simulated",
        version="1",
        fingerprint="simulated",
        feature_names=FEATURES,
        training=TrainingData(since=reference.since, until=reference.until, rows=1, frauds=1, fingerprint="0" * 64),
        code_version="",
        parameters={},
        seed=0,
        metrics={},
        calibration=Calibration((0.0, 1.0), (0.0, 1.0)),
        policy=policy,
        reference=reference,
    )


class SimulatedWatch(NamedTuple):
    """What the watch said of one run, a window after the other.

    Attributes:
        windows: the windows that it judged.
        opened: the days, since the model went live, on which alarms were raised.
        simple: on which days the simplest rule says that something has drifted.
    """

    windows: list[JudgedWindow]
    opened: list[int]
    simple: list[bool]


def watch_days(
    random: np.random.Generator,
    cards: int,
    days: Iterator[tuple[int, Shift | None]],
    terms: DriftTerms,
    case: Case = CASES["nothing"],
) -> SimulatedWatch:
    """Watch a model on days after its reference, for each its number and a drift, in one of the worlds."""
    population = make_cards(random, cards)
    manifest = make_manifest(random, population, case)
    fold = DriftFold(terms)
    fold.manifests[_PAIR.digest] = manifest
    layout, begin = fold.layout(_PAIR.digest), BEGIN_DAY + REFERENCE_DAYS
    found = SimulatedWatch([], [], [])
    for number, shift in days:
        traits = case(number)
        population = replaced(random, population, traits.churn) if traits.churn else population
        paid = make_day(random, population, begin + number, shift, traits)
        counts = _counted(layout, manifest.policy, population, paid, begin + number)
        fold.add_counts(_PAIR, begin + number, counts)
        found.simple.append(_is_simply_over(layout, manifest.reference, counts))
        for news in fold.advance((begin + number + 1) * DAY_MS + LATENESS_MS):
            if news.window is not None:
                found.windows.append(news.window)
            if news.alarm is not None and news.alarm[0] is AlarmKind.OPENED:
                found.opened.append(number)
    return found


def _counted(layout: Layout, policy: Policy, cards: CardPopulation, paid: SimulatedDay, day: int) -> DriftCounts:
    rows = DriftRows(
        cards.hashes[paid.card],
        paid.scores,
        decision_bins(paid.scores, policy),
        paid.matrix,
        np.ones(len(paid.card), np.bool_),
    )
    return DriftCounts.of(layout, rows, weekend=bool(is_weekend(np.array([day]))[0]))


def _is_simply_over(layout: Layout, reference: TrainingReference | None, counts: DriftCounts) -> bool:
    """Tell whether a stability index of a day against the whole reference is 0.2 or more."""
    assert reference is not None  # noqa: S101 - it was made
    begins = layout.begins
    for at, quantity in enumerate((*reference.features, reference.score)):
        whole = np.add(quantity.workdays, quantity.weekends) / quantity.rows
        shares = shares_of(counts.by_group[:, begins[at] : begins[at + 1]])
        if stability_index(*(np.maximum(one, LEAST_SHARE).tolist() for one in (whole, shares))) >= SIMPLE_BOUND:
            return True
    return False


def simulate_drift(seed: int, effort: DriftEffort, progress: Progress) -> DriftFigures:
    """Simulate all cases; the same seed and effort give the same figures."""
    quiet_cases = [(case, cards) for case in CASES for cards in effort.cards]
    found_cases = [(drift, cards) for drift in DRIFTS for cards in effort.cards]
    quiet, found = list[QuietLine](), list[FoundLine]()
    for at, (case, cards) in enumerate(quiet_cases):
        progress("years", at, len(quiet_cases))
        quiet.append(_quiet((seed, 0, at), case, cards, effort.years))
    for at, (drift, cards) in enumerate(found_cases):
        progress("drifts", at, len(found_cases))
        found.append(_found((seed, 1, at), drift, cards, effort.runs))
    progress("drifts", len(found_cases), len(found_cases))
    return DriftFigures(quiet, found)


def _quiet(seed: tuple[int, ...], case: str, cards: int, years: int) -> QuietLine:
    sums = np.zeros(4)
    for year in range(years):
        random = np.random.default_rng((*seed, year))
        days = ((day, None) for day in range(DAYS_OF_YEAR))
        seen = watch_days(random, cards, days, DriftTerms(), CASES[case])
        over = [any(one.index >= SIMPLE_BOUND for one in window.quantities) for window in seen.windows]
        sums += _begun(seen.simple), _begun(over), _begun([bool(one.over) for one in seen.windows]), len(seen.opened)
    return QuietLine(case, cards, years, *(sums / years).tolist())


def _begun(over: list[bool]) -> int:
    """Count the runs of windows that are over."""
    return sum(now and not before for before, now in zip([False, *over], over, strict=False))


def _found(seed: tuple[int, ...], drift: str, cards: int, runs: int) -> FoundLine:
    days, index = list[float](), list[float]()
    for run in range(runs):
        random = np.random.default_rng((*seed, run))
        planted = ((day, DRIFTS[drift] if day >= DRIFT_DAY else None) for day in range(DRIFT_DAY + DRIFT_DAYS))
        seen = watch_days(random, cards, planted, DriftTerms())
        after = [day - DRIFT_DAY + 1 for day in seen.opened if day >= DRIFT_DAY]
        days.append(after[0] if after else math.inf)
        last = seen.windows[-1]
        index.append(max(one.index for one in last.quantities if one.expected is None))
    median, found = float(np.median(days)), [day for day in days if day < math.inf]
    return FoundLine(
        drift,
        cards,
        runs,
        float(np.mean(index)),
        len(found),
        None if median == math.inf else median,
        round(max(found)) if found else None,
    )
