"""The door to LightGBM: trees in, raw margins out.

One thread a call: a worker's parallelism is its partitions, and at these batch sizes LightGBM's threads cost more
than they bring. `Booster.predict` is used at all sizes: its single-row interface saves 14 of 16 us on a lone row, for
private handles whose life would have to be managed here. Nothing here knows a probability.
"""

import logging

import lightgbm
import numpy as np

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
            self._trees = lightgbm.Booster(model_str=text, params={"verbosity": -1, "num_threads": 1})
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


def text_of(trees: lightgbm.Booster) -> str:
    """Return the text of a model's trees, and nothing else.

    LightGBM appends importances and all parameters, the number of threads among them: the digest must not depend on
    what makes no score.
    """
    text, end, _ = trees.model_to_string(num_iteration=-1).partition("\nend of trees\n")
    return f"{text}{end}"
