"""A company's first file: 60,000 payments, 0.5 % fraud, chargebacks after 12 days, and labels for frauds alone."""

from pathlib import Path
from typing import Any

import pytest

from features.declaration import load
from fraudstream.lab.training.request import TrainingDataError, TrainingError, TrainingReport, TrainingRequest
from fraudstream.lab.training.run import train
from models.repository import Repository
from support.acceptance import sized
from support.first_file import first_file
from support.training_files import write

pytestmark = pytest.mark.full_size
ROWS = sized(9_000, 60_000)
FRAUD_SHARE = 300 / ROWS
"""In `make test` as many frauds among fewer payments."""


def trained(folder: Path, *, accept_weak: bool = False, **world: Any) -> tuple[TrainingReport, list[str]]:
    file = write(folder / "first.parquet", first_file(ROWS, fraud_share=FRAUD_SHARE, **world).columns)
    shares = {"review_share": 2 * FRAUD_SHARE, "decline_share": FRAUD_SHARE / 5}
    request = TrainingRequest(
        file=file, name="first", feature_set=load(None), trees=60, threads=1, accept_weak=accept_weak, **shares
    )
    told = list[str]()
    return train(request, Repository(str(folder / "models")), lambda *_: None, told.append), told


def test_chargebacks_alone_train_a_model_of_most_of_the_file_with_true_figures(tmp_path: Path) -> None:
    report, told = trained(tmp_path)
    assert told[0].startswith("no payment is labelled genuine, so one without a label counts as genuine when it is 1")
    assert told[1].startswith("split: taken: folds of time")
    assert report.maturity_days is not None
    assert 15 <= report.maturity_days <= 20
    assert report.fitted.rows > ROWS / 2
    assert report.fitted.frauds > ROWS * FRAUD_SHARE / 2
    assert report.metrics["fraud_rate"] == pytest.approx(FRAUD_SHARE, rel=0.6)
    assert report.metrics["auc"] > 0.8
    assert report.metrics["alert_rate"] < 6 * FRAUD_SHARE


def test_frauds_and_a_few_genuine_labels_are_refused_before_features_are_computed(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match="of the payments that are old enough have a label"):
        trained(tmp_path, labelled_share=0.02)
    assert not (tmp_path / "models").exists()


@pytest.mark.acceptance
def test_frauds_that_look_like_other_payments_make_no_model(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"not above chance|do not predict the labels"):
        trained(tmp_path, signal=False)
    assert not (tmp_path / "models").exists()
