"""The reference of a model whose manifest has none: its own first days, in general bins.

Drift is then told from those days only, whatever had drifted before.
"""

from dataclasses import dataclass, field

import numpy as np

from fraudstream.ops.watch.drift.counts import DriftCounts
from fraudstream.ops.watch.drift.judge import ALL_FEATURED
from fraudstream.ops.watch.drift.layout import DECISIONS, Layout
from metrics.columns import Ints
from models.times import format_time
from models.training_reference import (
    DAY_MS,
    QuantityReference,
    TrainingReference,
    known_design_effect,
    with_usual,
)


@dataclass(slots=True)
class FirstDays:
    """The counts of a model's first days.

    Attributes:
        first_day: since 1970-01-01 UTC.
        workdays, weekends: of all days.
        windows: of each window of whole days with enough cards.
    """

    first_day: int
    workdays: DriftCounts
    weekends: DriftCounts
    windows: list[DriftCounts] = field(default_factory=list)

    def add(self, counts: DriftCounts, *, weekend: bool) -> None:
        """Add the counts of a day."""
        if weekend:
            self.weekends = self.weekends.merge(counts)
        else:
            self.workdays = self.workdays.merge(counts)

    def reference(self, layout: Layout, end_day: int) -> TrainingReference:
        """Return the reference that these days are, of at least one payment; `end_day` is the day after them.

        It has features only if all payments carried them: those of alerts alone are no sample of payments.
        """
        whole = self.workdays.merge(self.weekends)
        begins, edges = layout.begins, (*layout.edges, layout.thresholds)
        *features, score, decisions = (
            _quantity(edge, (int(begins[at]), int(begins[at + 1])), self) for at, edge in enumerate(edges)
        )
        return TrainingReference(
            since=format_time(self.first_day * DAY_MS),
            until=format_time(end_day * DAY_MS - 1),
            rows=whole.payments,
            cards=whole.card_count,
            features=tuple(features) if whole.featured >= ALL_FEATURED * whole.payments else (),
            score=score,
            decisions=decisions,
            bands=tuple(whole.bands.tolist()),
        )


def _quantity(edges: tuple[float, ...], place: tuple[int, int], days: FirstDays) -> QuantityReference:
    """Return the reference of the quantity whose bins lie at a place."""
    workdays, weekends, *windows = (
        _columns(counts.by_group, place, len(edges) + 2) for counts in (days.workdays, days.weekends, *days.windows)
    )
    whole = workdays + weekends
    if not whole.sum():  # of features that no payment carried; it is not used
        whole[:, -1] = workdays[:, -1] = 1
    found = QuantityReference(
        edges=edges,
        workdays=tuple(workdays.sum(axis=0).tolist()),
        weekends=tuple(weekends.sum(axis=0).tolist()),
        design_effect=known_design_effect(whole),
        usual=0.0,
    )
    shares = (counts.weekend / counts.payments for counts in days.windows)
    return with_usual(found, zip(windows, shares, strict=True))


def _columns(by_group: Ints, place: tuple[int, int], width: int) -> Ints:
    """Return the counts of some bins; decisions get one for what is undefined, as references have."""
    found = by_group[:, place[0] : place[1]]
    missing = width - found.shape[1] if width == DECISIONS + 1 else 0
    return np.pad(found, ((0, 0), (0, missing)))
