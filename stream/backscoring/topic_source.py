"""The tables of the spool as the tables that back-scoring works on: which rows are meant, and what is said of them.

Nothing here reads a topic.
"""

from typing import Any

from features.history.store import Entity
from stream.backscoring.gathering import Gathered
from stream.backscoring.sharding import FORMAT
from stream.backscoring.workplace import Workplace
from stream.transactions_file.database import quoted

RANGES = 'CREATE TABLE ranges (partition BIGINT, "first" BIGINT, behind BIGINT, start BIGINT, floor_ms BIGINT)'
WANTED_TRANSACTIONS = """
CREATE TABLE wanted AS SELECT row_number() OVER (ORDER BY partition, "offset") - 1 AS row, partition, "offset"
FROM placed JOIN ranges USING (partition) WHERE "offset" >= "first" AND "offset" < behind
"""
# Where no beginning was asked for, decisions count whose transaction may still be there.
WANTED_DECISIONS = """
CREATE TABLE wanted AS SELECT row_number() OVER (ORDER BY partition, "offset") - 1 AS row, partition, "offset"
FROM decided JOIN ranges USING (partition)
WHERE {place} >= "first" AND {place} < behind AND ({is_begun} OR "offset" >= start)
"""
ROWS = """
CREATE VIEW rows AS SELECT placed.*, coalesce(wanted.row, -1) AS row
FROM placed LEFT JOIN wanted USING (partition, "offset")
"""
BASE = """
CREATE VIEW base AS SELECT row, number, partition, "offset", transaction_id, card_id, merchant_id,
    make_timestamptz(occurred_ms * 1000) AS occurred_at, amount_minor, currency
FROM rows WHERE row >= 0
"""
COMPARED_BASE = """
CREATE VIEW base AS
SELECT wanted.row, coalesce(placed.number, -1) AS number, wanted.partition, wanted."offset", decided.transaction_id,
    decided.card_id, decided.merchant_id, placed.device_id, decided.occurred_ms,
    make_timestamptz(decided.occurred_ms * 1000) AS occurred_at, decided.amount_minor, decided.currency,
    decided.decided_by, decided.digest, decided.fingerprint, decided.incomplete, decided.features, decided.is_vector,
    decided.score AS recorded_score, decided.band AS recorded_band, decided.decision AS recorded_decision,
    decided.history_epoch, decided.card_position, decided.merchant_position, decided.device_position,
    placed.is_later_epoch,
    ranges.floor_ms AS card_floor_ms, (SELECT max(floor_ms) FROM ranges) AS other_floor_ms,
    placed.number IS NULL AND wanted."offset" < ranges.start AS is_deleted
FROM wanted JOIN decided USING (partition, "offset") JOIN ranges USING (partition)
LEFT JOIN placed USING (partition, "offset")
"""


def select(connection: Any, gathered: Gathered, *, is_begun: bool) -> tuple[int, int]:  # noqa: ANN401 - a connection of a module without types
    """Choose the rows that are meant, and return how many transactions there are, and how many rows."""
    connection.execute(RANGES)
    for partition, start in gathered.starts.items():
        first, behind = gathered.wanted.get(partition, (0, 0))
        line = [partition, first, behind, start, gathered.floors_ms[partition]]
        connection.execute("INSERT INTO ranges VALUES (?, ?, ?, ?, ?)", line)
    if gathered.decisions:
        place = "score_offset" if gathered.by_score else '"offset"'
        connection.execute(WANTED_DECISIONS.format(place=place, is_begun=str(is_begun)))
    else:
        connection.execute(WANTED_TRANSACTIONS)
    connection.execute(ROWS)
    counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0] for table in ("placed", "wanted")]
    return counts[0], counts[1]


def describe(connection: Any, place: Workplace, *, decisions: bool) -> None:  # noqa: ANN401 - likewise
    """Say what the output has of each row and, where decisions are compared, what nobody knows the place of."""
    if not decisions:
        connection.execute(BASE)
        return
    connection.execute(COMPARED_BASE)
    for kind in place.entities:
        # A card's own log is in the order of its partition, with or without histories.
        loose = f"{kind.value}_id IS NOT NULL AND (NOT is_decided OR {kind is not Entity.CARD} AND incomplete)"
        connection.execute(
            f"COPY (SELECT {kind.value}_id AS who, occurred_ms, number FROM placed WHERE {loose}) "
            f"TO {quoted(place.loose(kind))} ({FORMAT})"
        )


def is_repaired(connection: Any) -> bool:  # noqa: ANN401 - likewise
    """Tell whether some decisions were made under another history epoch than the first that is known."""
    return bool(connection.execute("SELECT coalesce(bool_or(is_later_epoch), false) FROM placed").fetchall()[0][0])


def list_unlike(connection: Any, place: Workplace) -> int:  # noqa: ANN401 - likewise
    """Write down the decisions of later history epochs in which something differs, by row, and return how many."""
    parts = ", ".join(quoted(place.part(block)) for block in range(place.blocks))
    connection.execute(
        f"COPY (SELECT base.row, base.fingerprint, base.features FROM {quoted(place.base)} AS base "
        f'JOIN read_parquet([{parts}]) AS told USING (partition, "offset") '
        f"WHERE told.differences IS NOT NULL AND base.is_vector AND base.is_later_epoch AND NOT base.incomplete "
        f"ORDER BY base.row) TO {quoted(place.unlike)} ({FORMAT})"
    )
    return int(connection.execute(f"SELECT count(*) FROM {quoted(place.unlike)}").fetchall()[0][0])
