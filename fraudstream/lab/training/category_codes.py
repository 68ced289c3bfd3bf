"""Finds the categories of a table that trees are fitted to: which codes its columns have, and how often."""

from dataclasses import replace

import numpy as np

from features.declaration import FeatureSet
from features.history.store import Ints
from fraudstream.lab.training.request import TrainingDataError
from fraudstream.lab.training.vectors import Table
from models.categories import MOST_CATEGORIES, Categories, frequent_codes


def with_categories(table: Table, rows: Ints, feature_set: FeatureSet) -> Table:
    """Return a table whose categories have numbers, by how often each occurs in some rows.

    Raises:
        TrainingDataError: a category has so many values that it is an identifier.
    """
    if not feature_set.categories:
        return table
    codes = {}
    for name, field in feature_set.categories.items():
        values = np.asarray(table.matrix[rows, feature_set.names.index(name)])
        count = len(np.unique(values[~np.isnan(values)]))
        if count > MOST_CATEGORIES:
            raise TrainingDataError(
                f"{name}: the category {field!r} has {count:,} values in training, more than {MOST_CATEGORIES:,}: it "
                "identifies something rather than describing it; declare it as token(...), and leave the row out"
            )
        codes[name] = frequent_codes(values)
    return replace(table, codes=codes, categories=Categories.of(codes, feature_set.names))
