"""The columns of stored predictions in a rescoring run: which predictions each row saw, and what it reads of them.

A row saw a beginning of its card's log of predictions. `write_predictions` takes two tables or views of a database:
`prediction_events`: `card_id`, `name`, `value`, `computed_ms`, `arrived_ms`, `partition`, `offset`, and `moment`, by
which each card's log is ordered; NULL: it is in no log.
`prediction_asked`: `row`, `card_id`, `occurred_ms` and `moment`: the row saw the events up to that moment, inclusive.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from features.history import records
from features.history.frames import Floats
from features.history.store import Entity, Ints
from features.vector.vectorise import PredictionReader
from fraudstream.lab.dataset.database import connect_memory, quoted
from fraudstream.lab.dataset.predictions_file import DEDUPLICATED, read_log
from fraudstream.lab.rescoring.erased import WITHOUT_ERASED
from fraudstream.lab.rescoring.history_pass import columns_of
from fraudstream.lab.rescoring.workdir import Workdir

MOST_RECORDS = 500_000
"""The most predictions (28 MB) that rows see together when they are vectorised, unless one sees more."""
_FORMAT = "FORMAT parquet, COMPRESSION lz4_raw"
_COUNTED = """
SELECT asked."row", asked.card_id, asked.occurred_ms, coalesce(came.nth, 0) AS count
FROM prediction_asked AS asked
ASOF LEFT JOIN (
    SELECT card_id, moment, max(nth) AS nth FROM (
        SELECT card_id, moment,
            row_number() OVER (PARTITION BY card_id ORDER BY moment, "offset", partition) AS nth
        FROM prediction_log
    ) GROUP BY ALL
) AS came ON asked.card_id = came.card_id AND asked.moment >= came.moment
ORDER BY asked."row"
"""
FILE_EVENTS = """
CREATE TEMP VIEW prediction_events AS SELECT card_id, name, value, computed_ms, arrived_ms, partition, "offset",
    arrived_ms AS moment
FROM stored.predictions
"""
FILE_ASKED = """
CREATE TEMP VIEW prediction_asked AS SELECT "row", card_id, occurred_ms, occurred_ms AS moment FROM rows
"""
"""A row of a file saw what had come by its own time."""


def reads_predictions(workdir: Workdir) -> bool:
    """Tell whether some feature of the run reads predictions."""
    return workdir.sets.has_predictions


def write_predictions(connection: Any, workdir: Workdir, *, erased: bool = False) -> None:  # noqa: ANN401 - a connection of a module without types
    """Write the predictions, and how many of its card's log each row saw, to files.

    With `erased`, the database has that table of erased cards: what is erased counts, and is not read.
    """
    source = "(SELECT * FROM prediction_events WHERE moment IS NOT NULL)"
    connection.execute(DEDUPLICATED.format(table="prediction_log", source=source))
    if erased:
        connection.execute(WITHOUT_ERASED)
    connection.execute(f"COPY prediction_log TO {quoted(workdir.predictions)} ({_FORMAT})")
    connection.execute(f"COPY ({_COUNTED}) TO {quoted(workdir.predictions_seen)} ({_FORMAT})")


def fill_predictions(workdir: Workdir, block: int, fingerprint: str, matrix: Floats) -> None:
    """Fill the columns of predictions in a matrix of a block's rows by one feature set."""
    feature_set = workdir.sets.by_fingerprint[fingerprint]
    columns = columns_of(feature_set, Entity.PREDICTION)
    if not len(columns):
        return
    start, end = workdir.span(block)
    with connect_memory(workdir.folder, workdir.memory_mb) as connection:
        connection.execute(
            f"CREATE TEMP TABLE asked AS SELECT * FROM read_parquet({quoted(workdir.predictions_seen)}) "
            f'WHERE "row" >= {start} AND "row" < {end}'
        )
        connection.execute(
            f"CREATE TEMP TABLE came AS SELECT * FROM read_parquet({quoted(workdir.predictions)}) "
            "SEMI JOIN asked USING (card_id)"
        )
        log = read_log(connection, "came")
        asked = connection.execute('SELECT * FROM asked ORDER BY "row"').fetchnumpy()
    cards = np.array(list(map(records.card_hash, asked["card_id"].tolist())), np.int64)
    at, own_ms, counts = (np.asarray(asked[name], np.int64) for name in ("row", "occurred_ms", "count"))
    for part in _parts(counts):
        seen = log.seen(cards[part], own_ms[part], counts[part], feature_set.schedules[Entity.PREDICTION])
        reader = PredictionReader(seen, own_ms[part])
        for column in columns.tolist():
            matrix[at[part] - start, column] = reader.values(feature_set.rows[column])


def _parts(counts: Ints) -> Iterator[slice]:
    """Split rows so that those of a part see at most MOST_RECORDS together, or are one row."""
    ends = np.cumsum(counts + 1)
    start = 0
    while start < len(counts):
        before = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + MOST_RECORDS, side="right")))
        yield slice(start, end)
        start = end
