"""Feature rows and feature sets, and what follows from them: column order, names, fingerprint, horizons, retention.

An invalid row cannot be built. `features.vector` computes the values.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from itertools import pairwise
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from features.aggregates import (
    AGGREGATES,
    MERGEABLE,
    MULTI_WINDOW,
    OF_LABELS,
    OF_USUAL,
    USUAL_MS,
    Computed,
    Risk,
    StoredPrediction,
    aggregate_info,
    aggregate_name,
)
from features.errors import DeclarationError
from features.formulas import Formula, import_attribute, refuse_hidden
from features.history.retention import EXACT_MS, ResolutionSchedule, Retention, exact, schedule_for
from features.history.store import ENTITY_TEXT, Entity
from features.own_fields import CARRIED, CONTRACT_FIELDS, NO_FIELDS, DeclaredFields, FieldKind, OwnField, OwnValue

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
SLACK_MS = 7 * DAY_MS
"""A transaction may be this much older than its history's newest one and still find its longest window complete."""
SETTLED_MS = DAY_MS
"""Older transactions have arrived from all partitions, except after outages of days."""
SEMANTICS_VERSION = 1
"""Raised whenever a row changes its value; part of every fingerprint."""
ALWAYS_KEPT = frozenset({Entity.CARD, Entity.MERCHANT})
"""Transactions are judged by their card's history, and a score reports how much of its merchant's was visible."""
_Item = TypeVar("_Item")
_SUFFIXES = (("d", DAY_MS), ("h", HOUR_MS), ("m", MINUTE_MS), ("s", SECOND_MS))
_OF_NO_ENTITY = frozenset(one.value for one, info in AGGREGATES.items() if Entity.NONE in info.of)
_KINDS = (Entity.CARD, Entity.MERCHANT, Entity.DEVICE, Entity.PREDICTION)


