"""The only module that calls LightGBM: it trains trees from rows and computes raw margins from trees.

The kernel in C computes margins several times as fast, where it is built and agreed with LightGBM to the bit when the
model was loaded (`agrees`); LightGBM computes those of other models. Each call of LightGBM uses one thread: workers
scale by partitions, and at these batch sizes its threads cost more than they gain. Margins become probabilities in
`calibration`.
"""

import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models import tree_kernel
from models.artifact import same_bits
from models.categories import NO_CATEGORIES, Categories
from models.errors import DamagedArtifactError, ScoringError
from models.model_text import Tree, check_model_text, without_ranges
from models.policy import Floats
from models.tree_kernel import LANES, ZERO_THRESHOLD, Forest

ROWS = 256
_SEED = 20_260_101

_MAGNITUDES = np.array(
    [
        *(0.0, 5e-324, 1e-310, float(np.finfo(np.float64).tiny), 1e-35, ZERO_THRESHOLD),
        *(float(np.nextafter(ZERO_THRESHOLD, 0)), float(np.nextafter(ZERO_THRESHOLD, 1))),
        *(1.0, float(np.finfo(np.float64).max), np.inf),
    ]
)
SPECIAL = np.concatenate((_MAGNITUDES, -_MAGNITUDES, [np.nan] * 4))
"""Zeros, denormals, LightGBM's zero threshold and its neighbours, the largest values, infinities and NaN."""
_NO_CATEGORIES = np.array([-1.0, -0.5, 0.5, 2.0**31 - 1, 2.0**31, 2.0**32, 2.0**48, 2.0**53])


@contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Let the block's imports find no such package, unless it is imported already."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment] # Python's own way to say that a module is not there
    try:
        yield
    finally:
        del sys.modules[package]


# LightGBM imports scikit-learn wherever it is installed, for its estimators in the style of it, and has no switch
# against that. `Booster` and `train`, which are all that is used here, do without it, and it is three quarters of the
# time that the import takes. Training imports it itself, for calibration. A program that uses those estimators as well
# imports scikit-learn before this module.
with _hidden("sklearn"):
    import lightgbm

_MATRIX = 2
_CATEGORY_LIMIT = 2.0**31
log = logging.getLogger("fraudstream.trees")
lightgbm.register_logger(logging.getLogger("fraudstream.lightgbm"))  # else it prints to standard output


class Booster:
    """A loaded model. Thread-safe."""

    def __init__(self, text: str, feature_names: tuple[str, ...], categories: Categories = NO_CATEGORIES) -> None:
        """Load a model from LightGBM's text, whose trees know categories by numbers.

        Raises:
            DamagedArtifactError: the text is not a valid model of these features.
        """
        trees = check_model_text(text, feature_names)
        try:
            self._trees = lightgbm.Booster(model_str=text)
        except lightgbm.basic.LightGBMError as error:
            raise DamagedArtifactError(f"model.txt: {error}") from error
        self.width = len(feature_names)
        self._categories = categories
        self._by_category = sorted(set().union(*(tree.category_features for tree in trees)))
        self._forest = self._proven(trees)

    @property
    def compiled(self) -> bool:
        """Whether the kernel in C computes margins; otherwise LightGBM does, with the same bits."""
        return self._forest is not None

    def _proven(self, trees: list[Tree]) -> Forest | None:
        kernel = tree_kernel.KERNEL
        forest = None if kernel is None else kernel.forest(trees, self.width)
        if forest is None or agrees(forest, self._by_lightgbm):
            return forest
        log.warning(
            "LightGBM scores a model of %d trees, several times as slowly: the kernel in C computes other margins",
            len(trees),
            extra={"event": "trees_differ", "trees": len(trees)},
        )
        return None

    def margins(self, matrix: Floats) -> Floats:
        """Return the raw margin of each row of a float64 matrix of shape (n, width); NaN is a missing value.

        A row's margin does not depend on the other rows, bit for bit.

        Raises:
            ScoringError: the matrix has the wrong shape, or LightGBM rejects it.
        """
        matrix = self._categories.as_numbers(self._checked(matrix))
        if self._forest is None or matrix.dtype != np.float64:
            return self._by_lightgbm(matrix)
        return self._forest.margins(matrix)

    def _by_lightgbm(self, matrix: Floats) -> Floats:
        if not len(matrix):
            return self._checked(matrix)[:, 0]
        return self._predicted(without_odd_categories(matrix, self._by_category), raw_score=True)

    def contributions(self, matrix: Floats) -> Floats:
        """Return what each feature adds to each row's raw margin, of shape (n, width + 1); the last column is the base.

        These are exact Shapley values of the trees' path-dependent expectations, with the training rows in each leaf as
        weights (TreeSHAP: Lundberg et al., "From local explanations to global understanding with explainable AI for
        trees", Nature Machine Intelligence 2, 2020, algorithm 2). The base is the expected margin; it and all
        contributions sum to the margin, but for rounding.

        Raises:
            ScoringError: the matrix has the wrong shape, or LightGBM rejects it.
        """
        if not len(matrix):
            return np.empty((0, self._checked(matrix).shape[1] + 1))
        numbers = self._categories.as_numbers(self._checked(matrix))
        return self._predicted(without_odd_categories(numbers, self._by_category), pred_contrib=True)

    def _checked(self, matrix: Floats) -> Floats:
        if matrix.ndim != _MATRIX or matrix.shape[1] != self.width:
            raise ScoringError(f"the matrix has shape {matrix.shape}, but the model has {self.width} features")
        return matrix

    def _predicted(self, matrix: Floats, **kind: bool) -> Floats:
        try:
            found = self._trees.predict(self._checked(matrix), num_threads=1, **kind)
        except lightgbm.basic.LightGBMError as error:
            raise ScoringError(f"LightGBM rejected {len(matrix)} rows: {error}") from error
        return np.asarray(found, dtype=np.float64)

    def gains(self) -> Floats:
        """Return the share of each feature in the gain of all splits, of shape (width,); 0 where there is no split."""
        gains = np.asarray(self._trees.feature_importance("gain"), dtype=np.float64)
        total = gains.sum()
        return gains / total if total else gains


