"""The order in which the stream saw what lies on the topics: a place in each log for every transaction and label.

A decision, and a label's outcome, say how many records lay before theirs in each history, under which history epoch. So
an entity's log is in the order of (epoch, position): under an epoch all is visible that was decided under earlier ones,
since histories are repaired before decisions count again. A key that expired begins at 0 once more: that is told by a
pause as long as the horizon before a position that is no higher.

What has no position that means anything is put where its time belongs: a decision without its history, a label in a
device's log. A card's transactions are in the order of its partition in any case. What nobody has decided yet comes
behind all else, as its records' timestamps have it. SQL over the tables of `spool`; nothing here reads a topic.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from features.history.store import Entity

BEHIND = 1 << 62
"""The key of what nobody has decided."""

JOINED = """
CREATE TABLE joined AS
WITH first AS (
    SELECT min(history_epoch) AS epoch
    FROM (SELECT history_epoch FROM decided WHERE NOT incomplete UNION ALL SELECT history_epoch FROM applied)
)
SELECT row_number() OVER (ORDER BY told.partition, told."offset") - 1 AS number, told.*,
    decided.scored_ms, decided.history_epoch, decided.incomplete, decided.score_offset, decided.card_position,
    decided.merchant_position, decided.device_position, decided.scored_ms IS NOT NULL AS is_decided,
    told."offset" <= max(told."offset") FILTER (decided.scored_ms IS NOT NULL) OVER (PARTITION BY told.partition)
        AS is_passed, coalesce(history_epoch > (SELECT epoch FROM first), false) AS is_later_epoch
