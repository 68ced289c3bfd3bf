"""The feature sets that one process computes: usually one, two while a deployment replaces its table.

Histories are kept as long and as fine as any of the sets needs. Each set sees no more of them than its own schedule
allows, so its values do not depend on the other sets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from time import thread_time_ns
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from features.declaration import DAY_MS, Feature, FeatureSet, built_from, load
from features.errors import DeclarationError
from features.history.frames import Floats
from features.history.history import visible
from features.history.retention import ResolutionSchedule, Retention, horizons_of
from features.history.store import Entity, Histories, Observed, Transactions
from features.own_fields import NO_FIELDS, DeclaredFields, OwnField
from features.vector.vectorise import vectorise

DEFAULT_MODULES = ("features.default_set", "features.default_set_2")
"""What an empty setting names: models of the first set stay as they are, new ones are trained with the second."""


@dataclass(frozen=True)
class FeatureSets:
    """Sets with different fingerprints; the last one is the newest, with which new models are trained.

    Raises:
        DeclarationError: there is none, two have the same fingerprint, or two declare a field differently.
    """

    sets: tuple[FeatureSet, ...]

    def __post_init__(self) -> None:
        if not self.sets:
            raise DeclarationError("at least one feature set is needed")
        if len(self.by_fingerprint) < len(self.sets):
            raise DeclarationError("two of the feature sets are the same: name each once")
        len(self.fields)  # refuses fields that two sets declare differently

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle rows and fields alone; cached values are computed again in the other process."""
        return _of_tables, tuple((one.rows, one.fields.fields) for one in self.sets)

    @cached_property
    def by_fingerprint(self) -> Mapping[str, FeatureSet]:
        """The sets by their fingerprints."""
        return MappingProxyType({one.fingerprint: one for one in self.sets})

    @property
    def newest(self) -> FeatureSet:
        """The set named last."""
        return self.sets[-1]

    @cached_property
    def fields(self) -> DeclaredFields:
        """The fields of `attributes` that some set declares."""
        return reduce(DeclaredFields.joined, (one.fields for one in self.sets), NO_FIELDS)

    @cached_property
    def carried(self) -> frozenset[str]:
        """The fields of the contract that a payment's own values must have for some set."""
        return frozenset[str]().union(*(one.carried for one in self.sets))

    @cached_property
    def look_back_days(self) -> int:
        """How many days before its own time a payment's features look, begun ones included: the longest of all sets."""
        return -(-max(row.reach_ms for one in self.sets for row in one.rows) // DAY_MS)

    @cached_property
    def prediction_delays_ms(self) -> Mapping[str, int]:
        """The longest delay of each prediction from storage that some set reads, by its name; empty if none does."""
        each = [one.prediction_delays_ms for one in self.sets]
        names = {name for one in each for name in one}
        return MappingProxyType({name: max(one.get(name, 0) for one in each) for name in sorted(names)})

    @property
    def has_predictions(self) -> bool:
        """Whether some row of some set reads predictions from storage."""
        return bool(self.prediction_delays_ms)

    @cached_property
    def horizons_ms(self) -> Mapping[Entity, int]:
        """Horizons of histories for all sets together, by entity."""
        return MappingProxyType(horizons_of(self.retentions))

    @cached_property
    def retentions(self) -> Mapping[Entity, Retention]:
        """Retention of histories for all sets together, by entity."""
        each = [one.schedules for one in self.sets]
        kinds = [kind for kind in Entity if any(kind in one for one in each)]
        schedules = {kind: dict.fromkeys(one[kind] for one in each if kind in one) for kind in kinds}
        return MappingProxyType({kind: Retention(tuple(asked)) for kind, asked in schedules.items()})


def _of_tables(*tables: tuple[tuple[Feature, ...], tuple[OwnField, ...]]) -> FeatureSets:
    return FeatureSets(tuple(FeatureSet(rows, DeclaredFields(fields)) for rows, fields in tables))


class Vectors:
    """A batch's vectors by feature set, each computed on first use.

    `which` marks the transactions, n of the batch, that need vectors; `observed` comes from a store that keeps
    histories for all of `sets`.
    """

    def __init__(
        self, sets: FeatureSets, transactions: Transactions, observed: Observed, which: NDArray[np.bool_]
    ) -> None:
        self._sets = sets
        self._transactions = transactions
        self._observed = observed
        self._which = which
        self._made: dict[str, Floats] = {}
        self._spent_ns: dict[str, int] = {}

    def of(self, fingerprint: str) -> Floats:
        """Return the vectors of one set, float64 of shape (n, its features)."""
        if fingerprint not in self._made:
            one, began = self._sets.by_fingerprint[fingerprint], thread_time_ns()
            observed = narrowed(self._observed, self._sets.retentions, one.schedules)
            self._made[fingerprint] = vectorise(one, self._transactions, observed)[self._which]
            self._spent_ns[fingerprint] = thread_time_ns() - began
        return self._made[fingerprint]

    def row_ns(self, fingerprint: str) -> float:
        """Return the processor time that one row of a set took, in nanoseconds; 0 if it was not computed."""
        return self._spent_ns.get(fingerprint, 0) / max(len(self._transactions), 1)

    def without_formulas(self, fingerprint: str) -> Floats:
        """Return the vectors of one set like `of`, in which the features of formulas are NaN."""
        one = self._sets.by_fingerprint[fingerprint]
        observed = narrowed(self._observed, self._sets.retentions, one.schedules)
        return vectorise(one, self._transactions, observed, formulas=False)[self._which]

    def undefined(self, fingerprint: str) -> Floats:
        """Return vectors of one set without any value."""
        return np.full((int(self._which.sum()), len(self.names(fingerprint))), np.nan)

    def names(self, fingerprint: str) -> tuple[str, ...]:
        """Return the names of a set's columns."""
        return self._sets.by_fingerprint[fingerprint].names

    def all(self) -> Mapping[str, Floats]:
        """Return the vectors of all sets, by fingerprint."""
        return {fingerprint: self.of(fingerprint) for fingerprint in self._sets.by_fingerprint}


def narrowed(
    observed: Observed, retentions: Mapping[Entity, Retention], schedules: Mapping[Entity, ResolutionSchedule]
) -> Observed:
    """Return what is visible to one of the sets for which a store keeps histories."""
    other = [
        kind for kind in observed.histories if kind in schedules and retentions[kind].schedules != (schedules[kind],)
    ]
    if not other:
        return observed
    narrow = {kind: _within(observed.histories[kind], schedules[kind]) for kind in other}
    return replace(observed, histories={**observed.histories, **narrow})


def _within(histories: Histories, schedule: ResolutionSchedule) -> Histories:
    long = [replace(one, within=schedule) for one in histories.long]
    if not len(histories.lengths):
        return replace(histories, long=long)
    return Histories(*visible(histories.rows, histories.lengths, schedule), histories.positions, long)


def load_sets(modules: str) -> FeatureSets:
    """Build the sets of comma-separated modules; those of `DEFAULT_MODULES` if the text is empty.

    Raises:
        DeclarationError: a module is missing or has no feature rows, or two sets are the same.
    """
    names = [name.strip() for name in modules.split(",") if name.strip()]
    return FeatureSets(tuple(map(load, names) if names else map(built_from, DEFAULT_MODULES)))
