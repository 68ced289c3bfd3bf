"""Grows trees on the part `train`, and keeps as many as rank the frauds of `validate`, or of folds of time, best.

Categories get their numbers by how often they occur in that part; trees split by sets of them.

LightGBM's parameters are here; a search over some of them is in `search`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from features.aggregates import Risk
from features.declaration import FeatureSet
from features.history.store import Ints
from fraudstream.lab.training.assembly import PartMargins, margins
from fraudstream.lab.training.evaluation import blocked
from fraudstream.lab.training.request import TrainingDataError, TrainingRequest
from fraudstream.lab.training.split import Fold, Split
from fraudstream.lab.training.vectors import Table
from metrics.ranking import average_precision, ranked_rows
from models.artifact import Parameter
from models.booster import Booster, FitRows, FittedTrees, Watch, fit
from models.categories import MOST_CATEGORIES, Categories, frequent_codes
from models.policy import Floats

DEFAULTS: Mapping[str, Parameter] = MappingProxyType(
    {
        "objective": "binary",
        "verbosity": -1,
        "deterministic": True,
        "force_col_wise": True,
        # On the handbook's stream 255 bins cost 0.07 average precision on six weeks and 0.01 on seventeen (frauds are
        # in the sparse tails), and leaves of 50 rows cost 0.03 on seventeen weeks compared with leaves of 200.
        "max_bin": 4095,
        "min_data_in_bin": 1,
        "min_data_in_leaf": 200,
    }
)


_OF_CATEGORIES: Mapping[str, Parameter] = MappingProxyType({"cat_smooth": 50, "cat_l2": 50})
"""LightGBM's own 10 and 10 learn single payments of rare categories: on drawn streams of 120 countries and 2,000 shops
they cost 0.02 AUC."""
FEWEST_TREES = 10
"""With fewer, the training has found nothing, unless these rank as well."""
_AS_WELL = 0.01
"""Average precision by which that many trees may rank worse than fewer: less than a part's frauds can tell."""
_SIGNS: Mapping[Risk, int] = MappingProxyType({Risk.RISES: 1, Risk.FALLS: -1, Risk.ANY: 0})


def defaults_of(feature_set: FeatureSet) -> dict[str, Parameter]:
    """Return LightGBM's parameters that all trainings on the features of a set have."""
    return {**DEFAULTS, **(_OF_CATEGORIES if feature_set.categories else {})}


def parameters_of(request: TrainingRequest) -> dict[str, Parameter]:
    """Return LightGBM's parameters for a request, without the number of threads, which changes no tree."""
    chosen: dict[str, Parameter] = {} if request.max_depth is None else {"max_depth": request.max_depth}
    if request.fraud_weight != 1:
        chosen["scale_pos_weight"] = request.fraud_weight
    if request.monotone:
        chosen["monotone_constraints"] = ",".join(str(_SIGNS[row.risk]) for row in request.feature_set.rows)
    return {
        **defaults_of(request.feature_set),
        "num_iterations": request.trees,
        "num_leaves": request.leaves,
        "learning_rate": request.learning_rate,
        "seed": request.seed,
        **chosen,
    }


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
    return replace(table, categories=Categories.of(codes, feature_set.names))


def grow(
    request: TrainingRequest,
    parameters: Mapping[str, Parameter],
    table: Table,
    parts: Split,
    on_tree: Callable[[int], None],
) -> FittedTrees:
    """Grow trees on `train`, with early stopping on `validate` if the request has patience.

    Fewer than `FEWEST_TREES` are kept only if more rank clearly worse. Where the split has folds, each of them grows
    all trees, and as many are grown on `train` as rank best in the mean of the folds, weighted by their frauds.

    Args:
        request: says the features, the threads and the patience.
        parameters: LightGBM's.
        table: the rows.
        parts: the parts that they are in.
        on_tree: called with the number of trees grown so far.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    names, used = request.feature_set.names, {**parameters, "num_threads": request.threads}
    rows = FitRows(table.matrix, parts.train, table.fraud[parts.train], table.categories)
    if not request.patience:
        return fit(rows, names, used, on_tree)
    if parts.folds:
        trees, measure = _best_by_folds(request, used, table, parts)
        return fit(rows, names, used | {"num_iterations": trees}, on_tree)._replace(measure=measure)
    watched = FitRows(table.matrix, parts.validate, table.fraud[parts.validate], table.categories)
    rate = precision_on(table, parts.validate)
    best = fit(rows, names, used, on_tree, Watch(watched, rate, request.patience))
    least = min(FEWEST_TREES, request.trees)
    if best.trees >= least:
        return best
    more = fit(rows, names, used | {"num_iterations": least}, lambda _: None)
    measure = rate(margins(Booster(more.text, names, table.categories), table, parts.validate))
    return best if measure < best.measure - _AS_WELL else more._replace(measure=measure)


def _best_by_folds(
    request: TrainingRequest, parameters: Mapping[str, Parameter], table: Table, parts: Split
) -> tuple[int, float]:
    """Return with how many trees the folds rank best, and how well."""
    curves, frauds = list[list[float]](), list[int]()
    for fold in parts.folds:
        curve, rate = list[float](), precision_on(table, fold.scored)

        def measure(scores: Floats, curve: list[float] = curve, rate: Callable[[Floats], float] = rate) -> float:
            curve.append(rate(scores))
            return curve[-1]

        watched = FitRows(table.matrix, fold.scored, table.fraud[fold.scored], table.categories)
        rows = FitRows(table.matrix, fold.fit, table.fraud[fold.fit], table.categories)
        fit(rows, request.feature_set.names, parameters, lambda _: None, Watch(watched, measure, request.trees))
        curves.append(curve + curve[-1:] * (request.trees - len(curve)))  # where nothing was left to split
        frauds.append(int(table.fraud[fold.scored].sum()))
    mean = np.average(np.array(curves), axis=0, weights=frauds)
    best, least = int(np.argmax(mean)), min(FEWEST_TREES, request.trees)
    later = mean[least - 1 :]
    if best + 1 < least and later.max() >= mean[best] - _AS_WELL:
        best = least - 1 + int(np.argmax(later))
    return best + 1, float(mean[best])


def fold_margins(
    request: TrainingRequest, parameters: Mapping[str, Parameter], table: Table, folds: tuple[Fold, ...]
) -> PartMargins:
    """Return the margins of all payments of the folds' times, each by trees that were fitted to what was before it."""
    used = {**parameters, "num_threads": request.threads}
    scored = list[PartMargins]()
    for fold in folds:
        rows = FitRows(table.matrix, fold.fit, table.fraud[fold.fit], table.categories)
        text = fit(rows, request.feature_set.names, used, lambda _: None).text
        scored.append(PartMargins.of(Booster(text, request.feature_set.names, table.categories), table, fold.scored))
    return PartMargins(*map(np.concatenate, zip(*scored, strict=True)))


def precision_on(table: Table, rows: Ints) -> Callable[[Floats], float]:
    """Return a function that rates scores of some rows by their average precision, of cards not known compromised."""
    frauds = table.fraud[rows]
    ranked = ranked_rows(frauds, blocked(table, rows))
    return lambda scores: average_precision(frauds[ranked], scores[ranked]) or 0.0
