"""When a window is full, and when what it shows is an alarm: the terms of the watch."""

from dataclasses import dataclass

from models.training_reference import LEAST_CARDS, MOST_DAYS

DAYS_OF_YEAR = 365
_MUCH, _SOME = 0.1, 0.01
"""Shares of the gain of all splits."""


@dataclass(frozen=True, slots=True)
class DriftTerms:
    """The terms by which a model is watched.

    Attributes:
        least_cards: a window of whole days is full with so many cards.
        most_days: or after so many days.
        least_index: a stability index below is no drift worth an alarm (Siddiqi, Credit Risk Scorecards, 2006).
        sudden: what has moved slowly, as a season does, is an alarm from an index of `large_index` on; what lies so far
            from the last weeks, as a part of its bound, is one from its bound on.
        large_index: see `sudden`.
        ratio: the share of payments that the model wants reviewed or declined, and of those that it wants declined, may
            rise or fall by this factor.
        windows: so many windows in a row must show it; as many without it end the alarm.
        yearly_alpha: the probability that chance alone raises an alarm within a year, at most, of one model and arm.
        first_days: a model whose manifest has no reference is compared with its own first days.

    Raises:
        ValueError: a term is out of its range.
    """

    least_cards: int = LEAST_CARDS
    most_days: int = MOST_DAYS
    least_index: float = 0.2
    sudden: float = 0.5
    large_index: float = 0.5
    ratio: float = 2.0
    windows: int = 3
    yearly_alpha: float = 0.05
    first_days: int = 14

    def __post_init__(self) -> None:
        counts = (self.least_cards, self.most_days, self.windows, self.first_days)
        if min(counts) < 1 or self.least_index <= 0 or self.ratio <= 1 or not 0 < self.yearly_alpha < 1:
            raise ValueError(
                "drift terms: cards, days and windows must be at least 1, the least index above 0, the ratio above 1, "
                "and alpha between 0 and 1"
            )

    def least_of(self, importance: float | None) -> float:
        """Return the least index that counts of a feature with this share of the gain; None if it is not known.

        It is smaller where the model goes by the feature, and larger where it hardly does, or not at all.
        """
        if importance is None:
            return self.least_index
        factors = ((_MUCH, 0.75), (_SOME, 1.0), (0.0, 2.0))
        return self.least_index * next((factor for above, factor in factors if importance > above), 4.0)

    def alpha(self, quantities: int) -> float:
        """Return the alpha of one quantity in one window: by Bonferroni over quantities and a year of daily windows."""
        return self.yearly_alpha / (DAYS_OF_YEAR * quantities)
