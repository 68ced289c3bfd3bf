"""TreeSHAP against Shapley values by their definition, and the check that contributions add up."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.booster import Booster, text_of
from models.errors import ScoringError
from models.loading import Contributions, Model, load_for_replay
from models.repository import Repository
from support.explanations.shapley import shapley_values
from support.model_artifacts import artifact, rows, train

NAMES = ("a", "b", "c", "d")
BOOSTER = train(NAMES, seed=3, trees=4)
TEXT = text_of(BOOSTER)
VALUES = st.one_of(st.just(float("nan")), st.sampled_from((0.0, -0.0, 1e300, -1e300)), st.floats(-3, 3))


@given(st.tuples(*[VALUES] * len(NAMES)))
def test_contributions_are_shapley_values_by_their_definition(row: tuple[float, ...]) -> None:
    found = Booster(TEXT, NAMES).contributions(np.array([row]))[0]
    base, expected = shapley_values(TEXT, row)
    assert found[-1] == pytest.approx(base, abs=1e-12)
    assert found[:-1] == pytest.approx(expected, abs=1e-12)


def test_a_rows_contributions_do_not_depend_on_the_other_rows() -> None:
    booster, matrix = Booster(TEXT, NAMES), rows(50, seed=9, width=len(NAMES))
    alone = np.concatenate([booster.contributions(matrix[[at]]) for at in range(len(matrix))])
    assert np.array_equal(booster.contributions(matrix), alone)


def test_no_rows_have_no_contributions_and_a_wrong_width_is_refused() -> None:
    booster = Booster(TEXT, NAMES)
    assert booster.contributions(np.empty((0, 4))).shape == (0, 5)
    assert booster.margins(np.empty((0, 4))).shape == (0,)
    with pytest.raises(ScoringError, match="has shape \\(2, 3\\), but the model has 4 features"):
        booster.contributions(np.zeros((2, 3)))


def test_a_gap_of_a_billionth_and_more_and_nan_are_not_exact() -> None:
    features = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, np.nan]])
    margins = np.array([3.5 + 0.9e-9, 3.5 + 1.1e-9, 3.5])
    found = Contributions(margins, np.zeros(3), np.full(3, 0.5), features).are_exact()
    assert found.tolist() == [True, False, False]


def test_a_loaded_model_gives_the_scores_that_it_decides_with_and_what_they_are_made_of(tmp_path: Path) -> None:
    repository = Repository(str(tmp_path))
    model = load_for_replay(repository, repository.put(artifact(NAMES)))
    assert isinstance(model, Model)
    matrix = rows(30, seed=5, width=len(NAMES))
    found = model.contributions(matrix)
    assert np.array_equal(found.scores, model.score(matrix))
    assert found.are_exact().all()
    assert found.features.shape == (30, 4)
    assert len(set(found.base.tolist())) == 1
