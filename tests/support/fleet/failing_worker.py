"""A worker whose model of one seed gives no score for payments of one amount, as one that meets odd numbers would."""

import sys
from pathlib import Path

import numpy as np

from models.errors import ScoringError
from models.loading import Model
from models.policy import Floats

FAILING_SEED = 8
"""The version (see `payments.model_for_tests`) of the model that fails."""
FAILING_MINOR = 666
COMMAND = (sys.executable, str(Path(__file__).resolve()), "worker")

_score = Model.score


def _failing_score(model: Model, matrix: Floats) -> Floats:
    if model.version == str(FAILING_SEED) and len(model.manifest.feature_names) == matrix.shape[1]:
        own = matrix[:, model.manifest.feature_names.index("card_amount_to_mean_30d")]
        mean = matrix[:, model.manifest.feature_names.index("card_amount_mean_30d")]
        if np.isclose(own * mean, FAILING_MINOR / 100).any():
            raise ScoringError("a payment of this amount")
    return _score(model, matrix)


if __name__ == "__main__":
    from stream.cli.main import main

    Model.score = _failing_score  # type: ignore[method-assign]
    main()
