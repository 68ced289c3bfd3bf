"""Score a range of the transactions topic, or compare the decisions of a range with themselves rescored.

Both load the range into tables, order every entity's log as the stream saw it, and write shards; the stages that follow
are those of `file_run`. Histories and decisions are those of one deployment, the settings' own. Progress goes to a
function that the caller gives.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from features.history.store import Entity, Fate
from fraudstream.lab.dataset.database import connect, quoted
from fraudstream.lab.dataset.file import DATABASE
from fraudstream.lab.dataset.output import join_parts, temporary_folder
from fraudstream.lab.rescoring.blocks import all_parts, count_values, optional_columns, score_block
from fraudstream.lab.rescoring.compare import compare_block
from fraudstream.lab.rescoring.erased import IS_ERASED, find_erased
from fraudstream.lab.rescoring.late_answers import write_late_answers
from fraudstream.lab.rescoring.log_order import order_logs
from fraudstream.lab.rescoring.prediction_tables import PredictionTables
from fraudstream.lab.rescoring.predictions import write_predictions
from fraudstream.lab.rescoring.range_loader import LoadedRange, Lookback, RangeLoader
from fraudstream.lab.rescoring.request import (
    ComputationError,
    DiffReport,
    Example,
    NothingToScoreError,
    Progress,
    ScoreReport,
    TopicRequest,
)
from fraudstream.lab.rescoring.rescore import resolve, usable_model
from fraudstream.lab.rescoring.shards import FORMAT, write_shards
from fraudstream.lab.rescoring.stages import (
    PROCESS_MEMORY_MB,
    TaskPool,
    run_passes,
    run_searches,
    run_stage,
)
from fraudstream.lab.rescoring.tasks import CODE, DECIDE
from fraudstream.lab.rescoring.topic_reader import open_reader
from fraudstream.lab.rescoring.topic_tables import EntityFilter, TopicTables
from fraudstream.lab.rescoring.workdir import Workdir, shard_count
from stream.control.trusted_models import ModelPlace
from stream.id_rules import declared_ids
from stream.recovery.replayed_input import read_input_from_outside

EXAMPLES = 10
"""The most unexplained decisions that a report lists."""
RANGES = """
CREATE TABLE ranges (
    partition BIGINT, first_offset BIGINT, end_offset BIGINT, first_silent BIGINT, end_silent BIGINT,
    read_from BIGINT, floor_ms BIGINT
)
"""
WANTED_TRANSACTIONS = """
CREATE TABLE wanted AS SELECT row_number() OVER (ORDER BY partition, "offset") - 1 AS row, partition, "offset"
FROM ordered JOIN ranges USING (partition)
WHERE "offset" >= first_offset AND "offset" < end_offset AND NOT is_backfilled AND NOT {is_erased}
"""
# A range without a beginning has the decisions whose transaction may still be on its topic.
WANTED_DECISIONS = """
CREATE TABLE wanted AS SELECT row_number() OVER (ORDER BY partition, "offset") - 1 AS row, partition, "offset"
FROM decisions JOIN ranges USING (partition)
WHERE {is_in_range} AND ({has_beginning} OR "offset" >= read_from)
"""
BY_TRANSACTION = '"offset" >= first_offset AND "offset" < end_offset'
BY_SCORE = """CASE WHEN is_silent THEN score_offset >= first_silent AND score_offset < end_silent
    ELSE score_offset >= first_offset AND score_offset < end_offset END"""
ROWS = """
CREATE VIEW rows AS SELECT ordered.*, coalesce(wanted.row, -1) AS row
FROM ordered LEFT JOIN wanted USING (partition, "offset")
"""
BASE = """
CREATE VIEW base AS SELECT row, number, partition, "offset", transaction_id, card_id, merchant_id,
    make_timestamptz(occurred_ms * 1000) AS occurred_at, amount_minor, currency, {optional}
