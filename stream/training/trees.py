"""Grows trees on the part `train`, and keeps as many as rank the frauds of `validate` best.

LightGBM's parameters are here; a search over some of them is in `search`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from features.aggregates import Risk
from features.history.store import Ints
from metrics.ranking import average_precision, ranked_rows
from models.artifact import Parameter
from models.booster import FitRows, FittedTrees, Watch, fit
from models.policy import Floats
from stream.training.evaluation import blocked
from stream.training.request import TrainingRequest
from stream.training.split import Split
from stream.training.vectors import Table

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


_SIGNS: Mapping[Risk, int] = MappingProxyType({Risk.RISES: 1, Risk.FALLS: -1, Risk.ANY: 0})


def parameters_of(request: TrainingRequest) -> dict[str, Parameter]:
    """Return LightGBM's parameters for a request, without the number of threads, which changes no tree."""
    chosen: dict[str, Parameter] = {} if request.max_depth is None else {"max_depth": request.max_depth}
    if request.fraud_weight != 1:
        chosen["scale_pos_weight"] = request.fraud_weight
    if request.monotone:
        chosen["monotone_constraints"] = ",".join(str(_SIGNS[row.risk]) for row in request.feature_set.rows)
    return {
        **DEFAULTS,
        "num_iterations": request.trees,
        "num_leaves": request.leaves,
        "learning_rate": request.learning_rate,
        "seed": request.seed,
        **chosen,
    }


def grow(
    request: TrainingRequest,
    parameters: Mapping[str, Parameter],
    data: tuple[Table, Split],
    on_tree: Callable[[int], None],
) -> FittedTrees:
    """Grow trees on `train`, with early stopping on `validate` if the request has patience.

    Args:
        request: says the features, the threads and the patience.
        parameters: LightGBM's.
        data: the rows, and the parts that they are in.
        on_tree: called with the number of trees grown so far.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    table, parts = data
    names, used = request.feature_set.names, {**parameters, "num_threads": request.threads}
    rows = FitRows(table.matrix, parts.train, table.fraud[parts.train])
    if not request.patience:
        return fit(rows, names, used, on_tree)
    watched = FitRows(table.matrix, parts.validate, table.fraud[parts.validate])
    return fit(rows, names, used, on_tree, Watch(watched, precision_on(table, parts.validate), request.patience))


def precision_on(table: Table, rows: Ints) -> Callable[[Floats], float]:
    """Return a function that rates scores of some rows by their average precision, of cards not known compromised."""
    frauds = table.fraud[rows]
    ranked = ranked_rows(frauds, blocked(table, rows))
    return lambda scores: average_precision(frauds[ranked], scores[ranked]) or 0.0
