"""A worker with two models that cannot score payments of one amount, as models that meet odd numbers would.

One gives no score, the other one ends the process, as a crash in native code would.
"""

import os
import sys
from pathlib import Path

import numpy as np

from models.errors import ScoringError
from models.loading import Model
from models.policy import Floats

FAILING_SEED, CRASHING_SEED = 8, 9
"""The versions (see `payments.model_for_tests`) of the model that gives no score, and of the one that crashes."""
ODD_MINOR = 666
COMMAND = (sys.executable, str(Path(__file__).resolve()), "worker")

_score = Model.score


def _odd_score(model: Model, matrix: Floats) -> Floats:
    if model.version in (str(FAILING_SEED), str(CRASHING_SEED)) and _has_odd_amount(model, matrix):
        if model.version == str(CRASHING_SEED):
            os._exit(139)
        raise ScoringError("a payment of this amount")
    return _score(model, matrix)


def _has_odd_amount(model: Model, matrix: Floats) -> bool:
    names = model.manifest.feature_names
    if len(names) != matrix.shape[1]:
        return False
    own, mean = (matrix[:, names.index(name)] for name in ("card_amount_to_mean_30d", "card_amount_mean_30d"))
    return bool(np.isclose(own * mean, ODD_MINOR / 100).any())


if __name__ == "__main__":
    from fraudstream.cli.main import main

    Model.score = _odd_score  # type: ignore[method-assign]
    main()
