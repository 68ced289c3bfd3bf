"""Records that were in a history before they had an answer: a decision may have seen them in a place that none names.

A worker appends transactions and labels first and publishes their decisions and outcomes afterwards, again and again
until they are written. If histories are lost in between, the answer comes under the next epoch; what was decided
meanwhile has seen the record all the same. Positions tell of it: they count a record that no answer of their epoch
accounts for. In a device's log no outcome names a place: a decision may have seen a label that was given before it and
answered after it, without any loss. And it may not have seen one that was answered before it, if a worker had appended
the payment before the label, and ended before it decided it.
"""

from collections.abc import Sequence
from typing import Any

from features.history.store import Entity
from fraudstream.lab.dataset.database import quoted
from fraudstream.lab.rescoring.entity_ages import EntityAges, SeenAge
from fraudstream.lab.rescoring.shards import FORMAT
from fraudstream.lab.rescoring.workdir import Workdir

_LATE = """
SELECT {kind}_id AS entity_id, occurred_ms, history_epoch, number, false AS is_label,
    NULL::BIGINT AS labelled_ms, NULL::BIGINT AS published_ms
FROM ordered
WHERE {kind}_id IS NOT NULL AND is_decided AND NOT incomplete AND is_later_epoch
UNION ALL
SELECT ordered.{kind}_id, ordered.occurred_ms, labels.history_epoch, ordered.number, true,
    labels.labelled_ms, labels.published_ms
FROM labels JOIN ordered USING (card_id, transaction_id)
WHERE ordered.{kind}_id IS NOT NULL
    AND ({is_unplaced}
        OR coalesce(labels.history_epoch > (SELECT min(history_epoch) FROM ordered WHERE NOT incomplete), true))
"""
_PLACES = """
SELECT DISTINCT entity_id, history_epoch, position
FROM (
    SELECT {kind}_id AS entity_id, history_epoch, {kind}_position AS position FROM ordered
    WHERE is_decided AND NOT incomplete
    UNION ALL
    SELECT {label_id}, history_epoch, {kind}_position FROM label_events
)
SEMI JOIN read_parquet({late}) USING (entity_id)
WHERE position IS NOT NULL
"""
_SEEN = """
SELECT line, asked.occurred_ms - late.occurred_ms AS age_ms, late.number, true AS is_label, false AS is_answered
FROM asked JOIN read_parquet({late}) AS late
    ON asked.entity_id = late.entity_id AND late.is_label AND {is_unplaced}
    AND late.published_ms BETWEEN asked.timestamp_ms AND asked.scored_ms
    AND late.occurred_ms >= asked.occurred_ms - {reach_ms}
UNION ALL
SELECT line, asked.occurred_ms - late.occurred_ms AS age_ms, late.number, late.is_label,
    coalesce(late.history_epoch > asked.history_epoch, false) AS is_answered
FROM asked JOIN read_parquet({late}) AS late
    ON asked.entity_id = late.entity_id AND (late.is_label OR asked.number <> late.number)
    AND (coalesce(late.history_epoch > asked.history_epoch, true)
        OR {is_unplaced} AND late.labelled_ms <= asked.scored_ms AND late.published_ms > asked.scored_ms)
    AND late.occurred_ms >= asked.occurred_ms - {reach_ms}
WHERE asked.position > (
    SELECT count(*) FROM read_parquet({places}) AS places
    WHERE places.entity_id = asked.entity_id AND places.history_epoch = asked.history_epoch
        AND places.position < asked.position
)
"""


def write_late_answers(connection: Any, workdir: Workdir, kind: Entity) -> None:  # noqa: ANN401 - a connection of a module without types
    """Write which records of a kind's logs were answered after a loss or not yet, and the positions in their logs."""
    late, places = (quoted(workdir.late_answers(kind, what)) for what in ("records", "places"))
    label_id = "NULL" if _is_unplaced(kind) else f"{kind.value}_id"
    written = _LATE.format(kind=kind.value, is_unplaced=_is_unplaced(kind))
    connection.execute(f"COPY ({written}) TO {late} ({FORMAT})")
    select = _PLACES.format(kind=kind.value, label_id=label_id, late=late)
    connection.execute(f"COPY ({select}) TO {places} ({FORMAT})")


def seen_before_answer(workdir: Workdir, kind: Entity, ages: EntityAges, reach_ms: int) -> Sequence[SeenAge]:
    """Return the ages of what some decisions may have seen before its answer, at most `reach_ms` old.

    `is_answered` tells that there is an answer, under a later epoch; without, a label of a device may have one under
    the same epoch, and it may not have been seen. The decisions are asked with their columns timestamp_ms, scored_ms,
    history_epoch and position.
    """
    records, places = (workdir.late_answers(kind, what) for what in ("records", "places"))
    named = {"reach_ms": reach_ms, "is_unplaced": _is_unplaced(kind)}
    select = _SEEN.format(late=quoted(records), places=quoted(places), **named)
    return ages.of_pairs(select, records, only_decided=True)


def _is_unplaced(kind: Entity) -> bool:
    """Tell whether an outcome says no position in the log of such a party."""
    return kind is Entity.DEVICE