def window_text(window_ms: int) -> str:
    """Return a length as written in names: 10m, 1h, 30d; whole seconds at least."""
    for suffix, unit_ms in _SUFFIXES:
        if window_ms % unit_ms == 0:
            return f"{window_ms // unit_ms}{suffix}"
    raise DeclarationError(
        f"a window of {window_ms} ms is not a whole number of seconds, so a feature name cannot state it"
    )


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the vector; `features.rows` has the short way to declare one.

    The window is (t - delay_ms - window_ms, t - delay_ms], where t is the transaction's own time; `window_ms` is
    None for an aggregate without a window. `unit` and `meaning` are for readers. `risk` is for trees that keep to it,
    in training alone; it changes no value, and is not part of the fingerprint.

    A prediction from storage is read if it was computed in [t - window_ms, t - delay_ms] and came within the delay:
    `window_ms` is the greatest age that it may have.

    With a resolution above EXACT_MS the window is paned: its ends are moved back to multiples of the resolution (an
    end at t itself stays), so that old transactions can be merged; see `features.vector.paned`. The name does not
    change.

    Raises:
        DeclarationError: the row is invalid.
    """

    entity: Entity
    aggregate: Computed
    window_ms: int | None
    delay_ms: int
    unit: str
    meaning: str
    resolution_ms: int = EXACT_MS
    risk: Risk = Risk.ANY

    def __post_init__(self) -> None:
        name, problem = self.name, next(self._problems(), None)
        if problem is not None:
            raise DeclarationError(f"feature {name!r}: {problem}")

    def _problems(self) -> Iterator[str]:
        """Yield every problem of this row."""
        what, info = aggregate_name(self.aggregate, self.entity), aggregate_info(self.aggregate, self.entity)
        if self.entity not in info.of:
            entities = " or ".join(ENTITY_TEXT[kind] for kind in Entity if kind in info.of)
            yield f"{what} is a feature of {entities}, not of {ENTITY_TEXT[self.entity]}"
        if info.windowed != (self.window_ms is not None):
            yield f"{what} {'needs a' if info.windowed else 'has no'} window"
        if self.window_ms is not None and self.window_ms <= 0:
            yield f"its window must be longer than 0 ms, not {self.window_ms}"
        if self.delay_ms < 0 or (self.delay_ms and self.window_ms is None):
            yield f"a delay of {self.delay_ms} ms is invalid: it must be at least 0, and 0 without a window"
        if self.delay_ms % SECOND_MS:
            yield f"a delay of {self.delay_ms} ms is not a whole number of seconds"
        if self.resolution_ms != EXACT_MS:
            yield from self._pane_problems(self.window_ms or 0)
        if self.entity is Entity.PREDICTION:
            yield from self._prediction_problems(self.window_ms or 0)

    def _prediction_problems(self, max_age_ms: int) -> Iterator[str]:
        """Yield the reasons why this row cannot read predictions."""
        if self.delay_ms <= 0:
            yield "it needs a delay of 1 s at least: a prediction that may be read at once is late whenever it comes"
        elif self.delay_ms >= max_age_ms:
            yield (
                f"its delay of {self.delay_ms} ms is not below the greatest age of {max_age_ms} ms, so it never reads "
                "a prediction"
            )

    def _pane_problems(self, window_ms: int) -> Iterator[str]:
        """Yield the reasons why this row cannot be paned."""
        if self.entity in {Entity.CARD, Entity.PREDICTION}:
            yield "card histories are not compacted, since transactions are judged by them: leave card features exact"
        if self.aggregate not in MERGEABLE:
            able = ", ".join(sorted(aggregate.value for aggregate in MERGEABLE))
            name = aggregate_name(self.aggregate, self.entity)
            yield f"{name} cannot be computed from panes; these can: {able}"
        if self.resolution_ms <= 0 or window_ms % self.resolution_ms:
            yield f"panes of {self.resolution_ms} ms do not divide its window of {window_ms} ms"

    @property
    def is_paned(self) -> bool:
        """Whether the window's ends are moved back to multiples of a pane."""
        return self.resolution_ms > EXACT_MS

    @property
    def name(self) -> str:
        """`<entity>_<what>[_<aggregate>][_delayed]_<window>`."""
        if self.entity is Entity.NONE:
            return aggregate_name(self.aggregate, self.entity)
        parts = [self.entity.value, aggregate_name(self.aggregate, self.entity)]
        if self.delay_ms:
            parts.append("delayed")
        if self.window_ms is not None:
            parts.append(window_text(self.window_ms))
        return "_".join(parts)

    @property
    def reach_ms(self) -> int:
        """How far before the transaction's own time the feature looks."""
        if self.entity is Entity.PREDICTION:
            return self.window_ms or 0
        usual_ms = USUAL_MS if self.aggregate in OF_USUAL else 0
        return max(self.window_ms or 0, usual_ms) + self.delay_ms + (self.resolution_ms if self.is_paned else 0)

    @property
    def retention_ms(self) -> int:
        """How long this row requires its entity's histories to hold a record; 0 where it reads no history."""
        return 0 if self.entity is Entity.NONE else self.reach_ms + SLACK_MS

    @property
    def depends_on_arrival(self) -> bool:
        """Whether the value can depend on the order in which payments of different partitions arrive.

        A card's payments share a partition. Those of merchants and devices come from all partitions, and what
        happened less than `SETTLED_MS` ago may still be on its way. The arrival of labels is not meant here; it
        affects every fraud share.
        """
        return self.entity in {Entity.MERCHANT, Entity.DEVICE} and self.delay_ms < SETTLED_MS


class Group(NamedTuple):
    """Rows that differ in their window length alone, and their columns."""

    rows: tuple[Feature, ...]
    columns: tuple[int, ...]


