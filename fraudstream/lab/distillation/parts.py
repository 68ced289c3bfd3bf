"""The parts of a table that distillation uses, as training splits it."""

from typing import NamedTuple

import numpy as np

from features.declaration import FeatureSet
from features.history.store import Ints
from fraudstream.lab.training.request import DEFAULT_SIZES, SplitSizes
from fraudstream.lab.training.split import split
from fraudstream.lab.training.vectors import Table, reach_ms


class DistillationParts(NamedTuple):
    """Row numbers of three parts, each in order of time.

    Attributes:
        train: trees learn the teacher's scores of these.
        calibrate: their labels calibrate the student, and its thresholds are matched with the teacher's on them.
        held_back: everything is measured on these, and nothing is chosen by them.
    """

    train: Ints
    calibrate: Ints
    held_back: Ints


def parts_of(table: Table, feature_set: FeatureSet, sizes: SplitSizes = DEFAULT_SIZES) -> DistillationParts:
    """Split a table by time.

    Where training takes folds of time, the student learns what is before the second one, if there is one, and is
    calibrated on what follows: a student is trained once, so that no fold of it scores another.

    Raises:
        TrainingDataError: a part has too few frauds, or only frauds.
    """
    found = split(table, reach_ms(feature_set), sizes)
    if not found.folds:
        return DistillationParts(found.train, found.calibrate, found.test)
    later = found.folds[-2:]
    return DistillationParts(later[0].fit, np.concatenate([fold.scored for fold in later]), found.test)
