"""Loads records of the topics into tables: `transactions`, valid `decisions`, and `label_events` (labels as applied).

Decisions and labels are those of one deployment, whose histories are rescored: `scores` is folded as a whole, since
validity depends on every score, and its other valid decisions go to `elsewhere`. Records come in batches and are kept
in the database, not in memory. Records that cannot be read, or that do not count, are counted. A filter keeps only the
records of one decision's card, merchant and device; those are few, so one decision can be rescored within seconds.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from operator import not_
from typing import Any

import msgspec
import numpy as np

from features.history.store import Transactions
from features.vector.sets import FeatureSets
from fraudstream.lab.dataset.database import columns_of
from fraudstream.lab.dataset.own_columns import OwnColumns
from fraudstream.lab.rescoring.erased import CREATE_ERASURES
from fraudstream.lab.rescoring.prediction_tables import PredictionTables
from fraudstream_client.outputs import Outcome, Score
from fraudstream_client.validity import ValidScores
from models.decline_cap import DECLINE_CAP
from models.signing import KEY_HEADER
from models.times import parse_time_ms
from stream.contract.attributes import FieldRules
from stream.contract.codes import Rejection
from stream.id_rules import NO_SHAPES, IdRules
from stream.readers import UNREADABLE, is_of_prediction
from stream.recovery.replayed_input import ReplayedInput
from stream.scan import Record
from stream.scoring.decode import Decoded, decode, read_label_record
from stream.scoring.encode import HISTORY_INCOMPLETE, UNDECIDABLE

CREATE_TRANSACTIONS = """CREATE TABLE transactions (
    partition BIGINT, "offset" BIGINT, timestamp_ms BIGINT, transaction_id VARCHAR,
    card_id VARCHAR, merchant_id VARCHAR, device_id VARCHAR, occurred_ms BIGINT, utc_offset_minutes BIGINT,
    amount_minor BIGINT, exponent BIGINT, currency VARCHAR, content UBIGINT, place BIGINT, traits BIGINT,
    attributes VARCHAR, is_backfilled BOOLEAN)"""
CREATE_DECISIONS = """CREATE TABLE decisions (
    partition BIGINT, "offset" BIGINT, is_silent BOOLEAN, score_offset BIGINT, scored_ms BIGINT,
    transaction_id VARCHAR, card_id VARCHAR, merchant_id VARCHAR, occurred_ms BIGINT, amount_minor BIGINT,
    currency VARCHAR, history_epoch BIGINT, card_position BIGINT, merchant_position BIGINT, device_position BIGINT,
    prediction_position BIGINT,
    incomplete BOOLEAN, undecidable BOOLEAN, score DOUBLE, band BIGINT, decision VARCHAR, decided_by VARCHAR,
    overruled_by VARCHAR, softens_rule BOOLEAN, merchant_country VARCHAR,
    digest VARCHAR, fingerprint VARCHAR, degraded VARCHAR, features BLOB, is_vector BOOLEAN)"""
CREATE_REFUSED = """CREATE TABLE refused (partition BIGINT, "offset" BIGINT)"""
CREATE_ELSEWHERE = """CREATE TABLE elsewhere (
    partition BIGINT, "offset" BIGINT, scored_ms BIGINT, deployment VARCHAR)"""
CREATE_LABEL_EVENTS = """CREATE TABLE label_events (
    partition BIGINT, "offset" BIGINT, published_ms BIGINT, transaction_id VARCHAR,
    card_id VARCHAR, merchant_id VARCHAR, fraud BOOLEAN, labelled_ms BIGINT, reported_by VARCHAR, occurred_ms BIGINT,
    history_epoch BIGINT, card_position BIGINT, merchant_position BIGINT, device_position BIGINT)"""
# Around a hand-over a deployment may decide a transaction on both of its topics. Its record is appended once: at its
# own place in the history, the second decision sees what the first one saw. So the first one tells when it was applied.
FIRST_APPLIED = """
UPDATE decisions SET scored_ms = first.scored_ms
FROM (
    SELECT partition, "offset", history_epoch, min(scored_ms) AS scored_ms FROM decisions WHERE NOT incomplete
    GROUP BY ALL HAVING count(*) > 1
) AS first
WHERE decisions.partition = first.partition AND decisions."offset" = first."offset"
    AND decisions.history_epoch = first.history_epoch AND NOT decisions.incomplete
