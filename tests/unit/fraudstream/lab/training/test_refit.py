"""The stored model is fitted again to all that is known, calibrated out of fold, and says of whom its figures are."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fraudstream.lab.training.request import SplitSizes, TrainingRequest
from fraudstream.lab.training.run import Built, build
from fraudstream.lab.training.seen import known_until_ms
from fraudstream.lab.training.split import Split, split, time_folds
from fraudstream.lab.training.trees import fold_margins
from fraudstream.lab.training.vectors import Table
from models.booster import Booster, FitRows, fit
from models.calibration import Calibrator
from models.repository import Repository
from models.times import stated_ms
from support.tables import FOUR, learnable

DAYS, PER_DAY = 120, 60
WORLD = learnable(days=2 * DAYS, per_day=PER_DAY)
"""The first half is trained on, the second is what comes."""


def first(rows: int) -> Table:
    columns = (getattr(WORLD, name)[:rows] for name in ("matrix", "occurred_ms", "labelled_ms", "fraud", "card"))
    return Table(*columns, WORLD.decided[:rows], WORLD.amount_minor[:rows], WORLD.currency[:rows], "0" * 64)


DATA = first(DAYS * PER_DAY)


@cache
def built(*, refit: bool, folds: bool = False) -> tuple[Built, Split]:
    data = first(45 * PER_DAY) if folds else DATA
    parts = split(data, 0, SplitSizes())
    request = replace(REQUEST, refit=refit)
    return build(request, data, parts, lambda _stage, _done, _total: None), parts


REQUEST = TrainingRequest(
    file=Path("a.csv"),
    name="card",
    feature_set=FOUR,
    trees=60,
    leaves=8,
    learning_rate=0.1,
    review_share=0.05,
    threads=1,
)


def test_the_stored_trees_are_fitted_to_all_labelled_rows_with_what_was_chosen_before() -> None:
    (before, parts), (after, _) = built(refit=False), built(refit=True)
    assert parts.known is not None
    manifest = after.artifact.manifest
    assert manifest.parameters == before.artifact.manifest.parameters
    rows = FitRows(DATA.matrix, parts.known, DATA.fraud[parts.known])
    assert after.artifact.model_text == fit(rows, FOUR.names, manifest.parameters, lambda _: None).text
    assert manifest.training is not None
    assert (manifest.training.rows, before.artifact.manifest.training.rows) == (  # type: ignore[union-attr]
        len(parts.known),
        len(parts.before_test),
    )
    assert len(parts.known) > 1.9 * len(parts.train)
    assert set(parts.test) < set(parts.known)


def test_the_figures_are_of_the_model_before_it_and_the_manifest_says_so() -> None:
    (before, parts), (after, _) = built(refit=False), built(refit=True)
    old, new = before.artifact.manifest, after.artifact.manifest
    assert new.metrics == old.metrics
    assert new.volume == old.volume
    assert (old.measured, after.measured) == (None, before.artifact.model_text)
    assert new.measured is not None
    assert new.measured.training == old.training
    assert (new.measured.test.rows, new.measured.test.frauds) == (len(parts.test), int(DATA.fraud[parts.test].sum()))


def test_nothing_before_the_end_of_the_stored_model_is_held_back(tmp_path: Path) -> None:
    after, parts = built(refit=True)
    assert parts.known is not None
    until = known_until_ms(after.artifact.manifest, Repository(str(tmp_path)))
    assert until == DATA.occurred_ms[parts.known[-1]]
    assert until >= stated_ms(after.artifact.manifest.measured.test.until)  # type: ignore[union-attr]


@pytest.mark.parametrize("folds", [False, True])
def test_probabilities_and_alerts_hold_on_what_comes(*, folds: bool) -> None:
    after, parts = built(refit=True, folds=folds)
    assert bool(parts.folds) is folds
    manifest, later = after.artifact.manifest, slice(DAYS * PER_DAY, None)
    margins = Booster(after.artifact.model_text, FOUR.names).margins(np.ascontiguousarray(WORLD.matrix[later]))
    scores = Calibrator.of(manifest.calibration).probabilities(margins)
    assert scores.mean() == pytest.approx(WORLD.fraud[later].mean(), rel=0.25)
    assert (scores >= manifest.policy.review_at).mean() == pytest.approx(0.05, rel=0.4)


def test_no_row_is_scored_by_trees_that_have_seen_it_or_what_follows() -> None:
    _, parts = built(refit=True, folds=True)
    data = first(45 * PER_DAY)
    before = fold_margins(REQUEST, {"objective": "binary", "num_iterations": 5, "verbosity": -1}, data, parts.folds)
    changed = replace(data, fraud=data.fraud.copy())
    last = parts.folds[-1].scored
    changed.fraud[last] = 1 - changed.fraud[last]
    after = fold_margins(REQUEST, {"objective": "binary", "num_iterations": 5, "verbosity": -1}, changed, parts.folds)
    assert (before.margins == after.margins).all()
    assert (np.diff(before.rows) > 0).all()
    assert set(np.concatenate([fold.scored for fold in parts.folds])) == set(before.labelled)


def test_the_reference_is_of_payments_that_no_trees_have_seen() -> None:
    after, parts = built(refit=True)
    reference: Any = after.artifact.manifest.reference
    assert reference is not None
    assert parts.known is not None
    folds = time_folds(DATA, parts.known, parts.gaps_ms[0])
    young = DATA.occurred_ms > DATA.occurred_ms[parts.known[-1]]
    assert reference.rows == sum(len(fold.scored) for fold in folds) + young.sum()
