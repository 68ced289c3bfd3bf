"""The feature vectors of a batch: every declared feature of all its transactions at once.

Stream, training and replay use this one implementation. It is a pure function of what is visible to each transaction,
without a loop over events; the order of the records within a history changes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from features.aggregates import Aggregate
from features.declaration import Feature, FeatureSet
from features.formulas import Formula, evaluate
from features.history.frames import Flags, Floats, Frame, Window, WindowSums
from features.history.store import NOWHERE, Entity, Ints, Observed, Transactions
from features.vector import amounts, habits, novelty, travel
from features.vector.frauds import fraud_share, fraud_verdicts, known_frauds
from features.vector.paned import PanedWindow

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
    },
)
COMPUTED_BY: Mapping[Aggregate, Callable[..., Floats]] = MappingProxyType(
    {
        **_OF_A_WINDOW,
        Aggregate.FRAUD_SHARE: fraud_share,
        Aggregate.SECONDS_SINCE_LAST: habits.seconds_since_last,
        **_CALENDAR,
    },
)
"""The function of each aggregate; docs/reference/features.md is generated from their docstrings."""


def vectorise(
    feature_set: FeatureSet, transactions: Transactions, observed: Observed, *, formulas: bool = True
) -> Floats:
    """Compute the batch's vectors, float64 of shape (n, number of features), NaN where a value is undefined.

    The row of a transaction without a decision is meaningless: only its own record was visible. Without `formulas`,
    features of formulas are undefined.
    """
    if not len(transactions):
        return np.empty((0, len(feature_set)), np.float64)
    reading = _BatchReader(feature_set, transactions, observed)
    found = np.concatenate(
        [
            np.full((len(group.rows), len(transactions)), np.nan)
            if isinstance(group.rows[0].aggregate, Formula) and not formulas
            else reading.values(group.rows)
            for group in feature_set.groups
        ]
    )
    return found.T.take(feature_set.order, axis=1)


class _BatchReader:
    """Computes one batch; frames and windows that several features share are made once."""

    def __init__(self, feature_set: FeatureSet, transactions: Transactions, observed: Observed) -> None:
        self._schedules = feature_set.schedules
        self.transactions = transactions
        self._histories = observed.histories
        self._frames: dict[Entity, Frame] = {}
        self._windows: dict[tuple[Entity, tuple[int, ...], int], Window] = {}
        self._paned: dict[tuple[Entity, int | None, int, int], PanedWindow] = {}
        self._frauds: dict[Entity, Flags] = {}
        self._verdicts: dict[Entity, Ints] = {}

    def values(self, rows: Sequence[Feature]) -> Floats:
        """Return the columns of a group, shape (columns, n)."""
        first = rows[0]
        if isinstance(first.aggregate, Aggregate) and first.aggregate in _CALENDAR:
            return _CALENDAR[first.aggregate](self.transactions)[np.newaxis]
        found = self._of_history(first, tuple(row.window_ms or 0 for row in rows))
        if first.entity is Entity.DEVICE:
            found = np.where(self._has_entity(first.entity), found, np.nan)
        return found if found.ndim > 1 else found[np.newaxis]

    def _has_entity(self, entity: Entity) -> Flags:
        """Mark the transactions that have such an entity."""
        known: Flags = self._histories[entity].positions != NOWHERE
        return known

    def _of_history(self, feature: Feature, lengths_ms: tuple[int, ...]) -> Floats:
        if feature.window_ms is None:
            return habits.seconds_since_last(self.frame(feature.entity))
        if feature.is_paned:
            return self._of_panes(feature)
        window = self.window(feature.entity, lengths_ms, feature.delay_ms)
        if isinstance(feature.aggregate, Formula):
            return evaluate(feature.aggregate, feature.name, window)
        if feature.aggregate is Aggregate.FRAUD_SHARE:
            return fraud_share(window, self.frauds(feature.entity))
        return _OF_A_WINDOW[feature.aggregate](window)

    def frame(self, entity: Entity) -> Frame:
        """Return the histories of one kind."""
        if entity not in self._frames:
            schedule = self._schedules[entity]
            self._frames[entity] = Frame(self._histories[entity], self.transactions.occurred_ms, schedule)
        return self._frames[entity]

    def _of_panes(self, feature: Feature) -> Floats:
        entity = feature.entity
        key = (entity, feature.window_ms, feature.delay_ms, feature.resolution_ms)
        if key not in self._paned:
            self._paned[key] = PanedWindow(self.frame(entity), feature, self._schedules[entity])
        window = self._paned[key]
        if isinstance(feature.aggregate, Aggregate) and feature.aggregate in _OF_SUMS:
            return _OF_SUMS[feature.aggregate](window)
        if entity not in self._verdicts:
            self._verdicts[entity] = fraud_verdicts(self.frame(entity))
        return window.fraud_share(self._verdicts[entity])

    def window(self, entity: Entity, lengths_ms: tuple[int, ...], delay_ms: int) -> Window:
        """Return one window over one kind of history, or several at once."""
        key = (entity, lengths_ms, delay_ms)
        if key not in self._windows:
            length_ms = lengths_ms[0] if len(lengths_ms) == 1 else np.array(lengths_ms)[:, np.newaxis]
            self._windows[key] = Window(self.frame(entity), length_ms, delay_ms)
        return self._windows[key]

    def frauds(self, entity: Entity) -> Flags:
        """Mark the records of one kind of history that are known frauds."""
        if entity not in self._frauds:
            self._frauds[entity] = known_frauds(self.frame(entity))
        return self._frauds[entity]
