"""Loads predictions from storage, and what became of them, into tables: `prediction_records`, `prediction_outcomes`.

Positions say which predictions a decision saw: those with a lower position in its card's log of predictions under the
same history epoch, and all that were applied under an earlier one, since lost histories are repaired before decisions
count again. A prediction without an outcome may have been applied all the same, and so may one whose only outcome is of
a later epoch than the decision's: `prediction_doubts` has the decisions that such a prediction may explain.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from fraudstream_client.outputs import PredictionOutcome
from models.times import parse_time_ms
from stream.contract.codes import Rejection
from stream.id_rules import NO_SHAPES, IdRules
from stream.readers import UNREADABLE
from stream.recovery.replayed_input import ReplayedInput
from stream.scan import Record
from stream.scoring.decode import read_prediction_record

CREATE_RECORDS = """CREATE TABLE prediction_records (
    partition BIGINT, "offset" BIGINT, arrived_ms BIGINT, card_id VARCHAR, name VARCHAR, value DOUBLE,
    computed_ms BIGINT)"""
CREATE_OUTCOMES = """CREATE TABLE prediction_outcomes (
    partition BIGINT, "offset" BIGINT, log BIGINT, card_id VARCHAR, name VARCHAR, computed_ms BIGINT,
    published_ms BIGINT, history_epoch BIGINT, position BIGINT, status VARCHAR)"""
PLACES = """
CREATE TABLE prediction_places AS
WITH first AS (
    SELECT * FROM prediction_outcomes WHERE log = (SELECT max(log) FROM prediction_outcomes)
    QUALIFY row_number() OVER (
        PARTITION BY partition, "offset", card_id, name, computed_ms ORDER BY history_epoch, published_ms
    ) = 1
)
SELECT records.*, first.history_epoch, first.position
FROM prediction_records AS records LEFT JOIN first USING (partition, "offset", card_id, name, computed_ms)
WHERE coalesce(first.status, '') <> 'repeated'
"""
"""The offset alone does not tell which prediction an outcome answers: the topic may have been made anew."""
RANKS = """
CREATE TABLE prediction_ranks AS
SELECT history_epoch, position, dense_rank() OVER (ORDER BY history_epoch, position) AS rank FROM (
    SELECT history_epoch, position FROM prediction_places WHERE position IS NOT NULL
    UNION SELECT history_epoch, prediction_position FROM decisions WHERE prediction_position IS NOT NULL
)
"""
EVENTS_BY_POSITION = """
CREATE VIEW prediction_events AS
SELECT places.* EXCLUDE (history_epoch, position), 2 * rank + 1 AS moment
FROM prediction_places AS places LEFT JOIN prediction_ranks USING (history_epoch, position)
"""
ASKED_BY_POSITION = """
CREATE VIEW prediction_asked AS
SELECT wanted."row", decisions.card_id, decisions.occurred_ms, 2 * rank AS moment
FROM wanted JOIN decisions USING (partition, "offset")
LEFT JOIN prediction_ranks AS ranks
    ON decisions.history_epoch = ranks.history_epoch AND decisions.prediction_position = ranks.position
"""
"""A decision at a position saw the records before it: an odd moment comes before the even one of a higher rank."""
EVENTS_BY_TIME = """
CREATE VIEW prediction_events AS SELECT *, arrived_ms AS moment FROM prediction_records
"""
ASKED_BY_TIME = """
CREATE VIEW prediction_asked AS SELECT "row", card_id, occurred_ms, timestamp_ms AS moment FROM rows WHERE "row" >= 0
"""
DOUBTS = """
CREATE TABLE prediction_doubts AS
SELECT wanted."row", bool_or(places.position IS NULL) AS prediction_unanswered,
    bool_or(coalesce(places.history_epoch > decisions.history_epoch, false)) AS prediction_answered_later
FROM wanted JOIN decisions USING (partition, "offset")
JOIN prediction_places AS places ON places.card_id = decisions.card_id
    AND places.arrived_ms <= decisions.scored_ms + {clocks_apart_ms}
    AND (places.position IS NULL OR places.history_epoch > decisions.history_epoch)