FROM rows WHERE row >= 0
"""
COMPARED_BASE = """
CREATE VIEW base AS
SELECT wanted.row, coalesce(ordered.number, -1) AS number, wanted.partition, wanted."offset", decisions.transaction_id,
    decisions.card_id, decisions.merchant_id, ordered.device_id, decisions.occurred_ms,
    make_timestamptz(decisions.occurred_ms * 1000) AS occurred_at, decisions.amount_minor, decisions.currency,
    decisions.decided_by, nullif(decisions.degraded, '') AS degraded, decisions.digest, decisions.fingerprint,
    decisions.overruled_by, decisions.softens_rule, decisions.merchant_country,
    decisions.incomplete, decisions.undecidable,
    ordered.timestamp_ms,
    decisions.features, decisions.is_vector, decisions.score AS recorded_score, decisions.band AS recorded_band,
    decisions.decision AS recorded_decision, decisions.scored_ms, decisions.history_epoch, decisions.card_position,
    decisions.merchant_position, decisions.device_position, ordered.is_later_epoch,{prediction_columns}
    ranges.floor_ms AS card_floor_ms, (SELECT max(floor_ms) FROM ranges) AS other_floor_ms,
    ordered.number IS NULL AND wanted."offset" < ranges.read_from AS is_deleted,
    EXISTS (
        SELECT 1 FROM saw_erased WHERE saw_erased.partition = wanted.partition AND saw_erased."offset" = wanted."offset"
    ) AS saw_erased
FROM wanted JOIN decisions USING (partition, "offset") JOIN ranges USING (partition)
LEFT JOIN ordered USING (partition, "offset")
{prediction_join}
"""
DIVIDED_CARDS = """
SELECT card_id AS entity_id, occurred_ms, number, partition,
    is_decided AND NOT coalesce(incomplete, true) AS is_recorded
FROM ordered
SEMI JOIN (SELECT card_id FROM ordered GROUP BY card_id HAVING min(partition) <> max(partition)) USING (card_id)
"""
# A transaction is decided twice if the second decision is made without the first one's record, so with an incomplete
# history. The log then keeps the record that is applied first, whichever was decided first; so it does around a loss,
# for a transaction on several partitions.
AMBIGUOUS = """
WITH divided AS (
    SELECT card_id FROM ordered GROUP BY card_id HAVING min(partition) <> max(partition)
), several AS (
    SELECT card_id, transaction_id, min(partition) <> max(partition) AS is_divided,
        count(*) FILTER (is_decided) > 1 AS is_decided_twice
    FROM ordered SEMI JOIN (
        SELECT card_id, transaction_id FROM ordered SEMI JOIN divided USING (card_id)
        UNION
        SELECT card_id, transaction_id FROM ordered WHERE incomplete
    ) USING (card_id, transaction_id)
    GROUP BY card_id, transaction_id
    HAVING is_decided_twice OR is_divided AND (SELECT coalesce(bool_or(is_later_epoch), false) FROM ordered)
)
SELECT {kind}_id AS entity_id, occurred_ms, number, is_divided
FROM ordered JOIN several USING (card_id, transaction_id) WHERE {kind}_id IS NOT NULL
"""
CLOCKS_APART_MS = 30_000
"""So much the clocks of two workers may differ, one of which has applied what the other one's decision sees."""
UNCERTAIN_UNTIL_MS = f"CASE WHEN is_applied_only THEN applied_by_ms + {CLOCKS_APART_MS} END"
"""When the place of a record without a position no longer matters: a later decision has certainly seen it."""
WITHOUT_DECISION = """
SELECT number FROM rows JOIN (SELECT partition, min("offset") AS low, max("offset") AS high FROM wanted GROUP BY 1)
USING (partition) WHERE "offset" BETWEEN low AND high AND {condition}
"""
UNDECIDED = WITHOUT_DECISION.format(condition="NOT is_decided")
ELSEWHERE = WITHOUT_DECISION.format(condition="is_applied_only AND NOT is_backfilled")
REPEATED = WITHOUT_DECISION.format(condition="NOT is_decided")
BACKFILLED = WITHOUT_DECISION.format(condition="is_backfilled")
REFUSED = """
SELECT count(*) FROM refused JOIN (SELECT partition, min("offset") AS low, max("offset") AS high FROM wanted GROUP BY 1)
USING (partition) WHERE "offset" BETWEEN low AND high
"""
SILENT = 'SELECT count(*) FILTER (is_silent) FROM wanted JOIN decisions USING (partition, "offset")'