"""
LEAVE_OTHERS = """
DELETE FROM decisions WHERE rowid IN (
    SELECT id FROM (
        SELECT rowid AS id,
            row_number() OVER (PARTITION BY partition, "offset" ORDER BY is_silent, score_offset DESC) AS nth
        FROM decisions
    ) WHERE nth > 1
)
"""
SEVERAL_OF_ONE = "SELECT coalesce(bool_or(is_silent), false) FROM decisions"
POSITIONS = ("card", "merchant", "device")

Columns = dict[str, Any]
_decode_outcome = msgspec.json.Decoder(Outcome).decode
_encode = msgspec.json.Encoder().encode


class EntityFilter:
    """Selects the records of one decision's card, merchant and device."""

    def __init__(self, score: Score, device_id: str | None) -> None:
        self._card_id = score.card_id
        self._merchant_id = score.merchant_id
        self._device_id = device_id
        self._offsets: set[tuple[int, int]] = set()
        self._ids: set[tuple[str, str]] = set()

    @property
    def card_id(self) -> str:
        """The decision's card."""
        return self._card_id

    def transactions(self, batch: Transactions) -> list[int]:
        """Return which transactions of a batch are of these entities, and remember them."""
        found = [i for i in range(len(batch)) if self._matches(batch, i)]
        for i in found:
            self._offsets.add((int(batch.partition[i]), int(batch.offset[i])))
            self._ids.add((batch.card_ids[i], batch.transaction_ids[i]))
        return found

    def _matches(self, batch: Transactions, i: int) -> bool:
        device_id = batch.device_ids[i]
        same = batch.card_ids[i] == self._card_id or batch.merchant_ids[i] == self._merchant_id
        return same or (device_id is not None and device_id == self._device_id)

    def has_decision(self, partition: int, offset: int) -> bool:
        """Tell whether a decision is about one of the selected transactions."""
        return (partition, offset) in self._offsets

    def has_label(self, card_id: str, transaction_id: str) -> bool:
        """Tell whether a label is about this card or one of the selected transactions."""
        return card_id == self._card_id or (card_id, transaction_id) in self._ids


