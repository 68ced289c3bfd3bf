"""Searches LightGBM's parameters: those that rank the frauds of `validate` best, never by the part `test`.

Optuna proposes parameters by the tree-structured Parzen estimator (Bergstra et al., Algorithms for Hyper-Parameter
Optimization, 2011), from a seed. The first trial has the parameters of the request. They are kept unless another trial
is better by a standard error of the difference, paired by card: the highest of many figures is high by chance. With a
number of trials the result is the same each time; with a limit of time it depends on the machine.
"""

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from fraudstream.lab.dataset.errors import MissingExtraError
from fraudstream.lab.training.assembly import PartMargins
from fraudstream.lab.training.evaluation import blocked
from fraudstream.lab.training.request import Progress, SearchReport, TrainingRequest
from fraudstream.lab.training.split import Split
from fraudstream.lab.training.trees import fold_margins, grow
from fraudstream.lab.training.vectors import Table
from metrics.bootstrap import BootstrapPlan
from metrics.paired_ranking import paired_average_precision
from models.artifact import Parameter
from models.booster import Booster, FittedTrees

_RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "num_leaves": (4, 128),
        "learning_rate": (0.02, 0.3),
        "min_data_in_leaf": (10, 1_000),
        "lambda_l2": (0.0, 50.0),
        "feature_fraction": (0.3, 1.0),
    }
)
"""What is searched: outside of these, trees get worse or slower on streams of payments."""
_WHOLE = frozenset({"num_leaves", "min_data_in_leaf"})
_LIGHTGBM = MappingProxyType(
    {"num_leaves": 31, "learning_rate": 0.1, "min_data_in_leaf": 20, "lambda_l2": 0.0, "feature_fraction": 1.0}
)
_DRAWS = BootstrapPlan(draws=200, least_cards=2)
"""For a standard error, which fewer draws and cards tell than an interval."""
_WITHOUT_LIMIT = 1_000_000
"""Trials of a search that time ends: more than any time allows."""


class _Trials:
    """The trials so far, and the one that is taken: the first, or the best of those that are clearly better."""

    def __init__(
        self,
        request: TrainingRequest,
        parameters: Mapping[str, Parameter],
        table: Table,
        parts: Split,
        progress: Progress,
    ) -> None:
        self.measures: list[float] = []
        self.taken: list[tuple[dict[str, Parameter], FittedTrees]] = []
        self._first: PartMargins | None = None
        self._request = request
        self._parameters = parameters
        self._table = table
        self._parts = parts
        self._progress = progress
        self._began = time.monotonic()

    def run(self, trial: Any) -> float:  # noqa: ANN401 - of a module that may not be there
        """Grow trees by the parameters that a trial proposes, and return their average precision on `validate`."""
        tried = {**self._parameters, **_proposed(trial, _present(self._parameters))}
        fitted = grow(self._request, tried, self._table, self._parts, lambda _trees: None)
        if not self.measures or (fitted.measure > self.taken[0][1].measure and self._is_better(tried, fitted)):
            self.taken = [(tried, fitted)]
        self.measures.append(fitted.measure)
        self._show()
        return fitted.measure

    def _is_better(self, tried: Mapping[str, Parameter], fitted: FittedTrees) -> bool:
        """Tell whether a trial ranks better than the first one by a standard error, paired by card."""
        table = self._table
        first = self._first = self._first or self._margins(*self.taken[0])  # it is still the first that is taken
        rows = first.labelled
        kept = ~blocked(table, rows)
        kept = kept if 0 < table.fraud[rows[kept]].sum() < kept.sum() else np.ones(len(rows), np.bool_)
        scores = self._margins(tried, fitted).labelled_margins[kept], first.labelled_margins[kept]
        found = paired_average_precision(table.fraud[rows[kept]], scores, table.card[rows[kept]], _DRAWS)
        return found is not None and found.difference_error is not None and found.difference >= found.difference_error

    def _margins(self, tried: Mapping[str, Parameter], fitted: FittedTrees) -> PartMargins:
        """Return what trees say of the rows that they are chosen by, which they have not seen."""
        table, parts = self._table, self._parts
        if parts.folds:
            return fold_margins(self._request, {**tried, "num_iterations": fitted.trees}, table, parts.folds)
        booster = Booster(fitted.text, self._request.feature_set.names, table.categories)
        return PartMargins.of(booster, table, parts.validate)

    @property
    def seconds_left(self) -> float | None:
        """How much of the time is left, at least 0; None without a limit."""
        limit = self._request.search_seconds
        return None if limit is None else max(0.0, limit - (time.monotonic() - self._began))

    def _show(self) -> None:
        """Show how much of the budget is spent: of the trials, or of the time if that is what ends the search."""
        trials, seconds = self._request.trials, self._request.search_seconds
        spent = time.monotonic() - self._began
        if seconds is not None and (trials is None or spent / seconds > len(self.measures) / trials):
            total = max(1, round(seconds))
            self._progress("search", min(round(spent), total), total)
        elif trials is not None:
            self._progress("search", len(self.measures), trials)


def search(
    request: TrainingRequest, parameters: Mapping[str, Parameter], table: Table, parts: Split, progress: Progress
) -> tuple[dict[str, Parameter], FittedTrees, SearchReport]:
    """Return the parameters that are taken within the request's budget, their trees, and what the search did.

    Raises:
        MissingExtraError: Optuna is not installed.
    """
    optuna = _import_optuna()
    trials = _Trials(request, parameters, table, parts, progress)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=request.seed))
    study.enqueue_trial(_present(parameters))
    study.optimize(trials.run, n_trials=1)
    if request.trials != 1:
        study.optimize(trials.run, n_trials=(request.trials or _WITHOUT_LIMIT) - 1, timeout=trials.seconds_left)
    ((chosen, fitted),) = trials.taken
    report = SearchReport(
        trials=len(trials.measures),
        first=trials.measures[0],
        best=fitted.measure,
        highest=max(trials.measures),
        reproducible=request.trials is not None and len(trials.measures) == request.trials,
        chosen={name: chosen[name] for name in _RANGES},
    )
    return chosen, fitted, report


def _proposed(trial: Any, present: Mapping[str, float]) -> dict[str, Parameter]:  # noqa: ANN401 - likewise
    """Return what a trial proposes; a range is as wide as to include what is present."""
    proposed: dict[str, Parameter] = {}
    for name, (low, high) in _RANGES.items():
        least, most = min(low, present[name]), max(high, present[name])
        suggest = trial.suggest_int if name in _WHOLE else trial.suggest_float
        proposed[name] = suggest(name, least, most, log=low > 0)
    return proposed


def _present(parameters: Mapping[str, Parameter]) -> dict[str, float]:
    """Return the parameters of the request in the names of the search, with LightGBM's defaults."""
    given = {name: parameters.get(name, default) for name, default in _LIGHTGBM.items()}
    return {name: value for name, value in given.items() if not isinstance(value, str)}


def _import_optuna() -> Any:  # noqa: ANN401 - the module
    try:
        import optuna  # noqa: PLC0415 - of the extra `search`
    except ImportError as error:
        raise MissingExtraError("a search", "Optuna", "search") from error
    optuna.logging.disable_default_handler()
    return optuna