@dataclass(frozen=True, slots=True)
class PreparedRange:
    """The folder with the shards of a range, its database, and the tables read from the topics."""

    workdir: Workdir
    connection: Any
    tables: TopicTables


def score_topic(request: TopicRequest, model: str, progress: Progress) -> ScoreReport:
    """Score every transaction of a range with one model.

    Raises:
        RescoringError: what is wrong with the range, the model or this machine.
        aiokafka.errors.KafkaError: the broker does not answer, or a topic does not exist.
    """
    models = ModelPlace.of(request.settings)
    digest = resolve(models, model)
    usable_model(models, digest, request.sets)
    with prepare(request, progress, decisions=False) as prepared, TaskPool(request.threads) as pool:
        workdir, connection = prepared.workdir, prepared.connection
        run_passes(workdir, pool, progress)
        size = ("score", workdir.blocks, workdir.rows)
        run_stage(workdir, pool, partial(score_block, models, digest), size, progress)
        if request.out is not None:
            join_parts(connection, workdir.parts, request.out)
        return ScoreReport(
            digest=digest,
            out=str(request.out or ""),
            rows=workdir.rows,
            fates=count_values(connection, workdir, "fate"),
            decisions=count_values(connection, workdir, "decision"),
        )


def compare_topic(request: TopicRequest, progress: Progress) -> DiffReport:
    """Rescore every valid decision of a range with the model that its record names, and compare.

    They are those of one deployment: what it published, and what it decided silently and has not published as well.

    Raises:
        RescoringError: what is wrong with the range or this machine.
        aiokafka.errors.KafkaError: the broker does not answer, or a topic does not exist.
    """
    with prepare(request, progress, decisions=True) as prepared, TaskPool(request.threads) as pool:
        workdir, connection = prepared.workdir, prepared.connection
        run_passes(workdir, pool, progress)
        compare = partial(compare_block, request.settings.models)
        run_stage(workdir, pool, compare, ("compare", workdir.blocks, workdir.rows), progress)
        if is_repaired(connection) and write_differing(connection, workdir):
            run_searches(workdir, pool, progress)
            searched = replace(workdir, is_searched=True)
            run_stage(searched, pool, compare, ("compare again", searched.blocks, searched.rows), progress)
        if request.out is not None:
            join_parts(connection, workdir.parts, request.out)
        return _report(prepared)


@contextmanager
def prepare(
    request: TopicRequest, progress: Progress, *, decisions: bool, entity_filter: EntityFilter | None = None
) -> Iterator[PreparedRange]:
    """Load a range, order its logs and write shards; `entity_filter` leaves out the records of other entities."""
    beside = None if request.out is None else request.out.parent
    with (
        temporary_folder(beside, "score", ComputationError) as folder,
        connect(folder / DATABASE, request.threads) as connection,
    ):
        settings = request.settings
        skew_ms = round(settings.future_skew * 1000)
        ids = declared_ids(settings.id_shapes)
        tables = TopicTables(connection, request.sets, skew_ms, settings.deployment, entity_filter, ids=ids)
        loaded = asyncio.run(_load(request, tables, progress, decisions=decisions))
        workdir = _order(request, (folder, connection), loaded, progress)
        if not workdir.rows:
            raise NothingToScoreError(_nothing(tables, decisions=decisions))
        create_base(connection, workdir, decisions=decisions, predictions=tables.predictions)
        write_shards(connection, workdir)
        if tables.predictions is not None:
            write_predictions(connection, workdir, erased=True)
        progress("shard", 1, 1)
        yield PreparedRange(workdir, connection, tables)


