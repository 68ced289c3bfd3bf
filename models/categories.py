"""The numbers that a model's trees know categories by: from 1 on by frequency in training, 0 for all others.

A vector holds a category as its code (`features.own_fields.category_code`), the same for every model; each artifact has
a table of its own. Trees compare the numbers, so categories that are about as frequent are near each other.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.policy import Floats

REST = 0
"""The number of a category that is not in the table."""
MOST_CATEGORIES = 10_000
"""Of a feature. A field with more values is an identifier."""
FEWEST_ROWS = 20
"""A category with fewer rows in training is among the rest."""
LARGEST_CODE = 2**48

CategoryCodes = Mapping[str, Sequence[int]]
"""The codes of each feature that is a category, by its name; the most frequent one first."""

_NO_CODES: CategoryCodes = {}


class CategoryColumn(NamedTuple):
    """A column of a matrix: its codes ascending, and the number of each, of shape (k,)."""

    at: int
    codes: Floats
    numbers: Floats


class Categories(NamedTuple):
    """The columns of a model's matrix that are categories, and their codes as the manifest has them."""

    columns: tuple[CategoryColumn, ...] = ()
    codes: CategoryCodes = _NO_CODES

    @classmethod
    def of(cls, codes: CategoryCodes, names: Sequence[str]) -> "Categories":
        """Return the columns of a table of codes; features of other names are not there."""
        return cls(tuple(_column(at, codes[name]) for at, name in enumerate(names) if name in codes), codes)

    def as_numbers(self, matrix: Floats) -> Floats:
        """Return a matrix of shape (n, features) with numbers in place of codes; NaN stays. The given one stays too."""
        if not self.columns:
            return matrix
        found = np.array(matrix, np.float64)
        for at, codes, numbers in self.columns:
            found[:, at] = _looked_up(found[:, at], codes, numbers)
        return found

    def column_as_numbers(self, at: int, values: Floats) -> Floats:
        """Return the values of column `at`, of shape (n,), with numbers in place of codes if it is a category."""
        found = next((one for one in self.columns if one.at == at), None)
        return values if found is None else _looked_up(values, found.codes, found.numbers)

    def as_codes(self, matrix: Floats) -> Floats:
        """Return a matrix with codes in place of numbers, the nearest there are; for the rest that of no category."""
        if not self.columns:
            return matrix
        found = np.array(matrix, np.float64)
        for at, codes, numbers in self.columns:
            by_number = np.concatenate(([_unused(codes)], codes[np.argsort(numbers)]))
            given = found[:, at]
            known = ~np.isnan(given)
            nearest = np.clip(np.rint(np.nan_to_num(given[known])), REST, len(codes)).astype(np.int64)
            given[known] = by_number[nearest]
        return found


NO_CATEGORIES = Categories()


def _column(at: int, codes: Sequence[int]) -> CategoryColumn:
    given = np.array(codes, np.float64)
    order = np.argsort(given)
    return CategoryColumn(at, given[order], (order + 1).astype(np.float64))


def _looked_up(values: Floats, codes: Floats, numbers: Floats) -> Floats:
    if not len(codes):
        return np.where(np.isnan(values), np.nan, float(REST))
    places = np.minimum(np.searchsorted(codes, values), len(codes) - 1)
    return np.where(np.isnan(values), np.nan, np.where(codes[places] == values, numbers[places], REST))


def _unused(codes: Floats) -> float:
    """Return the least code that is not among some."""
    free = np.flatnonzero(codes != np.arange(len(codes)))
    return float(free[0]) if len(free) else float(len(codes))


def frequent_codes(values: NDArray[np.float64]) -> list[int]:
    """Return the codes of a category's values in training, of shape (n,), the most frequent first.

    At least one value is among the rest, so that trees have seen it: else the rarest code is left out.
    """
    found, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    order = np.lexsort((found, -counts))
    kept = [int(found[at]) for at in order.tolist() if counts[at] >= FEWEST_ROWS]
    return kept[:-1] if len(kept) == len(found) > 1 else kept
