"""The default table for deployments with merchants of thousands of payments an hour: merchant windows are paned.

The panes are a twenty-fourth to a thirtieth of a window: hours for a day, quarters of a day for a week, days for a
month. All these windows end a label delay ago, so each keeps its length and moves back by less than one pane. A
merchant's history then takes about 30 kB whatever its number of payments. Card features are those of the default set.
"""

from types import MappingProxyType

from features import default_set
from features.declaration import DAY_MS, Feature
from features.history.store import Entity
from features.rows import paned

PANES = MappingProxyType({DAY_MS: "1h", 7 * DAY_MS: "6h", 30 * DAY_MS: "1d"})
"""Pane width by window length in ms."""

FEATURES: tuple[Feature, ...] = tuple(
    paned(row, PANES[row.window_ms]) if row.entity is Entity.MERCHANT and row.window_ms is not None else row
    for row in default_set.FEATURES
)
