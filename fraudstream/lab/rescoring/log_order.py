"""The order of each entity's log as the stream saw it: sort keys for every transaction and label of the topics.

A decision, and a label's outcome, record for each history how many records came before theirs (the position), under
which history epoch. So a log is ordered by (epoch, position): under an epoch everything is visible that was decided
under earlier ones, because histories are repaired before decisions count again. The positions of an expired key begin
at 0 again; such a restart shows as a pause of at least the horizon before a position that is no higher than an earlier
one.

A record without a usable position is ordered by time: a decision made without its history, a label in a device's log,
and a payment that was applied without a decision of this deployment (`is_applied_only`), because it was backfilled or
another deployment decided it before this one began or had caught up. It counts as applied when it was written, or when
the other deployment decided it, since a silent one reads no further; certainly it was before the next decision of its
partition (`applied_by_ms`). A card's transactions always keep the order of their partition;
those of another partition, if producers put a card on two, are placed among them by position and time. Transactions and
labels without a decision come after everything else, ordered by their records' timestamps. All of it is SQL over the
tables of `topic_tables`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from features.history.store import Entity

UNDECIDED_KEY = 1 << 62
"""The key of a record without a decision: after all others."""

JOINED = """
CREATE TABLE joined AS
WITH first AS (
    SELECT min(history_epoch) AS epoch
    FROM (SELECT history_epoch FROM decisions WHERE NOT incomplete UNION ALL SELECT history_epoch FROM label_events)
)
SELECT row_number() OVER (ORDER BY transactions.partition, transactions."offset") - 1 AS number,
    transactions.* EXCLUDE (is_backfilled),
    coalesce(
        decisions.scored_ms, CASE WHEN transactions.is_backfilled THEN timestamp_ms ELSE others.scored_ms END
    ) AS scored_ms,
    decisions.history_epoch, decisions.incomplete, decisions.score_offset,
    decisions.card_position, decisions.merchant_position, decisions.device_position,
    transactions.is_backfilled AND decisions.scored_ms IS NULL AS is_backfilled,
    (transactions.is_backfilled OR others.scored_ms IS NOT NULL) AND decisions.scored_ms IS NULL AS is_applied_only,
    transactions.is_backfilled OR coalesce(decisions.scored_ms, others.scored_ms) IS NOT NULL AS is_decided,
    transactions."offset" <= max(transactions."offset")
        FILTER (transactions.is_backfilled OR decisions.scored_ms IS NOT NULL)
        OVER (PARTITION BY transactions.partition) AS is_passed,
    min(decisions.scored_ms) FILTER (NOT decisions.incomplete) OVER (
        PARTITION BY transactions.partition ORDER BY transactions."offset"
        ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
    ) AS applied_by_ms,
    coalesce(history_epoch > (SELECT epoch FROM first), false) AS is_later_epoch
FROM transactions LEFT JOIN decisions
    ON transactions.partition = decisions.partition AND transactions."offset" = decisions."offset"
LEFT JOIN (SELECT partition, "offset", max(scored_ms) AS scored_ms FROM elsewhere GROUP BY ALL) AS others
    ON transactions.partition = others.partition AND transactions."offset" = others."offset"