def without_odd_categories(matrix: Floats, columns: Sequence[int]) -> Floats:
    """Return a matrix with NaN for what is no category in some columns: negatives, fractions, values from 2^31 on.

    LightGBM cuts a value to an integer of 32 bits before it looks it up, which is undefined for large ones.
    """
    if not columns:
        return matrix
    found = np.array(matrix)
    values = found[:, columns]
    sound = (values >= 0) & (values < _CATEGORY_LIMIT) & (values == np.floor(values))
    sound = (values >= 0) & (values < _CATEGORY_LIMIT) & (values == np.floor(values))
    found[:, columns] = np.where(sound, values, np.nan)
    return found


class _Rows(lightgbm.Sequence):
    """Rows of a memory-mapped matrix that LightGBM reads in blocks while it bins them."""

    batch_size = 8_192

    def __init__(self, matrix: Floats, chosen: NDArray[np.int64], categories: Categories) -> None:
        self._matrix = matrix
        self._chosen = chosen
        self._categories = categories

    def __getitem__(self, index: int | slice | list[int]) -> Floats:
        rows = np.asarray(self._matrix[self._chosen[index]])
        numbers: Floats = self._categories.as_numbers(rows.reshape(-1, rows.shape[-1])).reshape(rows.shape)
        return numbers

    def __len__(self) -> int:
        return len(self._chosen)


class FitRows(NamedTuple):
    """Rows to train on or to watch: a matrix, possibly memory-mapped, the indices of the rows, and a label for each.

    The matrix is read in blocks. A label is 0 or 1, or what another objective than `binary` learns, such as a teacher's
    score. `categories` are the columns whose numbers are learned in place of codes, by splits that name sets of them.
    """

    matrix: Floats
    chosen: NDArray[np.int64]
    labels: NDArray[np.int8] | Floats
    categories: Categories = NO_CATEGORIES

    def dataset(self, parameters: Mapping[str, Any], **more: Any) -> lightgbm.Dataset:  # noqa: ANN401 - of LightGBM
        """Return the rows as LightGBM reads them."""
        rows = _Rows(self.matrix, self.chosen, self.categories)
        columns = [column.at for column in self.categories.columns]
        used = dict(parameters)
        return lightgbm.Dataset(
            rows, label=self.labels, params=used, categorical_feature=columns, free_raw_data=True, **more
        )


class Watch(NamedTuple):
    """Rows that are watched while trees grow; `measure` rates their scores, the more the better.

    Training ends once the measure has not risen for `patience` trees.
    """

    rows: FitRows
    measure: Callable[[Floats], float]
    patience: int


class FittedTrees(NamedTuple):
    """LightGBM's text of the trees, how many there are, and the watched measure with them, NaN without one."""

    text: str
    trees: int
    measure: float = math.nan


