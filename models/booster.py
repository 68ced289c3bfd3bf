"""The door to LightGBM: rows in, trees out; trees in, raw margins out.

One thread a call: a worker's parallelism is its partitions, and at these batch sizes LightGBM's threads cost more
than they bring. `Booster.predict` is used at all sizes: its single-row interface saves 14 of 16 us on a lone row, for
private handles whose life would have to be managed here. Nothing here knows a probability.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from models.errors import DamagedArtifactError, ScoringError
from models.model_text import check_model_text
from models.policy import Floats

_MATRIX = 2
lightgbm.register_logger(logging.getLogger("fraudstream.lightgbm"))  # else it prints to standard output


class Booster:
    """A loaded model. Safe to call from several threads."""

    def __init__(self, text: str, feature_names: tuple[str, ...]) -> None:
        """Load a model from LightGBM's text.

        Raises:
            DamagedArtifactError: it is no model of these features.
        """
        check_model_text(text, feature_names)
        try:
            self._trees = lightgbm.Booster(model_str=text)
        except lightgbm.basic.LightGBMError as error:
            raise DamagedArtifactError(f"model.txt: {error}") from error
        self.width = len(feature_names)

    def margins(self, matrix: Floats) -> Floats:
        """Return the raw margin of each row of a float64 matrix of shape (n, width); NaN is a missing value.

        A row's margin is the same, to the bit, whatever rows are with it.

        Raises:
            ScoringError: the matrix has another shape, or LightGBM refuses it.
        """
        if matrix.ndim != _MATRIX or matrix.shape[1] != self.width:
            raise ScoringError(f"a matrix of shape {matrix.shape} was given to a model of {self.width} features")
        if not len(matrix):
            return np.empty(0)
        try:
            margins = self._trees.predict(matrix, raw_score=True, num_threads=1)
        except lightgbm.basic.LightGBMError as error:
            raise ScoringError(f"LightGBM refused {len(matrix)} rows: {error}") from error
        return np.asarray(margins, dtype=np.float64)


class _Rows(lightgbm.Sequence):
    """Rows that stay where they are, in a file mapped to memory, until LightGBM has binned them."""

    batch_size = 8_192

    def __init__(self, matrix: Floats, chosen: NDArray[np.int64]) -> None:
        self._matrix = matrix
        self._chosen = chosen

    def __getitem__(self, index: int | slice | list[int]) -> Floats:
        return np.asarray(self._matrix[self._chosen[index]])

    def __len__(self) -> int:
        return len(self._chosen)


def fit(
    rows: tuple[Floats, NDArray[np.int64]],
    frauds: NDArray[np.int8],
    feature_names: Sequence[str],
    parameters: Mapping[str, Any],
    on_tree: Callable[[int], None],
) -> str:
    """Grow trees and return their text; the same input gives the same text, whatever the number of threads.

    Args:
        rows: a matrix that may lie in a mapped file, and which of its rows to use; they are read in blocks.
        frauds: 0 or 1 for each row that is used.
        feature_names: the columns' names.
        parameters: LightGBM's, `num_iterations` among them.
        on_tree: told how many trees have been grown.
    """
    dataset = lightgbm.Dataset(
        _Rows(*rows), label=frauds, feature_name=list(feature_names), params=dict(parameters), free_raw_data=True
    )
    callback: Callable[[lightgbm.callback.CallbackEnv], None] = lambda state: on_tree(state.iteration + 1)  # noqa: E731
    return text_of(lightgbm.train(dict(parameters), dataset, callbacks=[callback]))


def text_of(trees: lightgbm.Booster) -> str:
    """Return the text of a model's trees, and nothing else.

    LightGBM appends importances and all parameters, the number of threads among them: the digest must not depend on
    what makes no score.
    """
    text, end, _ = trees.model_to_string(num_iteration=-1).partition("\nend of trees\n")
    return f"{text}{end}"
