"""The default table for deployments whose large merchants see thousands of payments an hour: their windows are paned.

Each window is told apart to a twenty-fourth or a thirtieth of its length: a day's in hours, a week's in quarters of a
day, a month's in days. All of them end a label delay ago, so none is longer or shorter than in the default set; each is
moved back by less than one pane. A merchant then takes some 30 kB however many its payments are. Cards' features are
the default set's.
"""

from types import MappingProxyType

from features import default_set
from features.declaration import DAY_MS, Feature
from features.history.store import Entity
from features.rows import paned

PANES = MappingProxyType({DAY_MS: "1h", 7 * DAY_MS: "6h", 30 * DAY_MS: "1d"})
"""How wide the panes of a merchant's window are, by its length in ms."""

FEATURES: tuple[Feature, ...] = tuple(
    paned(row, PANES[row.window_ms]) if row.entity is Entity.MERCHANT and row.window_ms is not None else row
    for row in default_set.FEATURES
)
