"""Trees keep to what rows of features declare of the risk, if asked to."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.aggregates import Risk
from features.declaration import FeatureSet, load
from features.errors import DeclarationError
from features.rows import card, merchant, paned
from fraudstream.lab.training.request import TrainingRequest
from fraudstream.lab.training.run import build
from fraudstream.lab.training.split import split
from models.booster import Booster
from support.tables import learnable

RISING = FeatureSet(
    (
        card("count", "1h", risk="rises"),
        card("amount_sum", "1d", risk="rises"),
        card("merchants", "30d"),
        card("amount_max", "1d", risk="falls"),
    )
)
DATA = learnable(seed=4)
PARTS = split(DATA, 0)
REQUEST = TrainingRequest(
    file=Path("a.csv"), name="card", feature_set=RISING, trees=40, learning_rate=0.3, patience=0, threads=1
)


def booster(request: TrainingRequest) -> Booster:
    artifact = build(request, DATA, PARTS, lambda _stage, _done, _total: None).artifact
    return Booster(artifact.model_text, RISING.names)


FREE, BOUND = booster(REQUEST), booster(replace(REQUEST, monotone=True))


def steps(model: Booster, column: int, seed: int) -> np.ndarray:
    """Return how margins change when one column rises and the others stay as they are."""
    random = np.random.default_rng(seed)
    rows = np.repeat(DATA.matrix[random.integers(0, len(DATA.matrix), 1)], 60, axis=0)
    rows[:, column] = np.sort(random.normal(scale=2, size=60))
    return np.diff(model.margins(rows))


@given(st.integers(0, 10**6))
def test_the_margin_never_falls_where_the_risk_rises_and_never_rises_where_it_falls(seed: int) -> None:
    assert (steps(BOUND, 0, seed) >= 0).all()
    assert (steps(BOUND, 1, seed) >= 0).all()
    assert (steps(BOUND, 3, seed) <= 0).all()


def test_without_the_option_and_without_a_declaration_margins_go_both_ways() -> None:
    for model, column in ((FREE, 0), (FREE, 3), (BOUND, 2)):
        found = np.concatenate([steps(model, column, seed) for seed in range(50)])
        assert (found < 0).any()
        assert (found > 0).any()


def test_a_row_declares_the_risk_or_has_that_of_its_aggregate() -> None:
    share = merchant("fraud_share", "7d", delay="7d")
    assert (share.risk, card("count", "1d").risk) == (Risk.RISES, Risk.ANY)
    assert merchant("fraud_share", "7d", risk="any").risk is Risk.ANY
    assert paned(merchant("fraud_share", "1d", delay="7d", risk="falls"), "1h").risk is Risk.FALLS
    with pytest.raises(DeclarationError, match="its risk is 'rises', 'falls' or 'any', not 'up'"):
        card("count", "1d", risk="up")
    rising = [row.name for row in load(None).rows if row.risk is Risk.RISES]
    assert rising == [
        "merchant_fraud_share_delayed_1d",
        "merchant_fraud_share_delayed_7d",
        "merchant_fraud_share_delayed_30d",
        "card_speed_from_last_7d",
    ]


def test_a_declared_risk_changes_no_fingerprint() -> None:
    plain = FeatureSet(tuple(replace(row, risk=Risk.ANY) for row in RISING.rows))
    assert plain.fingerprint == RISING.fingerprint
