"""A published feature table is computed from the stream, through Kafka, a worker and Redis, with labels.

The test takes a hundredth of the cards and merchants, with all their transactions since the longest window began;
`make acceptance` takes all 134,044 rows that can be compared, in about ten minutes.
"""

import math
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest

from fraudstream_client.outputs import Score
from support.acceptance import sized
from support.fleet.fleet import Fleet
from support.handbook import DAY_MS, LABEL_DELAY_MS, label, needs_handbook, rows, transaction
from support.paths import HANDBOOK

PART = sized(100, 1)
FIRST_PUBLISHED_MS = 1_531_872_000_000  # 2018-07-18
BEGIN_MS = FIRST_PUBLISHED_MS - 38 * DAY_MS
STRETCH_MS = 6 * DAY_MS
CARD = {
    **{f"card_count_{n}d": f"CUSTOMER_ID_NB_TX_{n}DAY_WINDOW" for n in (1, 7, 30)},
    **{f"card_amount_mean_{n}d": f"CUSTOMER_ID_AVG_AMOUNT_{n}DAY_WINDOW" for n in (1, 7, 30)},
    "is_weekend": "TX_DURING_WEEKEND",
    "is_night": "TX_DURING_NIGHT",
}
MERCHANT = {
    **{f"merchant_count_delayed_{n}d": f"TERMINAL_ID_NB_TX_{n}DAY_WINDOW" for n in (1, 7, 30)},
    **{f"merchant_fraud_share_delayed_{n}d": f"TERMINAL_ID_RISK_{n}DAY_WINDOW" for n in (1, 7, 30)},
}
PRINTED = 1e-9
"""The published means are rolling float sums, whose errors show from the eleventh decimal on."""


@needs_handbook
@pytest.mark.full_size
@pytest.mark.timeout(3600)
def test_the_stream_computes_the_published_feature_table(fleet: Fleet) -> None:
    stream = [row for row in rows(10_000, 2_000_000) if row["occurred_at"] >= BEGIN_MS]
    stream = [row for row in stream if ours(row, "card_id") or ours(row, "merchant_id")]
    fleet.go_live()
    decided = labelled = 0
    for stretch in stretches(stream):
        known_until = stretch[-1]["occurred_at"] - LABEL_DELAY_MS
        labels = [row for row in stream if row["fraud"] and row["occurred_at"] <= known_until][labelled:]
        fleet.publish((label(row) for row in labels), topic="labels")
        labelled += len(labels)
        fleet.await_outcomes(labelled)
        fleet.publish(transaction(row) for row in stretch)
        decided += len(stretch)
        fleet.await_records("scores", decided, seconds=60 + len(stretch) / 500)
    published, compared = table(), 0
    for score in fleet.scores()[0]:
        expected = published.get(score.transaction_id)
        for entity, columns in (("card_id", CARD), ("merchant_id", MERCHANT)):
            if expected is not None and ours(score, entity):
                assert differences(score, expected, columns) == []
                compared += len(columns)
    assert compared > (len(CARD) + len(MERCHANT)) * 134_000 / PART * 0.8


def ours(row: Any, entity: str) -> bool:
    """Tell whether all transactions of this card or merchant are sent."""
    name = row[entity] if isinstance(row, dict) else getattr(row, entity)
    return int(name.removeprefix("c-").removeprefix("m-")) % PART == 0


def stretches(stream: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Split a stream into stretches shorter than the label delay, so merchant features see only earlier stretches."""
    at = 0
    while at < len(stream):
        end = stream[at]["occurred_at"] + STRETCH_MS
        stretch = [row for row in stream[at:] if row["occurred_at"] < end]
        yield stretch
        at += len(stretch)


def table() -> dict[str, dict[str, Any]]:
    """Return the published rows without the ties, by transaction."""
    ties = set((HANDBOOK / "tie-transaction-ids.txt").read_text().split())
    found = pq.read_table(HANDBOOK / "features-2018-07-18_2018-07-31.parquet").to_pylist()
    return {f"h-{row['TRANSACTION_ID']}": row for row in found if str(row["TRANSACTION_ID"]) not in ties}


def differences(score: Score, expected: dict[str, Any], columns: dict[str, str]) -> list[tuple[str, str, Any, Any]]:
    features = score.features or {}
    return [
        (score.transaction_id, name, features[name], expected[column])
        for name, column in columns.items()
        if not math.isclose(features[name] or 0.0, expected[column], rel_tol=0.0, abs_tol=PRINTED)
    ]
