"""The published feature table of the Fraud Detection Handbook, recomputed from seven weeks of its transactions.

The data is not part of the project; without it the test is skipped.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.declaration import DAY_MS, FeatureSet
from features.default_set import FEATURES
from features.history.store import Label, Transactions
from features.memory_store import MemoryStore
from features.vector.vectorise import vectorise
from support.handbook import PUBLISHED
from support.paths import HANDBOOK

FEATURES_FILE = HANDBOOK / "features-2018-07-18_2018-07-31.parquet"
TRANSACTIONS_FILE = HANDBOOK / "transactions-2018-04-01_2018-07-31.parquet"
FIRST_PUBLISHED_MS = 1_531_872_000_000  # 2018-07-18
WARM_UP_MS = 38 * DAY_MS
BATCH = 1000
PRINTED = 1e-9
"""The published means are rolling float sums, whose errors show from the eleventh decimal on."""
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not FEATURES_FILE.exists(), reason="the handbook's tables do not lie beside this checkout"),
]


def read(path: Path) -> dict[str, Any]:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(path)
    return {name: table[name].to_numpy() for name in table.column_names}


def batch_of(stream: dict[str, Any], part: slice) -> Transactions:
    ids = stream["TRANSACTION_ID"][part]
    zeros = np.zeros(len(ids), np.int64)
    return Transactions(
        transaction_ids=ids.astype(str).tolist(),
        card_ids=stream["CUSTOMER_ID"][part].astype(str).tolist(),
        merchant_ids=stream["TERMINAL_ID"][part].astype(str).tolist(),
        occurred_ms=stream["ms"][part],
        utc_offset_minutes=zeros,
        amount_minor=np.rint(stream["TX_AMOUNT"][part] * 100).astype(np.int64),
        exponent=zeros + 2,
        content=ids.astype(np.uint64),
        partition=zeros,
        offset=ids,
        device_ids=[None] * len(ids),
        place=zeros,
        traits=zeros,
    )


def labels_of(stream: dict[str, Any]) -> list[Label]:
    """Return the frauds' labels, known seven days after their transaction, in that order."""
    frauds = np.flatnonzero(stream["TX_FRAUD"])
    named = [stream[name][frauds].tolist() for name in ("TRANSACTION_ID", "CUSTOMER_ID", "ms")]
    return [
        Label(
            str(tx),
            str(card),
            fraud=True,
            labelled_ms=ms + 7 * DAY_MS,
            reported_by="analyst",
            merchant_id=None,
            occurred_ms=None,
            partition=0,
            offset=i,
        )
        for i, (tx, card, ms) in enumerate(zip(*named, strict=True))
    ]


def recomputed(stream: dict[str, Any], feature_set: FeatureSet) -> np.ndarray:
    store, labels, vectors = MemoryStore(feature_set), labels_of(stream), []
    at = 0
    for start in range(0, len(stream["ms"]), BATCH):
        part = slice(start, start + BATCH)
        batch = batch_of(stream, part)
        newest_ms, known = int(batch.occurred_ms[-1]), at
        while known < len(labels) and labels[known].labelled_ms <= newest_ms:
            known += 1
        store.label_now(labels[at:known])
        at = known
        observed = store.observe_now(batch)
        if newest_ms >= FIRST_PUBLISHED_MS:
            vectors.append(vectorise(feature_set, batch, observed))
        else:
            vectors.append(np.full((len(batch), len(feature_set)), np.nan))
    return np.concatenate(vectors)


def test_the_published_feature_table_is_reproduced() -> None:
    stream, published = read(TRANSACTIONS_FILE), read(FEATURES_FILE)
    stream["ms"] = stream["TX_DATETIME"].astype("datetime64[ms]").astype(np.int64)
    needed = np.flatnonzero(stream["ms"] >= FIRST_PUBLISHED_MS - WARM_UP_MS)
    needed = needed[np.argsort(stream["TRANSACTION_ID"][needed])]
    stream = {name: column[needed] for name, column in stream.items()}
    feature_set = FeatureSet(tuple(row for row in FEATURES if row.name in PUBLISHED))
    ties = np.array((HANDBOOK / "tie-transaction-ids.txt").read_text().split(), np.int64)
    ids = published["TRANSACTION_ID"]
    rows = np.searchsorted(stream["TRANSACTION_ID"], ids)
    assert (stream["TRANSACTION_ID"][rows] == ids).all()
    ours = recomputed(stream, feature_set)[rows]
    compared = ~np.isin(ids, ties)
    assert compared.sum() > 134_000
    for column, name in enumerate(feature_set.names):
        off = np.abs(ours[compared, column] - published[PUBLISHED[name]][compared])
        assert not (off > PRINTED).any(), f"{name}: {(off > PRINTED).sum()} rows, off by up to {off.max()}"
        assert not np.isnan(off).any(), name