class _BestTree:
    """Remembers with how many trees the watched measure was highest, the first of equals, and ends the training."""

    def __init__(self, watch: Watch) -> None:
        self.trees, self.measure = 0, -math.inf
        self._patience = watch.patience
        self._rate = watch.measure

    def evaluate(self, scores: Floats, _rows: lightgbm.Dataset) -> tuple[str, float, bool]:
        """Rate scores, in the form in which LightGBM asks for it."""
        return "watched", self._rate(np.asarray(scores, np.float64)), True

    def __call__(self, state: lightgbm.callback.CallbackEnv) -> None:
        """Look at the measure after a tree."""
        measure = (state.evaluation_result_list or [])[0][2]
        if measure > self.measure:
            self.trees, self.measure = state.iteration + 1, float(measure)
        elif state.iteration + 1 - self.trees >= self._patience:
            raise lightgbm.callback.EarlyStopException(self.trees - 1, [])


def fit(
    rows: FitRows,
    feature_names: Sequence[str],
    parameters: Mapping[str, Any],
    on_tree: Callable[[int], None],
    watch: Watch | None = None,
) -> FittedTrees:
    """Train trees; the same input gives the same text for any number of threads.

    Args:
        rows: what to train on.
        feature_names: the columns' names.
        parameters: LightGBM's parameters, including `num_iterations`.
        on_tree: called with the number of trees trained so far.
        watch: keeps the trees up to the best by a measure on other rows; without it all trees are kept.
    """
    dataset = rows.dataset(parameters, feature_name=list(feature_names))
    callback: Callable[[lightgbm.callback.CallbackEnv], None] = lambda state: on_tree(state.iteration + 1)  # noqa: E731
    if watch is None:
        trees = lightgbm.train(dict(parameters), dataset, callbacks=[callback])
        return FittedTrees(text_of(trees), trees.current_iteration())
    best = _BestTree(watch)
    trees = lightgbm.train(
        {**parameters, "metric": "none"},
        dataset,
        valid_sets=[watch.rows.dataset(parameters, reference=dataset)],
        feval=best.evaluate,
        callbacks=[callback, best],
    )
    return FittedTrees(text_of(trees, best.trees), best.trees, best.measure)


def text_of(trees: lightgbm.Booster, most: int = -1) -> str:
    """Return the text of a model's trees alone, of the first `most` of them.

    LightGBM appends feature importances and all parameters, including the number of threads, and repeats monotone
    constraints among the header. They do not affect scores, so they must not affect the digest; nor do the ranges of
    features, which are values of single payments.
    """
    text, end, _ = trees.model_to_string(num_iteration=most).partition("\nend of trees\n")
    head, separator, rest = text.partition("\n\n")
    kept = "\n".join(line for line in head.split("\n") if not line.startswith("monotone_constraints="))
    return without_ranges(f"{kept}{separator}{rest}{end}")


def edge_rows(forest: Forest, count: int, random: np.random.Generator) -> Floats:
    """Return rows of shape (count, width): thresholds, categories, their neighbours, and special values.

    The first rows are NaN, 0 and the infinities throughout.
    """
    rows = random.choice(SPECIAL, (count, forest.width))
    for place, thresholds in forest.thresholds():
        with np.errstate(over="ignore", under="ignore"):
            above, below = np.nextafter(thresholds, np.inf), np.nextafter(thresholds, -np.inf)
        rows[:, place] = random.choice(np.concatenate((thresholds, above, below, SPECIAL)), count)
    for place, categories in forest.categories():
        near = np.concatenate((categories - 1, categories + 1, categories + 0.5, -categories, categories + 2.0**32))
        rows[:, place] = random.choice(np.concatenate((categories, categories, near, _NO_CATEGORIES, SPECIAL)), count)
    whole = np.array([np.nan, 0.0, np.inf, -np.inf])[:count]
    rows[: len(whole)] = whole[:, np.newaxis]
    return rows


def agrees(forest: Forest, margins: Callable[[Floats], Floats]) -> bool:
    """Tell whether the kernel's margins have the bits of LightGBM's on edge rows, in large batches and small ones."""
    rows = edge_rows(forest, ROWS, np.random.default_rng(_SEED))
    expected = margins(rows)
    small = [forest.margins(rows[at : at + LANES - 1]) for at in range(0, ROWS, LANES - 1)]
    return same_bits(forest.margins(rows), expected) and same_bits(np.concatenate(small), expected)
