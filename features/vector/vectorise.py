"""The feature vectors of a batch: every declared feature of all its transactions at once.

Stream, training and replay use this one implementation. It is a pure function of what is visible to each transaction,
without a loop over events; the order of the records within a history changes nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from features.aggregates import USUAL_MS, Aggregate, PredictionPart, StoredPrediction
from features.declaration import SECOND_MS, Feature, FeatureSet
from features.formulas import Formula, evaluate, evaluate_alone
from features.history import records
from features.history.frames import Beginning, Columns, Flags, Floats, Frame, Window, WindowSums
from features.history.history import seen_by, visible
from features.history.retention import ResolutionSchedule
from features.history.store import NOWHERE, Entity, Histories, Ints, LongHistory, Observed, Transactions
from features.history.views import RowSpans, spans_of, spans_of_long
from features.own_fields import OwnValue
from features.own_payment import OwnPayment, OwnPayments
from features.vector import amounts, habits, novelty, travel
from features.vector.frauds import (
    days_since_first_fraud,
    fraud_latest,
    fraud_run,
    fraud_share,
    fraud_share_of_last_5,
    fraud_verdicts,
    known_frauds,
)
from features.vector.own_values import OwnColumns
from features.vector.paned import PanedWindow
from features.vector.window_kernel import COLUMN, Steps, WindowKernel, computes, open_kernel, steps_of

_CALENDAR: Mapping[Aggregate, Callable[[Transactions], Floats]] = MappingProxyType(
    {Aggregate.NIGHT: habits.is_night, Aggregate.WEEKEND: habits.is_weekend},
)
_OF_SUMS: Mapping[Aggregate, Callable[[WindowSums], Floats]] = MappingProxyType(
    {
        Aggregate.COUNT: amounts.count,
        Aggregate.AMOUNT_SUM: amounts.amount_sum,
        Aggregate.AMOUNT_MEAN: amounts.mean,
        Aggregate.AMOUNT_MAX: amounts.largest,
        Aggregate.AMOUNT_TO_MEAN: amounts.amount_to_mean,
        Aggregate.AMOUNT_DEVIATION: amounts.deviation,
    },
)
_OF_A_WINDOW: Mapping[Aggregate, Callable[[Window], Floats]] = MappingProxyType(
    {
        **_OF_SUMS,
        Aggregate.OTHERS: novelty.distinct_others,
        Aggregate.OTHER_FIRST: novelty.other_is_new,
        Aggregate.AMOUNT_TO_SMALLEST: amounts.amount_to_smallest,
        Aggregate.AMOUNT_REPEATED: amounts.amount_repeated,
        Aggregate.COUNTRIES: novelty.countries,
        Aggregate.COUNTRY_JUMP: travel.country_jump,
        Aggregate.DISTANCE_FROM_LAST: travel.distance_from_last,
        Aggregate.SPEED_FROM_LAST: travel.speed_from_last,
        Aggregate.DEVICES: novelty.devices,
        Aggregate.DEVICE_FIRST: novelty.device_is_new,
        Aggregate.CATEGORY_SHARE: habits.category_share,
        Aggregate.CHANNEL_SHARE: habits.channel_share,
        Aggregate.TIME_OF_DAY_SHARE: habits.time_of_day_share,
        Aggregate.AMOUNT_TO_EARLIER_MEAN: amounts.amount_to_earlier_mean,
        Aggregate.AMOUNT_TO_EARLIER_MEDIAN: amounts.amount_to_earlier_median,
    },
)
_OF_FRAUDS: Mapping[Aggregate, Callable[[Window, Flags], Floats]] = MappingProxyType(
    {
        Aggregate.FRAUD_SHARE: fraud_share,
        Aggregate.FRAUD_RUN: fraud_run,
        Aggregate.FRAUD_LATEST: fraud_latest,
        Aggregate.FRAUD_SHARE_OF_LAST_5: fraud_share_of_last_5,
        Aggregate.DAYS_SINCE_FIRST_FRAUD: days_since_first_fraud,
    },
)
_OF_TWO_WINDOWS: Mapping[Aggregate, Callable[[Window, Window], Floats]] = MappingProxyType(
    {Aggregate.LARGE_AMOUNTS: amounts.large_amounts, Aggregate.LARGEST_TO_MEDIAN: amounts.largest_to_median},
)
COMPUTED_BY: Mapping[Aggregate, Callable[..., Floats]] = MappingProxyType(
    {
        **_OF_A_WINDOW,
        **_OF_FRAUDS,
        **_OF_TWO_WINDOWS,
        Aggregate.SECONDS_SINCE_LAST: habits.seconds_since_last,
        **_CALENDAR,
    },
)
"""The function of each aggregate; docs/reference/features.md is generated from their docstrings."""

Groups = Sequence[tuple[Sequence[Feature], slice]]
"""Features that are computed in one pass, and their places among those of all groups."""
KERNEL = open_kernel()
"""The kernel in C; None: numpy computes everything, with the same bits."""
NONE_READ = -1
"""Stands for the row of a prediction where none is read."""


class PredictionReader:
    """Reads the predictions that n transactions see; rows of the same name, delay and age share the search.

    A payment at time t reads of one name the prediction that was computed last, at t - delay or before; of several that
    were computed at the same time the one with the later offset. It reads none that was computed more than `max_age`
    before t, and none that came later than its delay: training could not tell when it was there.
    """

    def __init__(self, histories: Histories, own_ms: Ints) -> None:
        rows, lengths = histories.rows, histories.lengths
        self._rows = rows
        self._own_ms = own_ms
        self._number = np.repeat(np.arange(len(lengths)), lengths)
        self._is_own = np.zeros(len(rows), np.bool_)
        self._is_own[np.cumsum(lengths) - 1] = True
        self._age_ms = np.repeat(own_ms, lengths) - rows[:, records.TIME]
        self._took_ms = rows[:, records.ARRIVED] - rows[:, records.TIME]
        self._read: dict[tuple[int, int, int], Ints] = {}

    def values(self, feature: Feature) -> Floats:
        """Return a row of the feature table for all transactions, shape (n,); NaN where none is read, or has no value.

        The age is in seconds; that of a prediction without a value is defined too.
        """
        stored = feature.aggregate
        assert isinstance(stored, StoredPrediction)  # noqa: S101 - `Feature` refuses any other
        places = self._places(stored.name, feature)
        is_read = places != NONE_READ
        found = np.full(len(self._own_ms), np.nan)
        if stored.part is PredictionPart.VALUE:
            found[is_read] = self._rows[places[is_read], records.AMOUNT].view(np.float64)
        else:
            found[is_read] = (self._own_ms[is_read] - self._rows[places[is_read], records.TIME]) / SECOND_MS
        return found

    def _places(self, name: str, feature: Feature) -> Ints:
        """Return the row of the prediction that each transaction reads, shape (n,); NONE_READ: it reads none."""
        key = (records.prediction_name_hash(name), feature.delay_ms, feature.window_ms or 0)
        if key not in self._read:
            self._read[key] = self._latest(np.flatnonzero(self._readable(*key)))
        return self._read[key]

    def _readable(self, name_hash: int, delay_ms: int, max_age_ms: int) -> Flags:
        """Tell which rows are predictions of a name that are old enough, not too old, and came in time."""
        in_time = (self._age_ms >= delay_ms) & (self._age_ms <= max_age_ms) & (self._took_ms <= delay_ms)
        readable: Flags = in_time & (self._rows[:, records.OTHER] == name_hash) & ~self._is_own
        return readable

    def _latest(self, readable: Ints) -> Ints:
        """Return the latest of the readable rows of each transaction, by time, then offset, then partition."""
        latest = np.full(len(self._own_ms), NONE_READ, np.int64)
        in_order = readable[records.label_order(self._rows[readable])]
        in_order = in_order[np.argsort(self._number[in_order], kind="stable")]
        number = self._number[in_order]
        is_last = np.append(number[1:] != number[:-1], np.ones(min(1, len(number)), np.bool_))
        latest[number[is_last]] = in_order[is_last]
        return latest


def vectorise(
    feature_set: FeatureSet, transactions: Transactions, observed: Observed, *, formulas: bool = True
) -> Floats:
    """Compute the batch's vectors, float64 of shape (n, number of features), NaN where a value is undefined.

    The row of a transaction without a decision is meaningless: only its own record was visible. Without `formulas`,
    features of formulas are undefined.
    """
    if not len(transactions):
        return np.empty((0, len(feature_set)), np.float64)
    found = np.full((len(feature_set), len(transactions)), np.nan)
    plans = _plans(feature_set, formulas=formulas)
    payments = OwnPayments(transactions, feature_set.fields)
    for kind, plan in plans.items():
        if kind is Entity.NONE:
            _compute_own(plan, payments, found)
        elif kind is Entity.PREDICTION:
            reader = PredictionReader(observed.histories[kind], transactions.occurred_ms)
            for rows, at in plan.groups:
                found[at] = reader.values(rows[0])
        else:
            schedule = feature_set.schedules[kind]
            histories, own_ms = observed.histories[kind], transactions.occurred_ms
            short = histories.short if histories.long else np.arange(len(own_ms))
            _compute(plan, _Seen(histories, own_ms, payments.payment, short), schedule, found)
    for _, at in plans[Entity.DEVICE].groups if Entity.DEVICE in plans else ():
        found[at, observed.histories[Entity.DEVICE].positions == NOWHERE] = np.nan
    return found.T.take(feature_set.order, axis=1)


def _compute_own(plan: "_Plan", payments: OwnPayments, found: Floats) -> None:
    """Compute features of the transactions alone."""
    if plan.own is not None:
        plan.own.fill(payments.transactions, found)
    for (row, *_), at in plan.rest:
        if isinstance(row.aggregate, Aggregate):
            found[at] = _CALENDAR[row.aggregate](payments.transactions)
        else:
            assert isinstance(row.aggregate, Formula)  # noqa: S101 - a prediction has a history
            found[at.start] = evaluate_alone(row.aggregate, payments.each)


class _Plan(NamedTuple):
    """How the features of one kind of history are computed.

    Attributes:
        groups: all of them, for numpy.
        compiled: those that the kernel computes.
        steps: the same for the kernel, with their places among the features of all groups.
        rest: the groups that only numpy computes.
        own: computes the values of fields of one's own together; None if there are none.
    """

    groups: Groups
    compiled: Groups
    steps: Steps
    rest: Groups
    own: OwnColumns | None


@lru_cache(maxsize=32)
def _plans(feature_set: FeatureSet, *, formulas: bool) -> Mapping[Entity, _Plan]:
    """Return the plan of each kind of history that the features read."""
    found: dict[Entity, list[tuple[Sequence[Feature], slice]]] = {}
    start = 0
    for rows, _ in feature_set.groups:
        at = slice(start, start + len(rows))
        start = at.stop
        if formulas or not isinstance(rows[0].aggregate, Formula):
            found.setdefault(rows[0].entity, []).append((rows, at))
    return {kind: _plan(groups) for kind, groups in found.items()}


def _plan(groups: Groups) -> _Plan:
    compiled = [(rows, at) for rows, at in groups if computes(rows[0])]
    places = [place for _, at in compiled for place in range(at.start, at.stop)]
    steps = steps_of([row for rows, _ in compiled for row in rows], places)
    own = [(row.aggregate, at.start) for (row, *_), at in groups if isinstance(row.aggregate, OwnValue)]
    rest = [(rows, at) for rows, at in groups if not computes(rows[0]) and not isinstance(rows[0].aggregate, OwnValue)]
    return _Plan(groups, compiled, steps, rest, OwnColumns(own) if own else None)


class _Seen(NamedTuple):
    """What n transactions see of one kind of history, their times, and how to get one of them with its fields."""

    histories: Histories
    own_ms: Ints
    payment: Callable[[int], OwnPayment]
    short: Ints
    """The numbers of those whose history is short."""


def _compute(plan: _Plan, seen: _Seen, schedule: ResolutionSchedule, found: Floats) -> None:
    """Fill in the features of one kind of history: by the kernel where it can, else frame by frame."""
    histories, own_ms, payment, short = seen
    kernel = None if schedule.allows_panes else KERNEL
    if len(short):
        groups = plan.groups
        if kernel is not None:
            groups = plan.rest
            _short_by_kernel(kernel, plan, seen, schedule, found)
        if groups:
            frame = Frame(histories, own_ms[short], schedule)
            _fill(found, groups, short, _FrameReader(frame, schedule, lambda i: payment(int(short[i]))))
    if histories.long:
        _compute_long(kernel, plan, seen, schedule, found)


def _short_by_kernel(
    kernel: WindowKernel,
    plan: _Plan,
    seen: _Seen,
    schedule: ResolutionSchedule,
    found: Floats,
) -> None:
    """Fill in what the kernel computes of the short histories; numpy computes those that it leaves."""
    histories, own_ms, payment, short = seen
    left = _by_kernel(kernel, plan, spans_of(histories), own_ms, found, which=short if histories.long else None)
    if left.any():
        which = short[left]
        frame = Frame(Histories(*histories.part(left), histories.positions[:0]), own_ms[which], schedule)
        _fill(found, plan.compiled, which, _FrameReader(frame, schedule, payment))


def _by_kernel(
    kernel: WindowKernel, plan: _Plan, spans: RowSpans, own_ms: Ints, found: Floats, *, which: Ints | None
) -> Flags:
    """Fill in what the kernel computes of the transactions `which`, None: of all in order; return which it leaves."""
    if which is None:
        return kernel.compute(plan.steps, spans, own_ms, found)
    values, places = np.empty((len(found), len(which))), plan.steps.table[:, COLUMN]
    left = kernel.compute(plan.steps, spans, own_ms[which], values)
    found[places[:, np.newaxis], which] = values[places]
    return left


def _compute_long(
    kernel: WindowKernel | None,
    plan: _Plan,
    seen: _Seen,
    schedule: ResolutionSchedule,
    found: Floats,
) -> None:
    """Fill in the features of the transactions that see long histories."""
    histories, own_ms, payment, _ = seen
    is_done = np.zeros(len(own_ms), np.bool_)
    spans = None if kernel is None else spans_of_long(histories)
    if kernel is not None and spans is not None:
        numbers, where = spans
        is_done[numbers] = ~_by_kernel(kernel, plan, where, own_ms, found, which=numbers)
    wanted = np.ones(len(own_ms), np.bool_) if plan.rest else ~is_done
    for number, frame in _long_frames(histories, own_ms, schedule, wanted):
        groups = plan.rest if is_done[number] else plan.groups
        reader = _FrameReader(frame, schedule, lambda _, of=number: payment(of))  # type: ignore[misc]
        _fill(found, groups, slice(number, number + 1), reader)
        del frame  # the next one needs the memory


def _fill(found: Floats, groups: Groups, which: slice | Ints, reading: "_FrameReader") -> None:
    """Fill in some features of some transactions."""
    for rows, at in groups:
        found[at, which] = reading.values(rows)


def _long_frames(
    histories: Histories, own_ms: Ints, schedule: ResolutionSchedule, wanted: Flags
) -> Iterator[tuple[int, Frame]]:
    """Yield the number of each wanted transaction that sees a long history, and its frame."""
    for long in histories.long:
        places = np.flatnonzero(wanted[long.numbers]).tolist()
        shared = None if long.compacted or schedule.allows_panes or not places else Columns(long.rows)
        after_ms = None if shared is None else _after_ms(long, shared).tolist()
        for i in places:
            number = int(long.numbers[i])
            own = own_ms[number : number + 1]
            if shared is None or after_ms is None or long.displaced[i]:
                yield number, Frame(_alone(long, i), own, schedule)
            else:
                end = int(long.places[i]) + 1
                seen = Histories(long.rows[:end], np.array([end]), long.places[i : i + 1])
                yield number, Frame(seen, own, schedule, Beginning(shared, after_ms[i]))


def _after_ms(long: LongHistory, columns: Columns) -> Ints:
    """Return the moment after which records are visible to each of a long history's transactions, shape (k,)."""
    times = np.where(records.is_transaction(columns.flags), columns.time, records.NO_TIME_MS)
    after_ms: Ints = long.within.oldest_ms(np.maximum.accumulate(times)[long.places])
    return after_ms