ORDER BY number
"""
# Only labels of transactions that some label calls fraud change a feature. Of two outcomes of one label, the first
# says when it became visible.
RELEVANT_LABELS = """
CREATE TABLE relevant_labels AS
WITH first AS (
    SELECT * FROM label_events
    QUALIFY row_number() OVER (PARTITION BY partition, "offset" ORDER BY history_epoch, published_ms) = 1
), devices AS (
    SELECT card_id, transaction_id, min(device_id) AS device_id FROM joined WHERE device_id IS NOT NULL GROUP BY ALL
)
SELECT row_number() OVER (ORDER BY first.partition, first."offset") - 1 AS number, first.*, devices.device_id
FROM first
SEMI JOIN (SELECT DISTINCT card_id, transaction_id FROM label_events WHERE fraud) USING (card_id, transaction_id)
LEFT JOIN devices USING (card_id, transaction_id)
"""
KEYS = """
CREATE TABLE {kind}_keys AS
WITH items AS (
    SELECT number, false AS is_label, {kind}_id AS entity_id, history_epoch, {kind}_position AS position,
        scored_ms AS at_ms
    FROM joined WHERE is_decided AND NOT incomplete AND {kind}_position IS NOT NULL
    UNION ALL
    SELECT number, true, {kind}_id, history_epoch, {kind}_position, published_ms
    FROM relevant_labels WHERE {kind}_position IS NOT NULL AND {kind}_id IS NOT NULL
), restarts AS (
    SELECT *,
        position <= max(position) OVER before AND at_ms - max(at_ms) OVER before >= {horizon_ms} AS is_restart
    FROM items
    WINDOW before AS (
        PARTITION BY entity_id, history_epoch ORDER BY at_ms, position
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
), generations AS (
    SELECT *, count(*) FILTER (is_restart)
        OVER (PARTITION BY entity_id, history_epoch ORDER BY at_ms, position) AS generation
    FROM restarts
)
SELECT number, is_label, entity_id, at_ms,
    row_number() OVER (PARTITION BY entity_id ORDER BY history_epoch, generation, position) AS key
FROM generations
"""
# A card's transaction without a position comes after the one before it in its partition, and after the labels that
# were published by then. If the card is on several partitions, also one that got no decision, as a retry, is placed by
# its time; but if the same transaction was decided on another partition, then only after that: it was sent before, and
# read later.
CARD_ORDER = """
CREATE TABLE card_order AS
WITH divided AS (
    SELECT card_id FROM joined GROUP BY card_id HAVING min(partition) <> max(partition)
), timed AS (
    SELECT number, is_label, entity_id, at_ms, key FROM card_keys
    UNION ALL
    SELECT number, false, card_id, scored_ms, NULL FROM joined
    WHERE is_decided AND (incomplete OR card_position IS NULL)
    UNION ALL
    SELECT number, false, card_id, timestamp_ms, NULL FROM joined SEMI JOIN divided USING (card_id)
    WHERE NOT is_decided AND is_passed
), keyed AS (
    SELECT number, key, max(key) OVER (PARTITION BY entity_id ORDER BY at_ms, key NULLS LAST) AS before FROM timed
    QUALIFY NOT is_label
), bounded AS (
    SELECT joined.number, card_id, transaction_id, joined.partition, is_decided, key,
        NOT coalesce(is_passed, false) AS is_new, coalesce(max(key) OVER log, 0) AS low, max(before) OVER log AS before,
        min(key) OVER rest - 1 AS high, max(timestamp_ms) OVER log AS sent_ms, max(scored_ms) OVER log AS at_ms
    FROM joined LEFT JOIN keyed USING (number)
    WINDOW log AS (PARTITION BY card_id, joined.partition ORDER BY joined.number),
        rest AS (
            PARTITION BY card_id, joined.partition ORDER BY joined.number
            ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
        )
), placed AS (
    SELECT number, card_id, transaction_id, partition, is_decided,
        CASE
            WHEN is_new THEN {undecided}
            WHEN key IS NULL THEN greatest(low, least(coalesce(before, 0), high))
            ELSE low
        END AS key,
        CASE WHEN is_new THEN sent_ms WHEN key IS NULL THEN coalesce(at_ms, 0) ELSE 0 END AS tie
    FROM bounded
), decided AS (
    SELECT card_id, transaction_id, partition, key, tie FROM placed SEMI JOIN divided USING (card_id) WHERE is_decided
    QUALIFY row_number() OVER (PARTITION BY card_id, transaction_id ORDER BY key, tie, number) = 1
), compared AS (
    SELECT placed.number, placed.key, placed.tie, decided.key AS decided_key, decided.tie AS decided_tie,
        NOT is_decided AND placed.partition <> decided.partition
            AND (placed.key, placed.tie) <= (decided.key, decided.tie) AS is_repeated
    FROM placed LEFT JOIN decided USING (card_id, transaction_id)
)
SELECT number,
    CASE WHEN is_repeated THEN decided_key ELSE key END AS card_key,
    CASE WHEN is_repeated THEN decided_tie + 1 ELSE tie END AS card_tie
FROM compared
"""
OTHER_ORDER = """
CREATE TABLE {kind}_order AS
WITH unpositioned AS (
    SELECT number, false AS is_label, {kind}_id AS entity_id, scored_ms AS at_ms FROM joined
    WHERE is_decided AND {kind}_id IS NOT NULL AND (incomplete OR {kind}_position IS NULL)
), timed AS (
    SELECT number, is_label, entity_id, at_ms, key FROM {kind}_keys
    UNION ALL
    SELECT number, is_label, entity_id, at_ms, NULL FROM unpositioned
), keyed AS (
    SELECT *, max(key) OVER (PARTITION BY entity_id ORDER BY at_ms, key NULLS LAST) AS before FROM timed
)
SELECT joined.number,
    CASE WHEN NOT is_decided THEN {undecided} ELSE coalesce(key, before, 0) END AS {kind}_key,
    CASE WHEN NOT is_decided THEN timestamp_ms WHEN key IS NULL THEN at_ms ELSE 0 END AS {kind}_tie
FROM joined LEFT JOIN keyed ON joined.number = keyed.number AND NOT keyed.is_label
"""
LABEL_ORDER = """
CREATE TABLE {kind}_label_order AS
WITH timed AS (
    SELECT number, is_label, entity_id, at_ms, key FROM {kind}_keys
    UNION ALL
    SELECT number, true, {kind}_id, published_ms, NULL FROM relevant_labels
    WHERE history_epoch IS NOT NULL AND {kind}_position IS NULL AND {kind}_id IS NOT NULL
), keyed AS (
    SELECT *, max(key) OVER (PARTITION BY entity_id ORDER BY at_ms, key NULLS LAST) AS before FROM timed
)
SELECT relevant_labels.number,
    CASE WHEN history_epoch IS NULL THEN {undecided} ELSE coalesce(key, before) END AS {kind}_key,
    CASE WHEN history_epoch IS NULL THEN published_ms WHEN key IS NULL THEN at_ms ELSE 0 END AS {kind}_tie
FROM relevant_labels LEFT JOIN keyed ON relevant_labels.number = keyed.number AND keyed.is_label
"""


def order_logs(connection: Any, horizons_ms: Mapping[Entity, int], kinds: Sequence[Entity]) -> None:  # noqa: ANN401 - of a module without types
    """Create the tables `ordered` and `labels`: transactions and labels with their sort keys in these kinds' logs.

    A label has no key in another party's log, and directly follows its transaction there, if its outcome names no
    such party.
    """
    connection.execute(JOINED)
    connection.execute(RELEVANT_LABELS)
    for kind in kinds:
        named = {"kind": kind.value, "horizon_ms": horizons_ms[kind], "undecided": UNDECIDED_KEY}
        order = CARD_ORDER if kind is Entity.CARD else OTHER_ORDER
        for statement in (KEYS, order, LABEL_ORDER):
            connection.execute(statement.format_map(named))
    joins = " ".join(f"JOIN {kind.value}_order USING (number)" for kind in kinds)
    label_joins = " ".join(f"JOIN {kind.value}_label_order USING (number)" for kind in kinds)
    connection.execute(f"CREATE TABLE ordered AS SELECT * FROM joined {joins} ORDER BY number")
    connection.execute(f"CREATE TABLE labels AS SELECT * FROM relevant_labels {label_joins}")
    for kind in kinds:
        for table in ("keys", "order", "label_order"):
            connection.execute(f"DROP TABLE {kind.value}_{table}")