class TopicTables:
    """Fills the tables `transactions`, `decisions`, `elsewhere` and `label_events` of a database.

    Attributes:
        deployment: whose histories are rescored: of all decisions and outcomes, only its own are evidence of them.
        rejected: how many records are not valid transactions.
        other_logs: how many valid decisions are about transactions of a log that the topic had before it was made anew.
        unreadable: how many records are not valid outcomes or labels.
        answered_labels: by partition, the offset of the last label that has an outcome of the deployment.
        predictions: the tables of predictions from storage; None if no feature reads any.
    """

    def __init__(
        self,
        connection: Any,  # noqa: ANN401 - of a module without types
        sets: FeatureSets,
        skew_ms: int,
        deployment: str,
        entity_filter: EntityFilter | None = None,
        *,
        ids: IdRules = NO_SHAPES,
    ) -> None:
        self.deployment = deployment
        self._ids, self._own = ids, OwnColumns.of(sets)
        self._fields = FieldRules(sets.fields, sets.carried, ids)
        self._connection = connection
        self._entity_filter = entity_filter
        self._skew_ms = skew_ms
        self._names = {fingerprint: one.names for fingerprint, one in sets.by_fingerprint.items()}
        self.rejected = self.unreadable = self.other_logs = 0
        self._replayed: ReplayedInput | None = None
        self._published: ValidScores[Record] = ValidScores()
        self._silent: ValidScores[Record] = ValidScores()
        self.answered_labels: dict[int, int] = {}
        only = None if entity_filter is None else entity_filter.card_id
        self.predictions = (
            PredictionTables(connection, deployment, skew_ms, only, ids) if sets.has_predictions else None
        )
        for statement in (
            CREATE_TRANSACTIONS,
            CREATE_ERASURES,
            CREATE_REFUSED,
            CREATE_DECISIONS,
            CREATE_ELSEWHERE,
            CREATE_LABEL_EVENTS,
        ):
            connection.execute(statement)

    @property
    def void(self) -> int:
        """The void scores that were read, of whichever deployment."""
        return self._published.void + self._silent.void

    def go_by(self, replayed: ReplayedInput) -> None:
        """Leave out records that were refused when they were first read, and take those that were accepted then."""
        self._replayed = replayed
        if self.predictions is not None:
            self.predictions.go_by(replayed)

    def log(self, topic: str) -> int:
        """Return the number of a topic's log: above 0, histories may hold what an earlier log had."""
        return 0 if self._replayed is None else self._replayed.log(topic)

    def erasures(self, records: Sequence[Record]) -> None:
        """Insert the erasures among records of the transactions topic, and leave out the others."""
        signed = [record for record in records if any(name == KEY_HEADER for name, _ in record.headers)]
        replayed = self._replayed
        kept = [one for one in signed if replayed is None or not replayed.is_left_out(one)]
        self._insert_erasures(self._decoded(kept))

    def _decoded(self, records: Sequence[Record]) -> Decoded:
        """Decode records that were not refused; an erasure that no worker has judged yet counts, too."""
        is_accepted = None if self._replayed is None else self._replayed.is_accepted
        return decode(
            records,
            self._skew_ms,
            fields=self._fields,
            is_accepted=is_accepted,
            seal_problem=lambda _record: "",
        )

    def _insert_erasures(self, decoded: Decoded) -> None:
        which = np.flatnonzero(decoded.columns.erases or ())
        columns = decoded.columns
        found = {"partition": columns.partition[which], "offset": columns.offset[which]}
        found["erased_ms"] = columns.occurred_ms[which]
        self._insert("erasures", found | {"card_id": _texts(columns.card_ids[one] for one in which.tolist())})

    def transactions(self, records: Sequence[Record]) -> None:
        """Insert records of the transactions topic."""
        replayed = self._replayed
        was_refused = [replayed is not None and replayed.is_left_out(one) for one in records]
        refused, kept = list(compress(records, was_refused)), list(compress(records, map(not_, was_refused)))
        self.rejected += len(refused)
        places = {"partition": [one.partition for one in refused], "offset": [one.offset for one in refused]}
        self._insert("refused", _numbers(**places))
        decoded = self._decoded(kept)
        self.rejected += len(decoded.dead)
        if decoded.columns.erases is not None:
            self._insert_erasures(decoded)
            decoded = decoded.among(~np.array(decoded.columns.erases, np.bool_))
        columns = columns_of(decoded.columns)
        columns["timestamp_ms"] = np.array([record.timestamp for record in decoded.records], np.int64)
        columns["currency"] = _texts(one.transaction.currency for one in decoded.accepted)
        columns["attributes"] = _texts(self._own.texts_of(decoded.columns.own, len(decoded.records)))
        columns["is_backfilled"] = decoded.backfilled
        if self._entity_filter is not None:
            which = self._entity_filter.transactions(decoded.columns)
            columns = {name: values[which] for name, values in columns.items()}
        self._insert("transactions", columns)

    def scores(self, records: Sequence[Record]) -> None:
        """Insert the valid ones of records of the scores topic, which come in order for each partition.

        Those of other deployments go to `elsewhere`. `decision` is what the model said, before anything overruled it.
        """
        found = self._wanted(self._published, records)
        self._insert_decisions([one for one in found if one[1].deployment == self.deployment], is_silent=False)
        others = [score for _, score in found if score.deployment != self.deployment]
        columns = _numbers(
            partition=[score.source.partition for score in others],
            offset=[score.source.offset for score in others],
            scored_ms=[parse_time_ms(score.scored_at).epoch_ms for score in others],
        )
        columns["deployment"] = _texts(score.deployment for score in others)
        self._insert("elsewhere", columns)

    def silent_scores(self, records: Sequence[Record]) -> None:
        """Insert the valid ones of records of the deployment's own silent scores, in order for each partition."""
        found = self._wanted(self._silent, records)
        self._insert_decisions([one for one in found if one[1].deployment == self.deployment], is_silent=True)

    def keep_one_decision_each(self) -> None:
        """Keep one decision of each transaction, after all scores: the published one, if there is one.

        The record was appended to the histories once, so its `scored_ms` becomes that of the first decision.
        """
        if self._connection.execute(SEVERAL_OF_ONE).fetchall()[0][0]:
            self._connection.execute(FIRST_APPLIED)
            self._connection.execute(LEAVE_OTHERS)

    def others(self) -> list[str]:
        """Return the other deployments whose valid decisions were read."""
        found = self._connection.execute("SELECT DISTINCT deployment FROM elsewhere ORDER BY deployment").fetchall()
        return [name for (name,) in found]

    def _wanted(self, valid: ValidScores[Record], records: Sequence[Record]) -> list[tuple[Record, Score]]:
        """Return the valid scores about transactions of the log that is there, and that the filter selects."""
        entity_filter, scores = self._entity_filter, list(valid.of(records))
        found = [one for one in scores if one[1].source.log == self.log(one[1].source.topic)]
        self.other_logs += len(scores) - len(found)
        if entity_filter is None:
            return found
        return [one for one in found if entity_filter.has_decision(one[1].source.partition, one[1].source.offset)]

    def _insert_decisions(self, found: Sequence[tuple[Record, Score]], *, is_silent: bool) -> None:
        scores = [score for _, score in found]
        columns = _numbers(
            partition=[score.source.partition for score in scores],
            offset=[score.source.offset for score in scores],
            score_offset=[record.offset for record, _ in found],
            scored_ms=[parse_time_ms(score.scored_at).epoch_ms for score in scores],
            occurred_ms=[parse_time_ms(score.occurred_at).epoch_ms for score in scores],
            amount_minor=[score.amount_minor for score in scores],
            history_epoch=[score.positions.history_epoch for score in scores],
            prediction_position=[
                None if isinstance(score.positions.prediction, msgspec.UnsetType) else score.positions.prediction
                for score in scores
            ],
            band=[score.band for score in scores],
            **_positions(scores),
        )
        columns["is_silent"] = np.full(len(scores), is_silent)
        columns["incomplete"] = np.array([HISTORY_INCOMPLETE in score.degraded for score in scores], np.bool_)
        columns["undecidable"] = np.array([UNDECIDABLE in score.degraded for score in scores], np.bool_)
        columns["score"] = np.array([np.nan if score.score is None else score.score for score in scores], np.float64)
        for name in ("transaction_id", "card_id", "merchant_id", "currency", "decided_by", "fingerprint"):
            columns[name] = _texts(str(getattr(score, name)) for score in scores)
        columns["decision"] = _texts(str(score.said) for score in scores)
        columns["overruled_by"] = _texts(None if score.overruled is None else score.overruled.by for score in scores)
        columns["softens_rule"] = np.array([softens_rule(score) for score in scores], np.bool_)
        columns["merchant_country"] = _texts(score.merchant_country or None for score in scores)
        columns["digest"] = _texts(None if score.model is None else score.model.digest for score in scores)
        columns["degraded"] = _texts(",".join(score.degraded) for score in scores)
        columns["is_vector"] = np.array([self._is_known(score) for score in scores], np.bool_)
        columns["features"] = _texts(map(self._packed, scores))
        self._insert("decisions", columns)

    def _is_known(self, score: Score) -> bool:
        """Tell whether a score has the features of one of these feature sets."""
        names = self._names.get(score.fingerprint)
        return score.features is not None and names is not None and set(names) == set(score.features)

    def _packed(self, score: Score) -> bytes | None:
        """Encode recorded features: as a vector if they are those of a known feature set, else as JSON."""
        if score.features is None or not self._is_known(score):
            return None if score.features is None else _encode(score.features)
        return np.array([score.features[name] for name in self._names[score.fingerprint]], np.float64).tobytes()

    def outcomes(self, records: Sequence[Record]) -> None:
        """Insert the deployment's records of the outcomes topic: labels with their positions in its histories."""
        found = []
        for record in records if self.predictions is None else self.predictions.outcomes(records):
            try:
                outcome = _decode_outcome(record.value or b"")
            except UNREADABLE:
                self.unreadable += not is_of_prediction(record.value or b"")
                continue
            if outcome.deployment == self.deployment:
                found.append((record.timestamp, outcome))
        for _, outcome in found:
            source = outcome.source
            self.answered_labels[source.partition] = max(
                source.offset, self.answered_labels.get(source.partition, source.offset)
            )
        if self._entity_filter is not None:
            found = [one for one in found if self._entity_filter.has_label(one[1].card_id, one[1].transaction_id)]
        outcomes = [outcome for _, outcome in found]
        columns = _numbers(
            partition=[one.source.partition for one in outcomes],
            offset=[one.source.offset for one in outcomes],
            published_ms=[published_ms for published_ms, _ in found],
            labelled_ms=[parse_time_ms(one.labelled_at).epoch_ms for one in outcomes],
            occurred_ms=[
                None if one.occurred_at is None else parse_time_ms(one.occurred_at).epoch_ms for one in outcomes
            ],
            history_epoch=[one.positions.history_epoch for one in outcomes],
            **_positions(outcomes),
        )
        columns["fraud"] = np.array([one.fraud for one in outcomes], np.bool_)
        for name in ("transaction_id", "card_id", "merchant_id", "reported_by"):
            columns[name] = _texts(getattr(one, name) for one in outcomes)
        self._insert("label_events", columns)

    def labels(self, records: Sequence[Record]) -> None:
        """Insert records of the labels topic, which may not have been applied yet."""
        replayed = self._replayed
        kept = records if replayed is None else [one for one in records if not replayed.is_left_out(one)]
        read = [
            (one, read_label_record(one, ids=self._ids, accepted=replayed is not None and replayed.is_accepted(one)))
            for one in kept
        ]
        found = [(record.timestamp, one.label) for record, one in read if not isinstance(one, Rejection)]
        self.unreadable += len(read) - len(found)
        if self._entity_filter is not None:
            found = [one for one in found if self._entity_filter.has_label(one[1].card_id, one[1].transaction_id)]
        labels = [label for _, label in found]
        columns = _numbers(
            partition=[one.partition for one in labels],
            offset=[one.offset for one in labels],
            published_ms=[published_ms for published_ms, _ in found],
            labelled_ms=[one.labelled_ms for one in labels],
            occurred_ms=[one.occurred_ms for one in labels],
        )
        columns["fraud"] = np.array([one.fraud for one in labels], np.bool_)
        for name in ("transaction_id", "card_id", "merchant_id", "reported_by"):
            columns[name] = _texts(getattr(one, name) for one in labels)
        self._insert("label_events", columns)

    def _insert(self, table: str, columns: Columns) -> None:
        if len(columns["partition"]):
            self._connection.register("batch", columns)
            self._connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM batch")
            self._connection.unregister("batch")


def softens_rule(score: Score) -> bool:
    """Tell whether the cap on declines has made a review of what a rule had declined."""
    by_cap = score.overruled is not None and score.overruled.by == DECLINE_CAP
    return by_cap and score.ruled is not score.said


def _positions(events: Sequence[Score] | Sequence[Outcome]) -> Mapping[str, list[int | None]]:
    return {f"{kind}_position": [getattr(one.positions, kind) for one in events] for kind in POSITIONS}


def _numbers(**columns: Sequence[int | None]) -> Columns:
    """Return columns of integers; None becomes NULL."""
    result: Columns = {}
    for name, values in columns.items():
        absent = [value is None for value in values]
        numbers = np.array([value or 0 for value in values], np.int64)
        result[name] = np.ma.masked_array(numbers, absent) if any(absent) else numbers
    return result


def _texts(values: Iterable[str | bytes | None]) -> Any:  # noqa: ANN401 - an array of objects
    found = list(values)
    result = np.empty(len(found), object)
    result[:] = found
    return result
