"""Worlds of the watch of a live model and of the feed of labels: what `docs/reference/drift.md` promises."""

import math
from functools import partial

import numpy as np

from benchmarks.simulations.drift import CASES, DRIFTS, watch_days
from benchmarks.simulations.label_feed import LOSSES, WARM_DAYS, WORLDS, FeedLoss, watch_feed
from benchmarks.worlds.promise import Bound, Promise, World
from fraudstream.ops.watch.drift.terms import DAYS_OF_YEAR, DriftTerms

_PART, _PAGE = "drift", "drift"
_CARDS = 1_500
"""That pay on a day; the feed of labels is that of as many."""
_DRIFT_DAY, _WATCHED_DAYS = 5, 12
_MISSED_DAYS = 28
_LATER = 0.05
"""Of runs in which a share of the labels stops: nineteen of twenty are told within the days that the page states."""
_ALL, _CUSTOMERS, _CHARGEBACKS, _STOLEN = list(LOSSES)[:4]


def _quiet_year(rng: np.random.Generator, case: str) -> tuple[bool]:
    days = ((day, None) for day in range(DAYS_OF_YEAR))
    return (bool(watch_days(rng, _CARDS, days, DriftTerms(), CASES[case]).opened),)


def _days_until_drift(rng: np.random.Generator, drift: str) -> tuple[float]:
    days = ((day, DRIFTS[drift] if day >= _DRIFT_DAY else None) for day in range(_WATCHED_DAYS))
    seen = watch_days(rng, _CARDS, days, DriftTerms())
    return (next((day - _DRIFT_DAY + 1 for day in seen.opened if day >= _DRIFT_DAY), math.inf),)


def _quiet_feed(rng: np.random.Generator) -> tuple[bool]:
    return (bool(watch_feed(rng, WORLDS["paydays in a season"], DAYS_OF_YEAR).opened),)


def _days_until_missed(rng: np.random.Generator, loss: str) -> float:
    """Return after how many days labels are missed that stop on any day of the week; infinity if not in four weeks."""
    begin = WARM_DAYS + int(rng.integers(7))
    world = WORLDS["paydays in a season"]
    seen = watch_feed(rng, world, begin + _MISSED_DAYS, FeedLoss(LOSSES[loss], begin))
    return next((day - begin + 1 for day in seen.opened if day >= begin), math.inf)


def _year(name: str, peculiar: str, case: str) -> World:
    promise = Promise("a year has an alarm", Bound.AT_MOST, 0.0, _PAGE)
    return World(name, _PART, peculiar, (promise,), 2, partial(_quiet_year, case=case))


def _loss(name: str, peculiar: str, loss: str, days: tuple[int, int], later: float = _LATER) -> World:
    """Return a world in which labels stop: missed after so many days in the median, and in most runs."""
    median, slowest = days

    def draw(rng: np.random.Generator) -> tuple[float, bool]:
        needed = _days_until_missed(rng, loss)
        return needed, needed > slowest

    promises = (
        Promise("days until they are missed", Bound.MEDIAN, median, _PAGE),
        Promise(f"it takes more than {slowest} days", Bound.AT_MOST, later, _PAGE),
    )
    return World(name, _PART, peculiar, promises, 28, draw)


DRIFT_WORLDS = (
    _year("paydays", "three days of 30 raise amounts and counts by half", "paydays"),
    _year("a season of ±35 %", "amounts, counts and payments follow the year", "a season"),
    _year("paydays, a season and churn", "0.5 % of the cards are replaced each day, too", "and churn"),
    World(
        "a drift of one deviation",
        _PART,
        "a feature that the model goes by moves by one standard deviation",
        (Promise("days until it is found", Bound.MEDIAN, 3, _PAGE),),
        10,
        partial(_days_until_drift, drift="level + 1 deviation"),
    ),
    World(
        "labels of a year",
        _PART,
        "paydays in a season; analysts rest on weekends, chargebacks are held until Monday",
        (Promise("a year has an alarm", Bound.AT_MOST, 0.0, _PAGE),),
        10,
        _quiet_feed,
    ),
    _loss("all labels stop", "1,500 cards pay on a day: 25 a day have a fraud", _ALL, (2, 2), 0.0),
    _loss("a reporter stops", "customers, 45 % of frauds, who report every day", _CUSTOMERS, (2, 3)),
    _loss("a reporter stops that rests on weekends", "chargebacks, 35 % of frauds", _CHARGEBACKS, (3, 5)),
    _loss("a kind of fraud stops", "40 % of frauds, by all reporters", _STOLEN, (3, 5)),
)