@dataclass(frozen=True)
class FeatureSet:
    """A table of features: the vector's columns are its rows, in order; and the fields of `attributes` that it reads.

    Raises:
        DeclarationError: there is no row, two rows have the same name, or one reads a field that is not declared.
    """

    rows: tuple[Feature, ...]
    fields: DeclaredFields = NO_FIELDS

    def __post_init__(self) -> None:
        problems = "; ".join(set_problems(self.rows, self.fields))
        if problems:
            raise DeclarationError(problems)
        object.__setattr__(self, "rows", tuple(_resolved(row, self.fields) for row in self.rows))

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self.rows)

    def __hash__(self) -> int:
        return hash(self.fingerprint)  # of all rows it would cost more than what is looked up by it

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(row.name for row in self.rows)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """All rows, grouped where they can be computed in one pass."""
        found: dict[object, list[int]] = {}
        for column, row in enumerate(self.rows):
            at_once = row.aggregate in MULTI_WINDOW and not row.is_paned
            alike = (row.entity, row.aggregate, row.delay_ms) if at_once else column
            found.setdefault(alike, []).append(column)
        return tuple(Group(tuple(self.rows[i] for i in columns), tuple(columns)) for columns in found.values())

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The place of each row among the rows of all groups."""
        columns = [column for group in self.groups for column in group.columns]
        return tuple(sorted(range(len(columns)), key=columns.__getitem__))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of everything that determines the values and their order."""
        rows = [[r.name, r.entity.value, _identity(r), r.window_ms, r.delay_ms, r.unit] for r in self.rows]
        facts: dict[str, object] = {"semantics": SEMANTICS_VERSION, "slack_ms": SLACK_MS, "rows": rows}
        if self._labelled_ms > self._schedule(Entity.CARD).horizon_ms:
            facts["card_horizon_ms"] = self._labelled_ms
        if any(row.is_paned for row in self.rows):
            facts["resolutions_ms"] = [row.resolution_ms for row in self.rows]
            facts["ladders_ms"] = [
                [*schedule.resolutions_ms, *schedule.tails_ms] for schedule in self.schedules.values()
            ]
        if self.fields and self._has_formulas:
            facts["fields"] = sorted(one.identity for one in self.fields.fields)
        canonical = json.dumps(facts, separators=(",", ":"), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @cached_property
    def carried(self) -> frozenset[str]:
        """The fields of the contract that a payment's own values must have, since a row, or a formula, reads them."""
        if self._has_formulas:
            return frozenset(CARRIED)
        read = {row.aggregate.name for row in self.rows if isinstance(row.aggregate, OwnValue)}
        return frozenset(read & set(CARRIED))

    @cached_property
    def reads_payments(self) -> bool:
        """Whether some row reads fields of one's own payment, beside its time and what histories hold of it."""
        return self._has_formulas or any(isinstance(row.aggregate, OwnValue) for row in self.rows)

    @cached_property
    def categories(self) -> Mapping[str, str]:
        """The field of each column that is a category, by the column's name."""
        values = {row.name: row.aggregate.field for row in self.rows if isinstance(row.aggregate, OwnValue)}
        found = {name: one.name for name, one in values.items() if one and one.kind is FieldKind.CATEGORY}
        return MappingProxyType(found)

    @property
    def _has_formulas(self) -> bool:
        return any(isinstance(row.aggregate, Formula) for row in self.rows)

    def _of(self, kind: Entity) -> list[Feature]:
        return [row for row in self.rows if row.entity is kind]

    @cached_property
    def schedules(self) -> Mapping[Entity, ResolutionSchedule]:
        """Resolution by age of the histories that this set needs, by entity.

        Cards and merchants always have histories, devices only if a feature reads them. A card's horizon is at
        least that of the longest feature of labels, since a label finds its transaction in the card's history.
        """
        asked = {row.entity for row in self.rows}
        schedules = {kind: self._schedule(kind) for kind in _KINDS if kind in ALWAYS_KEPT | asked}
        if self._labelled_ms > schedules[Entity.CARD].horizon_ms:
            schedules[Entity.CARD] = exact(self._labelled_ms)
        return MappingProxyType(schedules)

    def _schedule(self, kind: Entity) -> ResolutionSchedule:
        """Return the schedule that this set's features of one entity need."""
        return schedule_for(_reach_ms(self._of(kind)), SLACK_MS)

    @cached_property
    def prediction_delays_ms(self) -> Mapping[str, int]:
        """The longest delay of each prediction from storage that some row reads, by its name; empty if none does."""
        found: dict[str, int] = {}
        for row in self.rows:
            if isinstance(row.aggregate, StoredPrediction):
                found[row.aggregate.name] = max(row.delay_ms, found.get(row.aggregate.name, 0))
        return MappingProxyType(found)

    @property
    def _labelled_ms(self) -> int:
        """How far back a label can still affect a value."""
        return max((row.reach_ms for row in self.rows if row.aggregate in OF_LABELS), default=0)

    @cached_property
    def horizons_ms(self) -> Mapping[Entity, int]:
        """Visible age of a record, counted from its history's newest transaction, by entity."""
        return MappingProxyType({kind: schedule.horizon_ms for kind, schedule in self.schedules.items()})

    @cached_property
    def retentions(self) -> Mapping[Entity, Retention]:
        """Retention of histories for this set alone, by entity."""
        return MappingProxyType({kind: Retention((schedule,)) for kind, schedule in self.schedules.items()})


def _reach_ms(rows: Sequence[Feature]) -> dict[int, int]:
    """Return how far back these rows look, by resolution."""
    return {row.resolution_ms: row.reach_ms for row in sorted(rows, key=attrgetter("reach_ms"))}


def _mixed_problems(kind: Entity, rows: Sequence[Feature]) -> Iterator[str]:
    """Yield the reasons why these rows cannot share histories of one entity."""
    for fine, coarse in pairwise(sorted({row.resolution_ms for row in rows})):
        if coarse % fine:
            yield f"{kind.value}s' panes of {coarse} ms are no multiple of the panes of {fine} ms"
    unbounded = [row.name for row in rows if row.window_ms is None]
    if unbounded and any(row.is_paned for row in rows):
        yield f"{', '.join(unbounded)} cannot share {kind.value} histories with paned rows: it needs exact records"


def set_problems(rows: Sequence[Feature], fields: DeclaredFields) -> Iterator[str]:
    """Yield all reasons why some rows are no feature set with these fields."""
    if not rows:
        yield "a feature set needs at least one row"
    for name in sorted(fields.by_name.keys() & _OF_NO_ENTITY):
        yield f"the field {name!r} has the name of an aggregate: give it another one"
    yield from filter(None, dict.fromkeys(_unread(row, fields) for row in rows))
    names = [row.name for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield f"declared more than once: {', '.join(twice)}"
    for kind in _KINDS:
        yield from _mixed_problems(kind, [row for row in rows if row.entity is kind])


def _unread(row: Feature, fields: DeclaredFields) -> str:
    """Return why the field that a row reads cannot be read; empty if it can, or if the row reads none."""
    if not isinstance(row.aggregate, OwnValue):
        return ""
    name = row.aggregate.name
    field = fields.found(name)
    if field is None:
        near = get_close_matches(name, [*fields.by_name, *CONTRACT_FIELDS], 1)
        guess = f"did you mean {near[0]!r}? Else" if near else "it is no field of the contract, so"
        return (
            f"own({name!r}): {guess} declare it in the module's FIELDS, with number, category or flag of "
            "features.own_fields"
        )
    if field.kind is FieldKind.TOKEN:
        return f"own({name!r}): a token has no number: a formula can read it, no row of its own"
    return ""


def _resolved(row: Feature, fields: DeclaredFields) -> Feature:
    """Return a row with the field that it reads."""
    if not isinstance(row.aggregate, OwnValue):
        return row
    field = fields.by_name.get(row.aggregate.name) or CONTRACT_FIELDS[row.aggregate.name]
    if row.aggregate.field == field:
        return row
    return replace(row, aggregate=OwnValue(field.name, field), unit=field.unit, meaning=row.meaning or field.meaning)


def _identity(row: Feature) -> str | list[str | int | None]:
    """Return the part of the fingerprint that says how a row is computed."""
    if isinstance(row.aggregate, OwnValue):
        return ["own", *(row.aggregate.field.identity if row.aggregate.field else (row.aggregate.name,))]
    if isinstance(row.aggregate, Formula):
        return ["formula", row.aggregate.name, row.aggregate.version]
    if isinstance(row.aggregate, StoredPrediction):
        return ["prediction", row.aggregate.name, row.aggregate.part.value]
    return row.aggregate.value


def load(module_name: str | None) -> FeatureSet:
    """Build the feature set from `FEATURES` in a module; the default set for None.

    Raises:
        DeclarationError: there is no such module, a package of fraudstream hides it, its import fails, or its
            `FEATURES` is no table of features.
    """
    if module_name:
        refuse_hidden(module_name)
    return built_from(module_name or "features.default_set")


def built_from(name: str) -> FeatureSet:
    """Build the feature set from `FEATURES` in a module that can be imported, whatever the working directory has.

    Raises:
        DeclarationError: as in `load`, but not for a module that is hidden.
    """
    rows = import_attribute(name, "FEATURES")
    fields = fields_of(name)
    made_by = "card, merchant, device, prediction or own of features.rows"
    found = _table(f"{name}.FEATURES", rows, Feature, ("row", made_by))
    try:
        return FeatureSet(found, fields)
    except DeclarationError as error:
        raise DeclarationError(f"{name}.FEATURES: {error}") from error


def fields_of(name: str) -> DeclaredFields:
    """Return the fields that a module declares, in an attribute that it need not have.

    Raises:
        DeclarationError: its `FIELDS` is no tuple of fields.
    """
    given = getattr(sys.modules[name], "FIELDS", ())
    made_by = "number, category, flag or token of features.own_fields"
    found = _table(f"{name}.FIELDS", given, OwnField, ("field", made_by))
    try:
        return DeclaredFields(found)
    except DeclarationError as error:
        raise DeclarationError(f"{name}.FIELDS: {error}") from error


def _table(place: str, given: object, kind: type[_Item], words: tuple[str, str]) -> tuple[_Item, ...]:
    """Return a table of a module, all of one kind; `words` say what an entry is called, and what makes one."""
    noun, made_by = words
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise DeclarationError(f"{place} must be a tuple of {noun}s, not a {type(given).__name__}")
    for at, item in enumerate(given):
        if not isinstance(item, kind):
            raise DeclarationError(
                f"{place}[{at}] must be a {noun}, made by {made_by}, not a {type(item).__name__}: {item!r}"
            )
    return tuple(given)