FROM told LEFT JOIN decided ON told.partition = decided.partition AND told."offset" = decided."offset"
ORDER BY number
"""
# Only labels about transactions of which some label says fraud change a feature; of two outcomes of one label, the
# first says when it became visible.
TOLD_LABELS = """
CREATE TABLE told_labels AS
WITH first AS (
    SELECT * FROM applied
    QUALIFY row_number() OVER (PARTITION BY partition, "offset" ORDER BY history_epoch, told_ms) = 1
), devices AS (
    SELECT card_id, transaction_id, min(device_id) AS device_id FROM joined WHERE device_id IS NOT NULL GROUP BY ALL
)
SELECT row_number() OVER (ORDER BY first.partition, first."offset") - 1 AS number, first.*, devices.device_id
FROM first SEMI JOIN (SELECT DISTINCT card_id, transaction_id FROM applied WHERE fraud) USING (card_id, transaction_id)
LEFT JOIN devices USING (card_id, transaction_id)
"""
KEYS = """
CREATE TABLE {kind}_keys AS
WITH items AS (
    SELECT number, false AS is_label, {kind}_id AS who, history_epoch, {kind}_position AS lies, scored_ms AS at_ms
    FROM joined WHERE is_decided AND NOT incomplete AND {kind}_position IS NOT NULL
    UNION ALL
    SELECT number, true, {kind}_id, history_epoch, {kind}_position, told_ms
    FROM told_labels WHERE {kind}_position IS NOT NULL AND {kind}_id IS NOT NULL
), lives AS (
    SELECT *, lies <= max(lies) OVER before AND at_ms - max(at_ms) OVER before >= {horizon_ms} AS is_anew
    FROM items
    WINDOW before AS (
        PARTITION BY who, history_epoch ORDER BY at_ms, lies ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
), counted AS (
    SELECT *, count(*) FILTER (is_anew) OVER (PARTITION BY who, history_epoch ORDER BY at_ms, lies) AS life FROM lives
)
SELECT number, is_label, who, at_ms, row_number() OVER (PARTITION BY who ORDER BY history_epoch, life, lies) AS key
FROM counted
"""
# A card's transactions: each at its own place or, if that is unknown, behind the one before it in its partition, and
# behind the labels that were told of by then.
CARD_PLACES = """
CREATE TABLE card_places AS
WITH timed AS (
    SELECT number, is_label, who, at_ms, key FROM card_keys
    UNION ALL
    SELECT number, false, card_id, scored_ms, NULL FROM joined
    WHERE is_decided AND (incomplete OR card_position IS NULL)
), placed AS (
    SELECT number, key, max(key) OVER (PARTITION BY who ORDER BY at_ms, key NULLS LAST) AS before FROM timed
    QUALIFY NOT is_label
), bounded AS (
    SELECT joined.number, key, NOT coalesce(is_passed, false) AS is_new, coalesce(max(key) OVER log, 0) AS low,
        max(before) OVER log AS before, min(key) OVER rest - 1 AS high,
        max(timestamp_ms) OVER log AS told_ms, max(scored_ms) OVER log AS at_ms
    FROM joined LEFT JOIN placed USING (number)
    WINDOW log AS (PARTITION BY card_id ORDER BY joined.number),
        rest AS (PARTITION BY card_id ORDER BY joined.number ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)
)
SELECT number,
    CASE WHEN is_new THEN {behind} WHEN key IS NULL THEN greatest(low, least(before, high)) ELSE low END AS card_key,
    CASE WHEN is_new THEN told_ms WHEN key IS NULL THEN coalesce(at_ms, 0) ELSE 0 END AS card_tie
FROM bounded
"""
OTHER_PLACES = """
CREATE TABLE {kind}_places AS
WITH loose AS (
    SELECT number, false AS is_label, {kind}_id AS who, scored_ms AS at_ms FROM joined
    WHERE is_decided AND {kind}_id IS NOT NULL AND (incomplete OR {kind}_position IS NULL)
), timed AS (
    SELECT number, is_label, who, at_ms, key FROM {kind}_keys
    UNION ALL
    SELECT number, is_label, who, at_ms, NULL FROM loose
), placed AS (
    SELECT *, max(key) OVER (PARTITION BY who ORDER BY at_ms, key NULLS LAST) AS before FROM timed
)
SELECT joined.number,
    CASE WHEN NOT is_decided THEN {behind} ELSE coalesce(key, before, 0) END AS {kind}_key,
    CASE WHEN NOT is_decided THEN timestamp_ms WHEN key IS NULL THEN at_ms ELSE 0 END AS {kind}_tie
FROM joined LEFT JOIN placed ON joined.number = placed.number AND NOT placed.is_label
"""
LABEL_PLACES = """
CREATE TABLE {kind}_label_places AS
WITH timed AS (
    SELECT number, is_label, who, at_ms, key FROM {kind}_keys
    UNION ALL
    SELECT number, true, {kind}_id, told_ms, NULL FROM told_labels
    WHERE history_epoch IS NOT NULL AND {kind}_position IS NULL AND {kind}_id IS NOT NULL
), placed AS (
    SELECT *, max(key) OVER (PARTITION BY who ORDER BY at_ms, key NULLS LAST) AS before FROM timed
)
SELECT told_labels.number,
    CASE WHEN history_epoch IS NULL THEN {behind} ELSE coalesce(key, before) END AS {kind}_key,
    CASE WHEN history_epoch IS NULL THEN told_ms WHEN key IS NULL THEN at_ms ELSE 0 END AS {kind}_tie
FROM told_labels LEFT JOIN placed ON told_labels.number = placed.number AND placed.is_label
"""


def place_all(connection: Any, horizons_ms: Mapping[Entity, int], kinds: Sequence[Entity]) -> None:  # noqa: ANN401 - of a module without types
    """Make the tables `placed` and `labels`: what was told, with its places in the logs of these kinds.

    A label has no place in another party's log, and follows its transaction, where its outcome knew no such party.
    """
    connection.execute(JOINED)
    connection.execute(TOLD_LABELS)
    for kind in kinds:
        named = {"kind": kind.value, "horizon_ms": horizons_ms[kind], "behind": BEHIND}
        places = CARD_PLACES if kind is Entity.CARD else OTHER_PLACES
        for statement in (KEYS, places, LABEL_PLACES):
            connection.execute(statement.format_map(named))
    joins = " ".join(f"JOIN {kind.value}_places USING (number)" for kind in kinds)
    label_joins = " ".join(f"JOIN {kind.value}_label_places USING (number)" for kind in kinds)
    connection.execute(f"CREATE TABLE placed AS SELECT * FROM joined {joins} ORDER BY number")
    connection.execute(f"CREATE TABLE labels AS SELECT * FROM told_labels {label_joins}")
    for kind in kinds:
        for table in ("keys", "places", "label_places"):
            connection.execute(f"DROP TABLE {kind.value}_{table}")