def _nothing(tables: TopicTables, *, decisions: bool) -> str:
    """Say that a range has nothing to score, and who decided it if the settings' deployment did not."""
    found = "the range has records, but none of them is a payment to decide or a valid decision"
    others = ", ".join(tables.others())
    if not (decisions and others):
        return found
    return (
        f"{found} of deployment {tables.deployment}; scores has decisions of {others}: "
        "FRAUDSTREAM_DEPLOYMENT names the deployment whose decisions are compared"
    )


async def _load(request: TopicRequest, tables: TopicTables, progress: Progress, *, decisions: bool) -> LoadedRange:
    oldest_ms = max(keep.oldest_age_ms for keep in request.sets.retentions.values())
    lookback = Lookback(oldest_ms, round(request.settings.future_skew * 1000))
    tables.go_by(await read_input_from_outside(request.settings))
    async with open_reader(request.settings) as topics:
        loader = RangeLoader(request.settings, topics, lookback, progress)
        return await loader.load(tables, request.range, decisions=decisions)


def _order(request: TopicRequest, where: tuple[Path, Any], loaded: LoadedRange, progress: Progress) -> Workdir:
    folder, connection = where
    sketch = Workdir(folder, request.sets, 0, 0, 1, PROCESS_MEMORY_MB)
    progress("order", 0, 1)
    order_logs(connection, request.sets.horizons_ms, sketch.entities)
    find_erased(connection, sketch, predictions=request.sets.has_predictions)
    progress("order", 1, 1)
    transactions, rows = select_rows(connection, loaded, has_beginning=request.range.from_ms is not None)
    shards = shard_count(transactions, request.threads)
    return Workdir(folder, request.sets, transactions, rows, shards, PROCESS_MEMORY_MB)


def select_rows(connection: Any, loaded: LoadedRange, *, has_beginning: bool) -> tuple[int, int]:  # noqa: ANN401 - a connection of a module without types
    """Create the tables `ranges` and `wanted` and the view `rows`; return how many transactions and rows there are."""
    connection.execute(RANGES)
    for partition, read_from in loaded.starts.items():
        first, end = loaded.wanted.get(partition, (0, 0))
        line = [partition, first, end, *loaded.silent.get(partition, (0, 0)), read_from, loaded.floors_ms[partition]]
        connection.execute("INSERT INTO ranges VALUES (?, ?, ?, ?, ?, ?, ?)", line)
    if loaded.decisions:
        is_in_range = BY_SCORE if loaded.by_score else BY_TRANSACTION
        connection.execute(WANTED_DECISIONS.format(is_in_range=is_in_range, has_beginning=str(has_beginning)))
    else:
        is_erased = IS_ERASED.format(table="ordered", time="occurred_ms")
        connection.execute(WANTED_TRANSACTIONS.format(is_erased=is_erased))
    connection.execute(ROWS)
    counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0] for table in ("ordered", "wanted")]
    return counts[0], counts[1]


def create_base(
    connection: Any,  # noqa: ANN401 - likewise
    workdir: Workdir,
    *,
    decisions: bool,
    predictions: PredictionTables | None = None,
) -> None:
    """Create the view `base`; if decisions are compared, write the records whose place may be another to files."""
    if not decisions:
        connection.execute(BASE.format(optional=optional_columns()))
        if predictions is not None:
            predictions.order_by_time()
        return
    columns, join = "", ""
    if predictions is not None:
        predictions.order_by_position(CLOCKS_APART_MS)
        columns, join = predictions.base_columns
    connection.execute(COMPARED_BASE.format(prediction_columns=columns, prediction_join=join))
    for kind in workdir.entities:
        # A card's own log is in the order of its partition, with or without histories.
        unplaced = f"{kind is not Entity.CARD} AND (incomplete OR is_applied_only)"
        connection.execute(
            f"COPY (SELECT {kind.value}_id AS entity_id, occurred_ms, number, "
            f"{UNCERTAIN_UNTIL_MS} AS uncertain_until_ms FROM ordered "
            f"WHERE {kind.value}_id IS NOT NULL AND (NOT is_decided OR {unplaced})) "
            f"TO {quoted(workdir.unordered(kind))} ({FORMAT})"
        )
        ambiguous = AMBIGUOUS.format(kind=kind.value)
        connection.execute(f"COPY ({ambiguous}) TO {quoted(workdir.ambiguous(kind))} ({FORMAT})")
        write_late_answers(connection, workdir, kind)
    connection.execute(f"COPY ({DIVIDED_CARDS}) TO {quoted(workdir.divided_cards)} ({FORMAT})")
    divided = f"SELECT number FROM {quoted(workdir.divided_cards)} WHERE is_recorded ORDER BY number"
    recorded = np.asarray(connection.execute(divided).fetchnumpy()["number"], np.int64)
    if len(recorded):
        np.save(workdir.recorded, recorded)


