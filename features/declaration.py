"""The table in which features are declared, and what follows from it: order, names, fingerprint, horizons.

A row that cannot mean anything cannot be built. Nothing here computes a value; `windows` does.
"""

import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from types import MappingProxyType

from features.entities import Entity
from features.errors import DeclarationError

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

SLACK_MS = 7 * DAY_MS
"""How far behind its history's newest event a transaction may come and still find its longest window whole."""

SEMANTICS_VERSION = 1
"""Raised whenever some row comes to mean another number: it is part of every fingerprint."""


class Aggregate(Enum):
    """What is made of the transactions of a window; the value is the middle of the feature's name."""

    COUNT = "count"
    AMOUNT_SUM = "amount_sum"
    AMOUNT_MEAN = "amount_mean"
    AMOUNT_MAX = "amount_max"
    AMOUNT_TO_MEAN = "amount_to_mean"
    AMOUNT_DEVIATION = "amount_deviation"
    OTHERS = "others"
    """Distinct other parties; in a name `merchants` of a card, `cards` of a merchant."""
    OTHER_FIRST = "other_first"
    """Whether the other party is new here; in a name `merchant_first` of a card, `card_first` of a merchant."""
    FRAUD_SHARE = "fraud_share"
    SECONDS_SINCE_LAST = "seconds_since_last"
    NIGHT = "is_night"
    WEEKEND = "is_weekend"


CALENDAR = frozenset({Aggregate.NIGHT, Aggregate.WEEKEND})
WINDOWLESS = CALENDAR | {Aggregate.SECONDS_SINCE_LAST}
_SUFFIXES = (("d", DAY_MS), ("h", HOUR_MS), ("m", MINUTE_MS), ("s", SECOND_MS))
_OTHER_PARTY = {Entity.CARD: "merchant", Entity.MERCHANT: "card", Entity.DEVICE: "card"}
ALWAYS_KEPT = frozenset({Entity.CARD, Entity.MERCHANT})
"""A card's history judges its transactions, and a score says how much of its merchant's was visible."""


def window_text(window_ms: int) -> str:
    """Write a length as names do: 10m, 1h, 30d; whole seconds at least."""
    for suffix, unit_ms in _SUFFIXES:
        if window_ms % unit_ms == 0:
            return f"{window_ms // unit_ms}{suffix}"
    raise DeclarationError(f"a window of {window_ms} ms is not a whole number of seconds, so no name can state it")


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the vector.

    The window is (t - delay_ms - window_ms, t - delay_ms] around the transaction's own time t; `window_ms` is None for
    what looks at no window. `unit` and `meaning` are for readers. The name has to be the one that the rest spells out,
    `<entity>_<what>[_<aggregate>][_delayed]_<window>`; it is stated all the same, so that a table can be searched.

    Raises:
        DeclarationError: the row means nothing, or its name says something else.
    """

    name: str
    entity: Entity
    aggregate: Aggregate
    window_ms: int | None
    delay_ms: int
    unit: str
    meaning: str

    def __post_init__(self) -> None:
        problems = tuple(self._problems())
        if problems:
            raise DeclarationError(f"feature {self.name!r}: " + "; ".join(problems))

    def _problems(self) -> Iterator[str]:
        """Yield what is wrong with this row; its name is looked at last, once the rest can spell one."""
        if (self.aggregate in CALENDAR) != (self.entity is Entity.NONE):
            yield f"{self.aggregate.value} cannot be asked of entity {self.entity.value!r}"
        elif (self.aggregate in WINDOWLESS) != (self.window_ms is None):
            yield f"{self.aggregate.value} {'has no' if self.aggregate in WINDOWLESS else 'needs a'} window"
        elif self.window_ms is not None and self.window_ms <= 0:
            yield f"its window must be longer than 0 ms, not {self.window_ms}"
        elif self.delay_ms < 0 or (self.delay_ms and self.window_ms is None):
            yield f"a delay of {self.delay_ms} ms cannot be meant"
        elif self.name != self.spelled:
            yield f"what is declared is called {self.spelled!r}"

    @property
    def spelled(self) -> str:
        """The name that the other fields give."""
        if self.entity is Entity.NONE:
            return self.aggregate.value
        what = self.aggregate.value.replace("other", _OTHER_PARTY[self.entity], 1)
        parts = [self.entity.value, what]
        if self.delay_ms:
            parts.append("delayed")
        if self.window_ms is not None:
            parts.append(window_text(self.window_ms))
        return "_".join(parts)

    @property
    def reach_ms(self) -> int:
        """How far before its own time the feature looks."""
        return (self.window_ms or 0) + self.delay_ms


@dataclass(frozen=True)
class FeatureSet:
    """A table of features: the vector's columns are its rows, in order.

    Raises:
        DeclarationError: there is no row, or two have one name.
    """

    rows: tuple[Feature, ...]

    def __post_init__(self) -> None:
        if not self.rows:
            raise DeclarationError("a feature set needs at least one row")
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise DeclarationError(f"declared more than once: {', '.join(twice)}")

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self.rows)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(row.name for row in self.rows)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of all that decides which numbers come out, and in which order."""
        rows = [[r.name, r.entity.value, r.aggregate.value, r.window_ms, r.delay_ms, r.unit] for r in self.rows]
        facts = {"semantics": SEMANTICS_VERSION, "slack_ms": SLACK_MS, "rows": rows}
        canonical = json.dumps(facts, separators=(",", ":"), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @cached_property
    def horizons_ms(self) -> Mapping[Entity, int]:
        """How much older than its newest transaction a record may be and still be visible, by whose history it is in.

        These are the histories that are kept: cards' and merchants' always, devices' if a feature looks at one.
        """
        asked = {row.entity for row in self.rows}
        kept = [kind for kind in (Entity.CARD, Entity.MERCHANT, Entity.DEVICE) if kind in ALWAYS_KEPT | asked]
        reach = {kind: max((row.reach_ms for row in self.rows if row.entity is kind), default=0) for kind in kept}
        return MappingProxyType({kind: SLACK_MS + reach_ms for kind, reach_ms in reach.items()})


def load(module_name: str | None) -> FeatureSet:
    """Build the set of the module that a deployment names, by its `FEATURES`; the default set for None.

    Raises:
        DeclarationError: there is no such module, or no rows of features in it.
    """
    name = module_name or "features.default_set"
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise DeclarationError(f"the module of features {name!r} cannot be imported: {error}") from error
    rows: Sequence[object] = getattr(module, "FEATURES", ())
    features = tuple(row for row in rows if isinstance(row, Feature))
    if not features or len(features) != len(rows):
        raise DeclarationError(f"{name}.FEATURES must be a sequence of features.declaration.Feature, and not empty")
    return FeatureSet(features)
