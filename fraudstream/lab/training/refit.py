"""Fits the model that is stored: again, to all that is known, once its trees' number and parameters are chosen.

The measured model knows what was known when its test began: with four months of payments that is half of them, and its
newest payment is weeks old on the day it is made. The stored one is made in the same way at the file's end: with the
same parameters and as many trees, of all labelled rows. Nothing is left on which it could be measured, so the figures
are those of the model before it. Its calibration and thresholds come from folds of time, which score payments that
their trees have not seen, by trees of nearly as many rows as it has.
"""

from typing import NamedTuple

import numpy as np

from features.history.store import Ints
from fraudstream.lab.training.assembly import Decisions, PartMargins, data_of, make_reference, margins
from fraudstream.lab.training.calibrators import choose_calibration
from fraudstream.lab.training.policy import fit_policy
from fraudstream.lab.training.request import TrainingRequest
from fraudstream.lab.training.split import Split, time_folds
from fraudstream.lab.training.trees import fold_margins
from fraudstream.lab.training.vectors import Table
from models.artifact import MeasuredModel, Parameter
from models.booster import Booster, FitRows, fit


class Refitted(NamedTuple):
    """The trees that are stored, how they decide, the rows that they were fitted to, and what was measured instead."""

    text: str
    decisions: Decisions
    rows: Ints
    measured: MeasuredModel


def refit(
    request: TrainingRequest, parameters: dict[str, Parameter], table: Table, parts: Split, before: Decisions
) -> Refitted | None:
    """Return the model that is fitted to all known rows; None where too few frauds come before others for folds.

    Args:
        request: what was asked for.
        parameters: LightGBM's, with the number of trees that was chosen.
        table: the rows.
        parts: their split.
        before: the measured model's decisions; metrics and expected volume stay those.

    Raises:
        UnusableModelError: the probability of fraud does not rise with the margin, or costs need a better calibration.
    """
    known, names = parts.before_test if parts.known is None else parts.known, request.feature_set.names
    folds = time_folds(table, known, parts.gaps_ms[0])
    if not folds:
        return None
    unseen = fold_margins(request, parameters, table, folds)
    calibration = choose_calibration(unseen.labelled_margins, table.fraud[unseen.labelled], request.calibration)
    chosen = fit_policy(request.policy, unseen.scored(table, calibration), request.shares)
    chosen = chosen._replace(volume=before.chosen.volume)
    rows = FitRows(table.matrix, known, table.fraud[known], table.categories)
    text = fit(rows, names, {**parameters, "num_threads": request.threads}, lambda _: None).text
    booster = Booster(text, names, table.categories)
    tested = parts.test
    decisions = Decisions(
        calibration,
        chosen,
        before.metrics,
        make_reference(booster, table, _with_young(booster, table, unseen), (calibration, chosen)),
    )
    days = request.maturity_days
    measured = MeasuredModel(training=data_of(table, parts.before_test, days), test=data_of(table, tested, days))
    return Refitted(text, decisions, known, measured)


def _with_young(booster: Booster, table: Table, unseen: PartMargins) -> PartMargins:
    """Return what folds score, and the payments after it, whose labels are not known, so that no trees have seen them.

    They are what live payments are compared with: scores of rows that trees were fitted to would be too sure.
    """
    last_ms = int(table.occurred_ms[unseen.rows[-1]])
    young = np.flatnonzero(table.decided & (table.occurred_ms > last_ms))
    if not len(young):
        return unseen
    rows = np.concatenate((unseen.rows, young))
    return PartMargins(rows, np.concatenate((unseen.margins, margins(booster, table, young))), unseen.labelled)
