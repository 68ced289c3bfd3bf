"""Figures over payments whose outcome was seen by a lot only: inverse-propensity estimates.

A declined payment has no outcome, unless a lot lets it through with a known probability, its propensity. Each that was
let through then stands for 1/propensity declined ones (Horvitz and Thompson, A generalization of sampling without
replacement from a finite universe, 1952). Payments that are always seen have a propensity of 1. Payments without a
propensity are in no estimate, so each states its coverage.
"""

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from metrics.bootstrap import BootstrapPlan, ratio_interval
from metrics.columns import Bools, Floats, Ints, Tokens, check_lengths, check_numbers, exact_sum
from metrics.errors import MeasureInputError
from metrics.intervals import Interval


class LotRows(NamedTuple):
    """Payments of shape (n,): the card, the probability that the outcome is seen (0: no lot), and whether it was."""

    cards: Tokens
    propensities: Floats
    seen: Bools

    def checked(self) -> Self:
        """Return the rows themselves.

        Raises:
            MeasureInputError: columns differ in length, a propensity is no probability, or a payment without one was
                seen: give one that is always seen a propensity of 1.
        """
        check_lengths(**self._asdict())
        check_numbers("propensities", self.propensities, 0, 1)
        if (self.seen & (self.propensities == 0)).any():
            raise MeasureInputError("a payment with a propensity of 0 was seen: state the probability that it had")
        return self

    @property
    def weights(self) -> Floats:
        """1/propensity where the outcome was seen, else 0; of shape (n,)."""
        weights: Floats = np.divide(1.0, self.propensities, out=np.zeros(len(self.seen)), where=self.seen)
        return weights


class Coverage(NamedTuple):
    """How much of some payments an estimate speaks of: those with a propensity above 0, and all of them."""

    covered: int
    events: int
    covered_minor: int
    amount_minor: int

    @property
    def share(self) -> float | None:
        """The covered share of the payments; None without payments."""
        return self.covered / self.events if self.events else None

    @property
    def money_share(self) -> float | None:
        """The covered share of their money; None without money."""
        return self.covered_minor / self.amount_minor if self.amount_minor else None


def coverage(propensities: Floats, amounts_minor: Ints) -> Coverage:
    """Return the coverage of payments of one currency; both columns have the shape (n,). Pass the declined ones only.

    Raises:
        MeasureInputError: columns differ in length, or a propensity is no probability.
    """
    check_lengths(propensities=propensities, amounts_minor=amounts_minor)
    check_numbers("propensities", propensities, 0, 1)
    covered = propensities > 0
    return Coverage(int(covered.sum()), len(covered), exact_sum(amounts_minor[covered]), exact_sum(amounts_minor))


def estimated_total(values: NDArray[Any], rows: LotRows) -> float:
    """Return the Horvitz-Thompson estimate of a sum over the rows with a propensity: of frauds, or of their money.

    Args:
        values: of shape (n,); read only where the outcome was seen.
        rows: the payments.

    Raises:
        MeasureInputError: the rows are invalid; see `LotRows.checked`.
    """
    weights = rows.checked().weights
    return float(weights[rows.seen] @ values[rows.seen])


class WeightedRatio(NamedTuple):
    """An estimated ratio with its interval by card; None where undefined, or where too few cards were seen."""

    value: float | None
    interval: Interval | None


def known_ratio(
    numerators: NDArray[Any], denominators: NDArray[Any], rows: LotRows, plan: BootstrapPlan | None = None
) -> WeightedRatio:
    """Estimate a ratio whose denominators are known without the outcome, by Horvitz and Thompson; unbiased.

    Precision of declines: fraud over 1; the fraud share of declined money: fraud money over money.

    Args:
        numerators: of shape (n,); read only where the outcome was seen.
        denominators: of shape (n,); read where there is a propensity.
        rows: the payments.
        plan: of the bootstrap.

    Raises:
        MeasureInputError: the rows are invalid; see `LotRows.checked`.
    """
    weights = rows.checked().weights
    known = np.where(rows.propensities > 0, denominators, 0)
    return _ratio(_seen(numerators, rows) * weights, known, rows, plan)


def normalised_ratio(
    numerators: NDArray[Any], denominators: NDArray[Any], rows: LotRows, plan: BootstrapPlan | None = None
) -> WeightedRatio:
    """Estimate a ratio of two sums over seen outcomes with the same weights, by Hajek; consistent, and often steadier.

    Recall: fraud with an alert over fraud, where payments that were not declined have a propensity of 1; value
    detection rate: likewise in money. Also precision of declines, where the number of lots differs much from its mean.

    Args:
        numerators: of shape (n,); read only where the outcome was seen.
        denominators: likewise.
        rows: the payments.
        plan: of the bootstrap.

    Raises:
        MeasureInputError: the rows are invalid; see `LotRows.checked`.
    """
    weights = rows.checked().weights
    return _ratio(_seen(numerators, rows) * weights, _seen(denominators, rows) * weights, rows, plan)


def _seen(values: NDArray[Any], rows: LotRows) -> NDArray[Any]:
    return np.where(rows.seen, values, 0)


def _ratio(numerators: Floats, denominators: Floats, rows: LotRows, plan: BootstrapPlan | None) -> WeightedRatio:
    total = float(denominators.sum())
    if not total:
        return WeightedRatio(None, None)
    chosen = plan or BootstrapPlan()
    by_lot = rows.seen & (rows.propensities < 1)
    few = len(np.unique(rows.cards[by_lot])) < chosen.least_cards and by_lot.any()
    interval = None if few else ratio_interval(rows.cards, numerators, denominators, chosen)
    return WeightedRatio(float(numerators.sum()) / total, interval)
