"""The vector of a batch: every declared feature of all its transactions at once, as a function of what each may see.

There is one implementation, for the stream, for training and for replay. It keeps no state, asks no store and has no
loop over events; the order of the records within a history changes nothing.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from features import habits, novelty, records, travel, trials
from features.aggregates import Aggregate
from features.declaration import DAY_MS, HOUR_MS, MINUTE_MS, Feature, FeatureSet
from features.entities import Entity
from features.frames import PER_MAJOR, Flags, Floats, Frame, Window
from features.store import NOWHERE, Ints, Observed, Transactions

DAYS_OF_WEEK = 7
HOURS_OF_DAY = 24
LAST_NIGHT_HOUR = 6
EPOCH_WEEKDAY = 3
"""1970-01-01 was a Thursday; Monday is 0."""
SATURDAY = 5
SIEVE = 1 << 16
"""Few ids share their lowest bits with a fraud's, so that the others need not be looked for."""
NEVER_MS = np.int64(1 << 62)


def vectorise(feature_set: FeatureSet, transactions: Transactions, observed: Observed) -> Floats:
    """Compute the batch's vectors, float64 of shape (n, number of features), NaN where a value is undefined.

    What it says of a transaction that is not to be decided means nothing: only its own record was visible.
    """
    vectors = np.empty((len(transactions), len(feature_set)), np.float64)
    if len(transactions):
        reading = _Reading(transactions, observed)
        for column, feature in enumerate(feature_set.rows):
            vectors[:, column] = reading.value(feature)
    return vectors


class _Reading:
    """One batch being read: frames and windows that several features share are made once."""

    def __init__(self, transactions: Transactions, observed: Observed) -> None:
        self.transactions = transactions
        self._histories = observed.histories
        self._frames: dict[Entity, Frame] = {}
        self._windows: dict[tuple[Entity, int, int], Window] = {}
        self._frauds: dict[Entity, Flags] = {}

    def value(self, feature: Feature) -> Floats:
        """Return one column."""
        if feature.entity is Entity.NONE:
            return _CALENDAR[feature.aggregate](self.transactions)
        column = self._of_history(feature)
        return column if feature.entity is not Entity.DEVICE else np.where(self._told(feature.entity), column, np.nan)

    def _told(self, entity: Entity) -> Flags:
        """Tell which transactions have such a party at all."""
        known: Flags = self._histories[entity].positions != NOWHERE
        return known

    def _of_history(self, feature: Feature) -> Floats:
        if feature.window_ms is None:
            return seconds_since_last(self.frame(feature.entity))
        window = self.window(feature.entity, feature.window_ms, feature.delay_ms)
        if feature.aggregate is Aggregate.FRAUD_SHARE:
            return fraud_share(window, self.frauds(feature.entity))
        return _OF_A_WINDOW[feature.aggregate](window)

    def frame(self, entity: Entity) -> Frame:
        """Return the histories of one kind."""
        if entity not in self._frames:
            self._frames[entity] = Frame(self._histories[entity], self.transactions.occurred_ms)
        return self._frames[entity]

    def window(self, entity: Entity, length_ms: int, delay_ms: int) -> Window:
        """Return one window over them."""
        key = (entity, length_ms, delay_ms)
        if key not in self._windows:
            self._windows[key] = Window(self.frame(entity), length_ms, delay_ms)
        return self._windows[key]

    def frauds(self, entity: Entity) -> Flags:
        """Return which of their records are known frauds."""
        if entity not in self._frauds:
            self._frauds[entity] = known_frauds(self.frame(entity))
        return self._frauds[entity]


def known_frauds(frame: Frame) -> Flags:
    """Mark the transactions whose latest label known at the own time says fraud; among equals the later offset wins."""
    marked = np.zeros(len(frame.age), np.bool_)
    said = np.flatnonzero(frame.labels & (frame.age >= 0))
    if not len(said):
        return marked
    about = frame.keyed(frame.others[said], frame.number[said])
    order = records.latest_last(frame.rows[said])
    order = order[np.argsort(about[order], kind="stable")]
    about, said = about[order], said[order]
    latest = np.append(about[1:] != about[:-1], True)
    fraud = latest & ((frame.flags[said] & records.FRAUD_BIT) != 0)
    keys = about[fraud]
    if not len(keys):
        return marked
    sieve = np.zeros(SIEVE, np.bool_)
    sieve[frame.others[said[fraud]] & (SIEVE - 1)] = True
    candidates = np.flatnonzero(frame.earlier & sieve[frame.ids & (SIEVE - 1)])
    wanted = frame.keyed(frame.ids[candidates], frame.number[candidates])
    nearest = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    marked[candidates[keys[nearest] == wanted]] = True
    return marked


