"""Streams laid out as the tables that back-scoring works on, run through, and put together again."""

from pathlib import Path
from typing import Any

import numpy as np
from features_recount import Row
from features_streams import Stream

from features.declaration import FeatureSet
from features.store import Label
from stream.backscoring.ledgers import assemble
from stream.backscoring.pool import Pool
from stream.backscoring.run import run_passes
from stream.backscoring.sharding import part
from stream.backscoring.tasks import FATES
from stream.backscoring.workplace import Workplace
from stream.transactions_file.database import connect

PLACES = "card_key BIGINT, card_tie BIGINT, merchant_key BIGINT, merchant_tie BIGINT"
ROWS = f"""CREATE TABLE rows (number BIGINT, "row" BIGINT, transaction_id VARCHAR, card_id VARCHAR, merchant_id VARCHAR,
    occurred_ms BIGINT, utc_offset_minutes BIGINT, amount_minor BIGINT, exponent BIGINT, content UBIGINT,
    partition BIGINT, "offset" BIGINT, {PLACES})"""
LABELS = f"""CREATE TABLE labels (number BIGINT, transaction_id VARCHAR, card_id VARCHAR, fraud BOOLEAN,
    labelled_ms BIGINT, reported_by VARCHAR, merchant_id VARCHAR, occurred_ms BIGINT, partition BIGINT,
    "offset" BIGINT, {PLACES})"""
FIELDS = ("id", "card", "merchant", "ms", "utc_offset", "amount", "exponent", "content", "partition", "offset")


def without_redeliveries(stream: Stream) -> Stream:
    """Leave out what comes from an offset a second time: in a file, or on a topic that is read once, nothing does."""
    seen: set[object] = set()
    for part_of in stream.parts:
        if isinstance(part_of, list):
            part_of[:] = [row for row in part_of if row["offset"] not in seen and not seen.add(row["offset"])]
    stream.parts[:] = [one for one in stream.parts if one != []]
    return stream


def sequence(stream: Stream) -> list[Row | Label]:
    """Return transactions and labels one by one, in the order of the log."""
    return [one for part in stream.parts for one in (part if isinstance(part, list) else [part]) if one is not None]


def lay_out(stream: Stream, folder: Path, feature_set: FeatureSet, shards: int) -> Workplace:
    """Write the tables; the place in every log is the place in the stream."""
    rows, labels = [], []
    for at, one in enumerate(sequence(stream)):
        if isinstance(one, Label):
            labels.append((at, *one, at, 0, at, 0))
        else:
            rows.append((len(rows), len(rows), *(one[name] for name in FIELDS), at, 0, at, 0))
    place = Workplace(folder, feature_set, len(rows), len(rows), shards, 128)
    with connect(place.database, 1) as connection:
        for statement, table, values in ((ROWS, "rows", rows), (LABELS, "labels", labels)):
            connection.execute(statement)
            if values:
                connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values[0]))})", values)  # noqa: S608
        part(connection, place, "transaction_id")
    return place


def run_through(place: Workplace, threads: int = 1) -> tuple[list[Any], np.ndarray]:
    """Return fates and vectors of all rows."""
    with Pool(threads) as pool:
        run_passes(place, pool, lambda _stage, _done, _total: None)
    blocks = [assemble(place, block)[0] for block in range(place.blocks)]
    codes = place.fates()[: place.numbers]
    return [FATES[code] for code in codes.tolist()], np.concatenate([np.empty((0, len(place.feature_set))), *blocks])
