"""A worker whose model of one seed ends the process at one amount, as a crash in native code would."""

import os
import sys
from pathlib import Path

import numpy as np

from models.loading import Model
from models.policy import Floats

CRASHING_SEED = 9
"""The version (see `payments.model_for_tests`) of the model that crashes."""
CRASHING_AMOUNT = 6.66
COMMAND = (sys.executable, str(Path(__file__).resolve()), "worker")

_score = Model.score


def _crashing_score(model: Model, matrix: Floats) -> Floats:
    if model.version == str(CRASHING_SEED) and len(model.manifest.feature_names) == matrix.shape[1]:
        own = matrix[:, model.manifest.feature_names.index("card_amount_to_mean_30d")]
        mean = matrix[:, model.manifest.feature_names.index("card_amount_mean_30d")]
        if np.isclose(own * mean, CRASHING_AMOUNT).any():
            os._exit(139)
    return _score(model, matrix)


if __name__ == "__main__":
    from stream.cli.main import main

    Model.score = _crashing_score  # type: ignore[method-assign]
    main()
