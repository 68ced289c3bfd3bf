"""The columns that measures read, with one value for each payment: their types, checks, and sums by card."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.errors import MeasureInputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Flags = NDArray[np.bool_] | NDArray[np.int8]
"""True or 1 for fraud, False or 0 for genuine. A row without a label has no place among measured rows."""
Tokens = NDArray[Any]
"""Integers or strings that name cards or currencies; equal ones are the same card."""

_HALF_BITS = 32


def check_lengths(**columns: NDArray[Any]) -> None:
    """Check that columns have one value for each row.

    Raises:
        MeasureInputError: they differ in length.
    """
    if len({len(column) for column in columns.values()}) > 1:
        lengths = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
        raise MeasureInputError(f"columns differ in length: {lengths}; each needs one value for each row")


def check_numbers(name: str, values: Floats, low: float = -np.inf, high: float = np.inf) -> None:
    """Check that all values lie in `[low, high]`; NaN does not.

    Raises:
        MeasureInputError: some do not.
    """
    outside = ~((values >= low) & (values <= high))
    if outside.any():
        first = values[outside][0]
        raise MeasureInputError(
            f"{name}: {int(outside.sum())} of {len(values)} values are not in [{low:g}, {high:g}], such as {first:g}"
        )


def exact_sum(values: Ints) -> int:
    """Return the sum of at most 2^31 integers exactly; a sum of 64-bit integers could overflow."""
    high, low = values >> _HALF_BITS, values & ((1 << _HALF_BITS) - 1)
    return (int(high.sum()) << _HALF_BITS) + int(low.sum())


def ratios(numerators: Floats, denominators: Floats) -> Floats:
    """Divide, with NaN where the denominator is 0."""
    undefined = np.full(np.shape(denominators), np.nan)
    divided: Floats = np.divide(numerators, denominators, out=undefined, where=denominators != 0)
    return divided


class CardSums(NamedTuple):
    """Sums of k columns over the rows of each of c cards: `cards` ascending, and `sums` of shape (c, k).

    `first_rows` has the number of each card's first row.
    """

    cards: Tokens
    sums: Floats
    first_rows: Ints

    def by_appearance(self) -> Floats:
        """Return the sums in the order in which the cards appear, the order for what is looked at all the time."""
        ordered: Floats = self.sums[np.argsort(self.first_rows, kind="stable")]
        return ordered


def sum_by_card(cards: Tokens, *columns: NDArray[Any]) -> CardSums:
    """Sum columns of shape (n,) by card. Sums are floats: integers are exact up to 2^53."""
    check_lengths(cards=cards, **{f"column {at}": column for at, column in enumerate(columns)})
    found, first_rows, index = np.unique(cards, return_index=True, return_inverse=True)
    sums = [np.bincount(index, weights=column, minlength=len(found)) for column in columns]
    return CardSums(found, np.column_stack(sums), first_rows.astype(np.int64))
