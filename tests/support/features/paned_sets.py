"""Feature sets with paned merchant windows: all panes of an hour, and finer panes for shorter windows."""

from features.aggregates import Aggregate
from features.declaration import DAY_MS, HOUR_MS, MINUTE_MS, Feature, FeatureSet
from features.history.store import Entity

MERGEABLE = ("count", "amount_sum", "amount_mean", "amount_max", "amount_to_mean", "amount_deviation", "fraud_share")


def row_of(what: str, window_ms: int, delay_ms: int = 0, resolution_ms: int = 1) -> Feature:
    return Feature(Entity.MERCHANT, Aggregate(what), window_ms, delay_ms, "any", "any", resolution_ms)


def all_of(window_ms: int, delay_ms: int, resolution_ms: int) -> list[Feature]:
    """Return every feature that can be paned, for one window."""
    return [row_of(what, window_ms, delay_ms, resolution_ms) for what in MERGEABLE]


HOURLY = FeatureSet((*all_of(6 * HOUR_MS, 0, HOUR_MS), *all_of(6 * HOUR_MS, 5 * HOUR_MS, HOUR_MS)))
FINER = FeatureSet(
    (
        *all_of(10 * MINUTE_MS, 0, 1),
        *all_of(HOUR_MS, 0, MINUTE_MS),
        *all_of(DAY_MS, HOUR_MS, HOUR_MS),
        *all_of(30 * DAY_MS, 7 * DAY_MS, DAY_MS),
    )
)
