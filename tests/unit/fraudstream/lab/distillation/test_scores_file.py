"""A teacher's scores are found by the ids of their payments, also where CSV protects an id from spreadsheets."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fraudstream.lab.dataset.file import TransactionsFile
from fraudstream.lab.distillation.request import ScoresFileError
from fraudstream.lab.distillation.scores_file import FileScores, read_scores
from support.training_files import START_MS, write

IDS = ["-1", "=x", "plain", "'quoted"]


def matched(folder: Path, name: str, scores: dict[str, Any], wanted: tuple[int, ...] = (0, 1, 2, 3)) -> FileScores:
    """Read a transactions file of four payments, the last row the earliest, and scores of some of them."""
    payments: dict[str, Any] = {"transaction_id": IDS[::-1], "card_id": ["c"] * 4, "merchant_id": ["m"] * 4}
    payments |= {
        "occurred_at": [START_MS + 3 - at for at in range(4)],
        "amount_minor": [1] * 4,
        "currency": ["EUR"] * 4,
    }
    TransactionsFile(write(folder / "payments.parquet", payments), folder, 1).close()
    return read_scores(write(folder / name, scores), np.array(wanted), folder)


@pytest.mark.parametrize(("name", "ids"), [("s.parquet", IDS), ("s.csv", ["'-1", "'=x", "plain", "'quoted"])])
def test_scores_come_in_the_order_of_the_payments_that_need_one(tmp_path: Path, name: str, ids: list[str]) -> None:
    scores = {"transaction_id": ids, "score": [0.1, 0.2, None, 0.4], "decision": ["approve", "review", None, "decline"]}
    found = matched(tmp_path, name, scores, (3, 0, 1))
    assert found.scores.tolist() == [0.1, 0.2, 0.4]
    assert found.decisions is not None
    assert found.decisions.tolist() == ["approve", "review", "decline"]
    assert found.digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_payments_without_a_score_and_scores_without_a_payment_are_counted_together(tmp_path: Path) -> None:
    scores = {"transaction_id": ["-1", "=x", "other"], "score": [0.1, 0.2, 0.3]}
    with pytest.raises(ScoresFileError) as refused:
        matched(tmp_path, "s.parquet", scores)
    first, second, third = str(refused.value).splitlines()
    assert first.endswith("s.parquet: 2 payments of the transactions file have no score")
    assert second.endswith("s.parquet: 1 scores are of no payment of the transactions file")
    assert "has 3 scores for 4 payments that are to have one; score the transactions file itself" in third