def fraud_share(window: Window, frauds: Flags) -> Floats:
    """Divide the known frauds of a window by its transactions; 0 where there are none."""
    share: Floats = window.counted(frauds & window.inside) / np.maximum(window.count, 1)
    return share


def seconds_since_last(frame: Frame) -> Floats:
    """Return the seconds since the latest other transaction that is not later than one's own."""
    others = frame.earlier.copy()
    others[frame.last] = False
    gaps = np.minimum.reduceat(np.where(others, frame.age, NEVER_MS), frame.starts)
    return np.where(gaps == NEVER_MS, np.nan, gaps / 1000.0)


def mean(window: Window) -> Floats:
    """Return the mean amount in major units."""
    return _quotient(window.total, window.count * PER_MAJOR, window.empty)


def amount_to_mean(window: Window) -> Floats:
    """Return own amount by the mean; undefined where the mean is, or is 0."""
    return _quotient(window.own_times_count(), window.total, window.empty | (window.total == 0))


def deviation(window: Window) -> Floats:
    """Return the population standard deviation of the amounts in major units."""
    return _quotient(np.sqrt(window.spread), window.count * PER_MAJOR, window.empty)


def largest(window: Window) -> Floats:
    """Return the largest amount in major units."""
    return np.where(window.empty, np.nan, window.largest / PER_MAJOR)


def distinct_others(window: Window) -> Floats:
    """Count the different other parties."""
    frame = window.frame
    inside = np.flatnonzero(window.inside)
    number = frame.number[inside]
    keys = frame.keyed(frame.others[inside], number)
    order = np.argsort(keys)
    keys, number = keys[order], number[order]
    first = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return np.bincount(number[first], minlength=len(frame.lengths)).astype(np.float64)


def other_is_new(window: Window) -> Floats:
    """Return 1 where no other transaction of the window was with the same other party, else 0."""
    frame = window.frame
    same = window.inside & (frame.others == np.repeat(frame.others[frame.last], frame.lengths))
    same[frame.last] = False
    new: Floats = (window.counted(same) == 0).astype(np.float64)
    return new


def is_night(transactions: Transactions) -> Floats:
    """Return 1 where the hour is 0 to 6 by the clock of the place where it happened."""
    hours = _wall_clock_ms(transactions) // HOUR_MS % HOURS_OF_DAY
    return (hours <= LAST_NIGHT_HOUR).astype(np.float64)


def is_weekend(transactions: Transactions) -> Floats:
    """Return 1 on a Saturday or a Sunday by the clock of the place where it happened."""
    weekday = (_wall_clock_ms(transactions) // DAY_MS + EPOCH_WEEKDAY) % DAYS_OF_WEEK
    return (weekday >= SATURDAY).astype(np.float64)


def _wall_clock_ms(transactions: Transactions) -> Ints:
    return transactions.occurred_ms + transactions.utc_offset_minutes * MINUTE_MS


def _quotient(above: Floats, below: Ints | Floats, undefined: Flags) -> Floats:
    """Divide, and leave NaN where that is undefined."""
    result: Floats = np.full(len(above), np.nan)
    np.divide(above, below, out=result, where=~undefined)
    return result


_CALENDAR: Mapping[Aggregate, Callable[[Transactions], Floats]] = MappingProxyType(
    {Aggregate.NIGHT: is_night, Aggregate.WEEKEND: is_weekend},
)
_OF_A_WINDOW: Mapping[Aggregate, Callable[[Window], Floats]] = MappingProxyType(
    {
        Aggregate.COUNT: lambda window: window.count.astype(np.float64),
        Aggregate.AMOUNT_SUM: lambda window: window.total / PER_MAJOR,
        Aggregate.AMOUNT_MEAN: mean,
        Aggregate.AMOUNT_MAX: largest,
        Aggregate.AMOUNT_TO_MEAN: amount_to_mean,
        Aggregate.AMOUNT_DEVIATION: deviation,
        Aggregate.OTHERS: distinct_others,
        Aggregate.OTHER_FIRST: other_is_new,
        Aggregate.AMOUNT_TO_SMALLEST: trials.amount_to_smallest,
        Aggregate.AMOUNT_REPEATED: trials.amount_repeated,
        Aggregate.COUNTRIES: novelty.countries,
        Aggregate.COUNTRY_JUMP: travel.country_jump,
        Aggregate.DISTANCE_FROM_LAST: travel.distance_from_last,
        Aggregate.SPEED_FROM_LAST: travel.speed_from_last,
        Aggregate.DEVICES: novelty.devices,
        Aggregate.DEVICE_FIRST: novelty.device_is_new,
        Aggregate.CATEGORY_SHARE: habits.category_share,
        Aggregate.CHANNEL_SHARE: habits.channel_share,
        Aggregate.TIME_OF_DAY_SHARE: habits.time_of_day_share,
    },
)
