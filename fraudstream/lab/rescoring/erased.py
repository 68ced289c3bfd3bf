"""Erased cards in a rescoring run: which records nothing sees, and which decisions saw them before.

Erasures are read to the end of the topic, also behind the range: what was decided before them is scored without the
records all the same.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from features.history.records import card_hash
from fraudstream.lab.dataset.database import connect_memory, quoted
from fraudstream.lab.rescoring.workdir import Workdir

CREATE_ERASURES = """CREATE TABLE erasures (partition BIGINT, "offset" BIGINT, card_id VARCHAR, erased_ms BIGINT)"""
_CREATE_ERASED = "CREATE TABLE erased AS SELECT card_id, max(erased_ms) AS erased_ms FROM erasures GROUP BY card_id"
IS_ERASED = """EXISTS (
    SELECT 1 FROM erased WHERE erased.card_id = {table}.card_id AND {table}.{time} <= erased.erased_ms
)"""
"""Whether a row of a table is about an erased card and not later than that, as SQL."""
# A decision that came before an erasure saw what that erases, unless an earlier erasure had erased it already.
_SAW_ERASED = """
CREATE TABLE saw_erased AS
WITH asked AS (
    SELECT decisions.partition, decisions."offset", decisions.card_id, scored_ms,
        any_value(erased.erased_ms) AS erased_ms,
        max(erasures.erased_ms) FILTER (
            erasures.partition = decisions.partition AND erasures."offset" < decisions."offset"
        ) AS before_ms
    FROM decisions JOIN erased USING (card_id) JOIN erasures USING (card_id)
    GROUP BY decisions.partition, decisions."offset", decisions.card_id, scored_ms
), later AS (
    SELECT * FROM asked WHERE before_ms IS NULL OR before_ms < erased_ms
)
SELECT DISTINCT later.partition, later."offset" FROM later JOIN transactions AS seen USING (card_id)
WHERE (seen.partition <> later.partition OR seen."offset" <= later."offset")
    AND seen.occurred_ms <= erased_ms AND (before_ms IS NULL OR seen.occurred_ms > before_ms)
{predictions}
"""
_SAW_PREDICTIONS = """
UNION
SELECT DISTINCT later.partition, later."offset" FROM later JOIN prediction_records AS seen USING (card_id)
WHERE seen.arrived_ms <= scored_ms
    AND seen.computed_ms <= erased_ms AND (before_ms IS NULL OR seen.computed_ms > before_ms)
"""
WITHOUT_ERASED = f"""
UPDATE prediction_log SET name = '', value = NULL, computed_ms = 0
WHERE {IS_ERASED.format(table="prediction_log", time="computed_ms")}
"""
"""Takes what it says from every erased prediction, so that it is there and nothing reads it."""


def find_erased(connection: Any, workdir: Workdir, *, predictions: bool) -> None:  # noqa: ANN401 - of a module without types
    """Create the tables `erased`, by card, and `saw_erased`, of decisions; write the first to a file."""
    connection.execute(_CREATE_ERASED)
    connection.execute(_SAW_ERASED.format(predictions=_SAW_PREDICTIONS if predictions else ""))
    connection.execute(f"COPY erased TO {quoted(workdir.erased)} (FORMAT parquet)")


def erased_cards(workdir: Workdir) -> Mapping[int, int]:
    """Return up to when each erased card is erased, by its hash."""
    if not workdir.erased.exists():
        return MappingProxyType({})
    with connect_memory(workdir.folder, workdir.memory_mb) as connection:
        found = connection.execute(f"SELECT card_id, erased_ms FROM read_parquet({quoted(workdir.erased)})").fetchall()
    return {card_hash(card_id): erased_ms for card_id, erased_ms in found}