GROUP BY ALL
"""
DOUBT_COLUMNS = (
    "coalesce(doubts.prediction_unanswered, false) AS prediction_unanswered, "
    "coalesce(doubts.prediction_answered_later, false) AS prediction_answered_later, "
    "{floor_ms} AS prediction_floor_ms,"
)
DOUBT_JOIN = 'LEFT JOIN prediction_doubts AS doubts ON doubts."row" = wanted."row"'
_decode = msgspec.json.Decoder(PredictionOutcome).decode


class PredictionTables:
    """Fills the tables `prediction_records` and `prediction_outcomes` of a database.

    With `card_id`, only that card's predictions are kept. `skew_ms` is how far `computed_at` may be ahead of a record's
    timestamp.

    Attributes:
        unreadable: how many records of the topic are no valid predictions.
        floor_ms: predictions that came before this time were not read; None: all were.
    """

    def __init__(
        self,
        connection: Any,  # noqa: ANN401 - of a module without types
        deployment: str,
        skew_ms: int,
        card_id: str | None,
        ids: IdRules = NO_SHAPES,
    ) -> None:
        self._ids = ids
        self._connection = connection
        self._deployment = deployment
        self._skew_ms = skew_ms
        self._card_id = card_id
        self.unreadable = 0
        self.floor_ms: int | None = None
        self._replayed: ReplayedInput | None = None
        for statement in (CREATE_RECORDS, CREATE_OUTCOMES):
            connection.execute(statement)

    def go_by(self, replayed: ReplayedInput) -> None:
        """Leave out records that were refused when they were first read, and take those that were accepted then."""
        self._replayed = replayed

    def log(self, topic: str) -> int:
        """Return the number of a topic's log: above 0, histories may hold what an earlier log had."""
        return 0 if self._replayed is None else self._replayed.log(topic)

    def records(self, records: Sequence[Record]) -> None:
        """Insert records of the predictions topic."""
        replayed = self._replayed
        kept = records if replayed is None else [one for one in records if not replayed.is_left_out(one)]
        read = [
            read_prediction_record(
                one, self._skew_ms, ids=self._ids, accepted=replayed is not None and replayed.is_accepted(one)
            )
            for one in kept
        ]
        found = [one.prediction for one in read if not isinstance(one, Rejection)]
        self.unreadable += len(read) - len(found)
        found = [one for one in found if self._card_id in {None, one.card_id}]
        values = np.array([np.nan if one.value is None else one.value for one in found], np.float64)
        is_absent = np.isnan(values)
        self._insert(
            "prediction_records",
            {
                "partition": np.array([one.partition for one in found], np.int64),
                "offset": np.array([one.offset for one in found], np.int64),
                "arrived_ms": np.array([one.arrived_ms for one in found], np.int64),
                "card_id": np.array([one.card_id for one in found], object),
                "name": np.array([one.name for one in found], object),
                "value": np.ma.masked_array(values, is_absent) if is_absent.any() else values,
                "computed_ms": np.array([one.computed_ms for one in found], np.int64),
            },
        )

    def outcomes(self, records: Sequence[Record]) -> list[Record]:
        """Insert the deployment's outcomes of predictions among these; return the records that are none."""
        others, found = [], list[tuple[int, PredictionOutcome]]()
        for record in records:
            try:
                outcome = _decode(record.value or b"")
            except UNREADABLE:
                others.append(record)
                continue
            if outcome.deployment == self._deployment and self._card_id in {None, outcome.card_id}:
                found.append((record.timestamp, outcome))
        outcomes = [outcome for _, outcome in found]
        self._insert(
            "prediction_outcomes",
            {
                "partition": np.array([one.source.partition for one in outcomes], np.int64),
                "offset": np.array([one.source.offset for one in outcomes], np.int64),
                "log": np.array([one.source.log for one in outcomes], np.int64),
                "card_id": np.array([one.card_id for one in outcomes], object),
                "name": np.array([one.name for one in outcomes], object),
                "computed_ms": np.array([parse_time_ms(one.computed_at).epoch_ms for one in outcomes], np.int64),
                "published_ms": np.array([published_ms for published_ms, _ in found], np.int64),
                "history_epoch": np.array([one.positions.history_epoch for one in outcomes], np.int64),
                "position": np.array([one.positions.prediction for one in outcomes], np.int64),
                "status": np.array([one.status.value for one in outcomes], object),
            },
        )
        return others

    def order_by_time(self) -> None:
        """Let each transaction see what had come by its record's timestamp: without decisions, nothing tells more."""
        for statement in (EVENTS_BY_TIME, ASKED_BY_TIME):
            self._connection.execute(statement)

    def order_by_position(self, clocks_apart_ms: int) -> None:
        """Let each decision see what its position says; the clocks of two workers may differ by `clocks_apart_ms`."""
        doubts = DOUBTS.format(clocks_apart_ms=clocks_apart_ms)
        for statement in (PLACES, RANKS, EVENTS_BY_POSITION, ASKED_BY_POSITION, doubts):
            self._connection.execute(statement)

    @property
    def base_columns(self) -> tuple[str, str]:
        """Columns of the base of a comparison, as SQL, and the join that they need."""
        floor = "NULL" if self.floor_ms is None else str(self.floor_ms)
        return DOUBT_COLUMNS.format(floor_ms=f"CAST({floor} AS BIGINT)"), DOUBT_JOIN

    def _insert(self, table: str, columns: dict[str, Any]) -> None:
        if len(columns["partition"]):
            self._connection.register("batch", columns)
            self._connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM batch")
            self._connection.unregister("batch")