def _alone(long: LongHistory, i: int) -> Histories:
    """Return what one transaction may see of a long history, in rows of its own."""
    place = int(long.places[i])
    rows = seen_by(long.own[i], long.rows, place, displaced=long.displaced[i], compacted=long.compacted)
    return Histories(*visible(rows, np.array([len(rows)]), long.within), long.places[i : i + 1])


class _FrameReader:
    """Computes the features of a frame; windows that several features share are made once."""

    def __init__(self, frame: Frame, schedule: ResolutionSchedule, payment: Callable[[int], OwnPayment]) -> None:
        self._payment = payment
        self._frame = frame
        self._schedule = schedule
        self._windows: dict[tuple[tuple[int, ...], int], Window] = {}
        self._paned: dict[tuple[int | None, int, int], PanedWindow] = {}

    def values(self, rows: Sequence[Feature]) -> Floats:
        """Return the columns of a group, of shape (columns, n) or (n,)."""
        first, lengths_ms = rows[0], tuple(row.window_ms or 0 for row in rows)
        if first.window_ms is None:
            return habits.seconds_since_last(self._frame)
        if first.is_paned:
            return self._of_panes(first)
        window = self._window(lengths_ms, first.delay_ms)
        if isinstance(first.aggregate, Formula):
            return evaluate(first.aggregate, first.name, window, self._payment)
        assert isinstance(first.aggregate, Aggregate)  # noqa: S101 - a prediction is read without a window
        if first.aggregate in _OF_FRAUDS:
            return _OF_FRAUDS[first.aggregate](window, self._frauds)
        if first.aggregate in _OF_TWO_WINDOWS:
            return _OF_TWO_WINDOWS[first.aggregate](window, self._window((USUAL_MS,), first.delay_ms))
        return _OF_A_WINDOW[first.aggregate](window)

    def _of_panes(self, feature: Feature) -> Floats:
        key = (feature.window_ms, feature.delay_ms, feature.resolution_ms)
        if key not in self._paned:
            self._paned[key] = PanedWindow(self._frame, feature, self._schedule)
        window = self._paned[key]
        if isinstance(feature.aggregate, Aggregate) and feature.aggregate in _OF_SUMS:
            return _OF_SUMS[feature.aggregate](window)
        return window.fraud_share(self._verdicts)

    def _window(self, lengths_ms: tuple[int, ...], delay_ms: int) -> Window:
        """Return one window, or several at once."""
        key = (lengths_ms, delay_ms)
        if key not in self._windows:
            length_ms = lengths_ms[0] if len(lengths_ms) == 1 else np.array(lengths_ms)[:, np.newaxis]
            self._windows[key] = Window(self._frame, length_ms, delay_ms)
        return self._windows[key]

    @cached_property
    def _frauds(self) -> Flags:
        """Marks the records that are known frauds."""
        return known_frauds(self._frame)

    @cached_property
    def _verdicts(self) -> Ints:
        """The rows of the labels that say fraud."""
        return fraud_verdicts(self._frame)
