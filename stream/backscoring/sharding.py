"""Parts the transactions and labels of a database by a hash of their entity.

The database has a table or view `rows` with the columns of `transactions_of`, `number`, `row` (-1: not scored), and for
each entity `<entity>_key` and `<entity>_tie`: its place in that log, by key, tie, number. So has `labels`, with the
fields of `features.history.store.Label`; a label comes before the transactions that have its place or a later one. Its
place in another party's log is NULL where it follows its transaction at once. `base` has what the output says of each
`row` besides features and scores, and its `number`. Nothing here knows how places came about.
"""

from pathlib import Path
from typing import Any

from features.history.store import Entity
from stream.backscoring.workplace import Workplace
from stream.transactions_file.database import quoted

FORMAT = "FORMAT parquet, COMPRESSION lz4_raw"


def part(connection: Any, place: Workplace) -> None:  # noqa: ANN401 - a connection of a module without types
    """Write the shards of all entities, the labels of the cards' shards, and the base of the output."""
    for entity in place.entities:
        _part(connection, "rows", entity, place.shards, place.shard_folder(entity))
    _part(connection, "labels", Entity.CARD, place.shards, place.labels_folder())
    connection.execute(f"COPY (SELECT * FROM base ORDER BY row) TO {quoted(place.base)} ({FORMAT})")


def _part(connection: Any, table: str, entity: Entity, shards: int, folder: Path) -> None:  # noqa: ANN401 - likewise
    name = f"{entity.value}_id"
    connection.execute(
        f"COPY (SELECT *, hash({name}) % {shards} AS shard FROM {table} WHERE {name} IS NOT NULL) "
        f"TO {quoted(folder)} ({FORMAT}, PARTITION_BY (shard), OVERWRITE_OR_IGNORE)"
    )