def is_repaired(connection: Any) -> bool:  # noqa: ANN401 - likewise
    """Tell whether some decisions were made under a later history epoch than the first in the tables."""
    return bool(connection.execute("SELECT coalesce(bool_or(is_later_epoch), false) FROM ordered").fetchall()[0][0])


def write_differing(connection: Any, workdir: Workdir) -> int:  # noqa: ANN401 - likewise
    """Write the decisions of later history epochs that differ in something to a file, by row; return how many."""
    connection.execute(
        f"COPY (SELECT base.row, base.fingerprint, base.features FROM {quoted(workdir.base)} AS base "
        f'JOIN {all_parts(workdir)} AS compared USING (partition, "offset") '
        f"WHERE compared.differences IS NOT NULL AND base.is_vector AND base.is_later_epoch AND NOT base.incomplete "
        f"ORDER BY base.row) TO {quoted(workdir.differing)} ({FORMAT})"
    )
    return int(connection.execute(f"SELECT count(*) FROM {quoted(workdir.differing)}").fetchall()[0][0])


def _report(prepared: PreparedRange) -> DiffReport:
    connection, workdir = prepared.connection, prepared.workdir
    verdicts = count_values(connection, workdir, "verdict")
    return DiffReport(
        deployment=prepared.tables.deployment,
        compared=workdir.rows,
        equal=verdicts.get("equal", 0),
        explained=verdicts.get("explained", 0),
        unexplained=verdicts.get("unexplained", 0),
        reasons=count_values(connection, workdir, "unnest(string_split(reasons, ','))"),
        models=count_values(connection, workdir, "digest"),
        decided_by=count_values(connection, workdir, "decided_by"),
        overruled=count_values(connection, workdir, "overruled_by"),
        silent=int(connection.execute(SILENT).fetchall()[0][0]),
        refused=int(connection.execute(REFUSED).fetchall()[0][0]),
        repeated=_count_with_fate(prepared, REPEATED, CODE[Fate.REPEATED]),
        backfilled=len(connection.execute(BACKFILLED).fetchall()),
        undecided=_count_to_decide(prepared, UNDECIDED),
        elsewhere=_count_to_decide(prepared, ELSEWHERE),
        void=prepared.tables.void,
        other_logs=prepared.tables.other_logs,
        examples=_examples(connection, workdir),
    )


def _count_to_decide(prepared: PreparedRange, select: str) -> int:
    """Count those of some transactions that would be decided; the others are repetitions, conflicts or too late."""
    return _count_with_fate(prepared, select, DECIDE)


def _count_with_fate(prepared: PreparedRange, select: str, code: int) -> int:
    """Count those of some transactions that have a fate."""
    numbers = np.array([number for (number,) in prepared.connection.execute(select).fetchall()], np.int64)
    return int((prepared.workdir.fates()[numbers] == code).sum())


def _examples(connection: Any, workdir: Workdir) -> tuple[Example, ...]:  # noqa: ANN401 - a connection of a module without types
    found = connection.execute(
        f'SELECT transaction_id, card_id, partition, "offset", differences FROM {all_parts(workdir)} '
        f"WHERE verdict = 'unexplained' LIMIT {EXAMPLES}"
    )
    return tuple(Example(*line) for line in found.fetchall())
