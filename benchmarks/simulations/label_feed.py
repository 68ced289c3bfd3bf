"""The watch of labels on feeds whose truth is known: false alarms in a year, and how soon a share that is gone is told.

Frauds come by cards; a card counts once a day. Three reporters have their own weeks: customers report every day,
chargebacks come on workdays with what weekends held back, analysts rest on most weekends and label genuine payments,
too. The number of frauds follows a season and paydays, and differs from day to day.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from benchmarks.simulations.drift import BEGIN_DAY, ODD_EVERY, PAYDAYS, SEASON
from fraudstream.ops.watch.drift.feed import FRAUDS, LABELS, LabelFeed
from fraudstream.ops.watch.drift.terms import DAYS_OF_YEAR
from models.training_reference import DAY_MS, is_weekend

CARDS_A_DAY = 25.0
"""Cards whose fraud is labelled on a day, where 1,500 cards pay on a day some 3,000 times, and 0.8 % of it is fraud."""
REPORTERS = MappingProxyType({"customer": 0.45, "chargeback": 0.35, "analyst": 0.2})
TYPES = MappingProxyType({"stolen": 0.4, "terminal": 0.3, "takeover": 0.2, "other": 0.1})
GENUINE_A_DAY = 15.0
"""Alerts that analysts find to be genuine, on a workday."""
WARM_DAYS = 42
"""A feed has been read for so long when a share of it goes."""
_DAY_NOISE = 0.1
_WEEKEND_ANALYSTS = 0.3
_PAYDAY = 1.2
_GROUP = "deployment"


class FeedWorld(NamedTuple):
    """How the number of frauds changes from day to day: with a season, and on paydays."""

    season: bool = False
    paydays: bool = False

    def volume(self, day: int) -> float:
        """Return by how much the number of frauds of a day is raised."""
        season = 1 + SEASON * math.sin(2 * math.pi * day / DAYS_OF_YEAR) if self.season else 1.0
        return season * (_PAYDAY if self.paydays and day % ODD_EVERY in PAYDAYS else 1.0)


WORLDS: Mapping[str, FeedWorld] = MappingProxyType(
    {
        "nothing": FeedWorld(),
        "paydays": FeedWorld(paydays=True),
        "a season": FeedWorld(season=True),
        "paydays in a season": FeedWorld(season=True, paydays=True),
    }
)
Gone = Callable[[str, str], bool]
"""Tells, of a reporter and a kind of fraud, whether their labels are gone."""
LOSSES: Mapping[str, Gone] = MappingProxyType(
    {
        "all labels": lambda _by, _kind: True,
        "those of customers (45 % of frauds)": lambda by, _kind: by == "customer",
        "chargebacks (35 %)": lambda by, _kind: by == "chargeback",
        "one kind of fraud (40 %)": lambda _by, kind: kind == "stolen",
        "another kind (30 %)": lambda _by, kind: kind == "terminal",
    }
)


class FeedLoss(NamedTuple):
    """A share of the labels that is gone from a day on."""

    gone: Gone
    begin: int


class FeedRun(NamedTuple):
    """One run: the days, from the first, on which an alarm was opened, and the counts that each was about."""

    opened: list[int]
    streams: list[tuple[str, ...]]


def watch_feed(
    random: np.random.Generator,
    world: FeedWorld,
    days: int,
    loss: FeedLoss | None = None,
    *,
    cards_a_day: float = CARDS_A_DAY,
) -> FeedRun:
    """Watch a feed for some days."""
    feed, found, held = LabelFeed(_GROUP), FeedRun([], []), Counter[str]()
    for day in range(days):
        gone = loss.gone if loss is not None and day >= loss.begin else None
        counts = _day(random, world.volume(day) * cards_a_day, day, (gone, held))
        at_ms = (BEGIN_DAY + day) * DAY_MS
        feed.add_counts(at_ms, counts)
        was_open = feed.alarm is not None
        feed.advance(at_ms + DAY_MS)
        if feed.alarm is not None and not was_open:
            found.opened.append(day)
            found.streams.append(tuple(feed.alarm.streams))
    return found


def _day(random: np.random.Generator, cards: float, day: int, loss: tuple[Gone | None, Counter[str]]) -> Counter[str]:
    """Draw the labels of a day, by count; chargebacks of a weekend are held until it is over."""
    gone, held = loss
    weekend = bool(is_weekend(np.array([BEGIN_DAY + day]))[0])
    rate = cards * math.exp(random.normal(0, _DAY_NOISE))
    counts = Counter[str]()
    for by in random.choice(list(REPORTERS), size=random.poisson(rate), p=list(REPORTERS.values())).tolist():
        if by == "analyst" and weekend and random.random() > _WEEKEND_ANALYSTS:
            continue
        kind = str(random.choice(list(TYPES), p=list(TYPES.values())))
        if gone is None or not gone(by, kind):
            target = held if by == "chargeback" and weekend else counts
            reported, fraud = f"reported by {by}", f"{FRAUDS} of type {kind}"
            target.update((LABELS, FRAUDS, f"labels {reported}", f"{FRAUDS} {reported}", fraud))
    if not weekend:
        counts.update(held)
        held.clear()
    genuine = int(random.poisson(GENUINE_A_DAY * (_WEEKEND_ANALYSTS if weekend else 1.0)))
    if gone is None or not gone("analyst", ""):
        counts.update({LABELS: genuine, "labels reported by analyst": genuine})
    return Counter({name: count for name, count in counts.items() if count})


class QuietFeedLine(NamedTuple):
    """Years without a loss: in how many worlds' years how many alarms came."""

    world: str
    years: int
    alarms: int


class LostFeedLine(NamedTuple):
    """Runs in which a share is gone: in how many it was told, and after how many days; None where it mostly was not."""

    loss: str
    runs: int
    found: int
    median_days: float | None
    slowest_days: int | None


def quiet_feeds(seed: int, years: int) -> list[QuietFeedLine]:
    """Simulate years of each world without a loss."""
    found = []
    for at, (name, world) in enumerate(WORLDS.items()):
        runs = (watch_feed(np.random.default_rng((seed, 2, at, year)), world, DAYS_OF_YEAR) for year in range(years))
        found.append(QuietFeedLine(name, years, sum(len(run.opened) for run in runs)))
    return found


def lost_feeds(seed: int, runs: int) -> list[LostFeedLine]:
    """Simulate losses, each beginning on another day of the week, in a season with paydays."""
    found = []
    for at, (name, gone) in enumerate(LOSSES.items()):
        days = []
        for run in range(runs):
            random, begin = np.random.default_rng((seed, 3, at, run)), WARM_DAYS + run % 7
            seen = watch_feed(random, WORLDS["paydays in a season"], begin + 28, FeedLoss(gone, begin))
            days += [day - begin + 1 for day in seen.opened if day >= begin][:1]
        told = len(days) > runs / 2
        found.append(
            LostFeedLine(name, runs, len(days), float(np.median(days)) if told else None, max(days, default=None))
        )
    return found
