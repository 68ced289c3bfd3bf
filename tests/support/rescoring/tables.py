"""Streams written as the tables that rescoring reads, and the fates and vectors that its passes compute."""

from pathlib import Path
from typing import Any

import numpy as np

from features.declaration import FeatureSet
from features.history.store import Label
from features.vector.sets import FeatureSets
from fraudstream.lab.dataset.database import columns_of, connect
from fraudstream.lab.rescoring.shard_output import block_vectors
from fraudstream.lab.rescoring.shards import write_shards
from fraudstream.lab.rescoring.stages import TaskPool, run_passes
from fraudstream.lab.rescoring.tasks import FATES
from fraudstream.lab.rescoring.workdir import Workdir
from support.features.recount import Row, transactions
from support.features.streams import Stream

KINDS = ("card", "merchant", "device")
LABELS = f"""CREATE TABLE labels (number BIGINT, transaction_id VARCHAR, card_id VARCHAR, fraud BOOLEAN,
    labelled_ms BIGINT, reported_by VARCHAR, merchant_id VARCHAR, occurred_ms BIGINT, partition BIGINT,
    "offset" BIGINT, published_ms BIGINT, {", ".join(f"{kind}_key BIGINT, {kind}_tie BIGINT" for kind in KINDS)})"""


def without_redeliveries(stream: Stream) -> Stream:
    """Drop rows whose offset occurred before: a file, or a topic that is read once, has no redeliveries."""
    seen: set[object] = set()
    for part_of in stream.parts:
        if isinstance(part_of, list):
            part_of[:] = [row for row in part_of if row["offset"] not in seen and not seen.add(row["offset"])]
    stream.parts[:] = [one for one in stream.parts if one != []]
    return stream


def sequence(stream: Stream) -> list[Row | Label]:
    """Return transactions and labels one by one, in the order of the log."""
    return [one for part in stream.parts for one in (part if isinstance(part, list) else [part]) if one is not None]


def lay_out(stream: Stream, folder: Path, feature_set: FeatureSet, shards: int) -> Workdir:
    """Write the tables; the sort key in every log is the position in the stream."""
    numbered = list(enumerate(sequence(stream)))
    labels = [(at, *one, 0, *(at, 0) * len(KINDS)) for at, one in numbered if isinstance(one, Label)]
    rows = [(at, one) for at, one in numbered if not isinstance(one, Label)]
    columns = columns_of(transactions([row for _, row in rows]))
    columns |= {"number": np.arange(len(rows)), "row": np.arange(len(rows))}
    for kind in KINDS:
        columns |= {f"{kind}_key": np.array([at for at, _ in rows]), f"{kind}_tie": np.zeros(len(rows), np.int64)}
    place = Workdir(folder, FeatureSets((feature_set,)), len(rows), len(rows), shards, 128)
    with connect(place.database, 1) as connection:
        connection.register("columns", columns)
        texts = "CAST(device_id AS VARCHAR) AS device_id, CAST(content AS UBIGINT) AS content"
        connection.execute(f"CREATE TABLE rows AS SELECT * REPLACE ({texts}) FROM columns")  # noqa: S608
        connection.execute(LABELS)
        if labels:
            connection.executemany(f"INSERT INTO labels VALUES ({', '.join('?' * len(labels[0]))})", labels)  # noqa: S608
        connection.execute("CREATE VIEW base AS SELECT row, number FROM rows")
        write_shards(connection, place)
    return place


def run_through(place: Workdir, threads: int = 1) -> tuple[list[Any], np.ndarray]:
    """Run the passes, and return fates and vectors of all rows."""
    with TaskPool(threads) as pool:
        run_passes(place, pool, lambda _stage, _done, _total: None)
    (feature_set,) = place.sets.sets
    blocks = [block_vectors(place, block, feature_set.fingerprint) for block in range(place.blocks)]
    codes = place.fates()[: place.transactions]
    return [FATES[code] for code in codes.tolist()], np.concatenate([np.empty((0, len(feature_set))), *blocks])
