"""Score a range of the transactions topic, or make a range of decisions again and compare: gather, place, and so on.

What follows is as with a file (`run` is the page to read first). Nothing here reads a clock or prints.

The tables of the spool as the tables that back-scoring works on: which rows are meant, and what is said of them.

Nothing here reads a topic.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from features.history.store import Entity
from stream.dataset.database import connect, quoted
from stream.dataset.file import DATABASE
from stream.rescoring.blocks import join_parts, score_block
from stream.rescoring.compare import compare_block
from stream.rescoring.gather import Gathered, Gatherer, Need
from stream.rescoring.order import place_all
from stream.rescoring.request import DiffReport, Example, NothingToScoreError, Progress, ScoreReport, TopicRequest
from stream.rescoring.rescore import model_of, resolve
from stream.rescoring.shards import FORMAT, part
from stream.rescoring.spool import EntityFilter, Spool
from stream.rescoring.stages import PROCESS_MEMORY_MB, Pool, counted, run_passes, run_searches, stage, workfolder
from stream.rescoring.tasks import DECIDE
from stream.rescoring.topics import reading
from stream.rescoring.workdir import Workdir, shards_for

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
EXAMPLES = 10
OWED = """
SELECT number FROM rows JOIN (SELECT partition, min("offset") AS low, max("offset") AS high FROM wanted GROUP BY 1)
USING (partition) WHERE "offset" BETWEEN low AND high AND NOT is_decided
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


def describe(connection: Any, place: Workdir, *, decisions: bool) -> None:  # noqa: ANN401 - likewise
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


def list_unlike(connection: Any, place: Workdir) -> int:  # noqa: ANN401 - likewise
    """Write down the decisions of later history epochs in which something differs, by row, and return how many."""
    parts = ", ".join(quoted(place.part(block)) for block in range(place.blocks))
    connection.execute(
        f"COPY (SELECT base.row, base.fingerprint, base.features FROM {quoted(place.base)} AS base "
        f'JOIN read_parquet([{parts}]) AS told USING (partition, "offset") '
        f"WHERE told.differences IS NOT NULL AND base.is_vector AND base.is_later_epoch AND NOT base.incomplete "
        f"ORDER BY base.row) TO {quoted(place.unlike)} ({FORMAT})"
    )
    return int(connection.execute(f"SELECT count(*) FROM {quoted(place.unlike)}").fetchall()[0][0])


@dataclass(frozen=True, slots=True)
class Prepared:
    """A workplace with the transactions of a range, parted; and what was read on the way."""

    place: Workdir
    connection: Any
    spool: Spool


def score_topic(request: TopicRequest, model: str, progress: Progress) -> ScoreReport:
    """Score every transaction of a range by one model.

    Raises:
        BackscoringError: what is wrong with the range, the model or this machine.
        aiokafka.errors.KafkaError: the broker does not answer, or a topic is not there.
    """
    url = request.settings.models
    digest = resolve(url, model)
    model_of(url, digest, request.sets)
    with prepared(request, progress, decisions=False) as made, Pool(request.threads) as pool:
        run_passes(made.place, pool, progress)
        stage(
            made.place, pool, partial(score_block, url, digest), ("score", made.place.blocks, made.place.rows), progress
        )
        if request.out is not None:
            join_parts(made.connection, made.place, request.out)
        return ScoreReport(
            digest=digest,
            out=str(request.out or ""),
            rows=made.place.rows,
            fates=counted(made.connection, made.place, "fate"),
            decisions=counted(made.connection, made.place, "decision"),
        )


def compare_topic(request: TopicRequest, progress: Progress) -> DiffReport:
    """Make every valid decision of a range again, by the model that its record names, and compare.

    Raises:
        BackscoringError: what is wrong with the range or this machine.
        aiokafka.errors.KafkaError: the broker does not answer, or a topic is not there.
    """
    with prepared(request, progress, decisions=True) as made, Pool(request.threads) as pool:
        run_passes(made.place, pool, progress)
        compare = partial(compare_block, request.settings.models)
        stage(made.place, pool, compare, ("compare", made.place.blocks, made.place.rows), progress)
        if is_repaired(made.connection) and list_unlike(made.connection, made.place):
            run_searches(made.place, pool, progress)
            again = replace(made.place, is_searched=True)
            stage(again, pool, compare, ("compare again", again.blocks, again.rows), progress)
        if request.out is not None:
            join_parts(made.connection, made.place, request.out)
        return _diff(made)


@contextmanager
def prepared(
    request: TopicRequest, progress: Progress, *, decisions: bool, only: EntityFilter | None = None
) -> Iterator[Prepared]:
    """Gather a range into a workplace, find every place, and part it; `only` leaves out other parties' records."""
    beside = None if request.out is None else request.out.parent
    with workfolder(beside) as folder, connect(folder / DATABASE, request.threads) as connection:
        spool = Spool(connection, request.sets, round(request.settings.future_skew * 1000), only)
        gathered = asyncio.run(_gathered(request, spool, progress, decisions=decisions))
        place = _placed(request, (folder, connection), gathered, progress)
        describe(connection, place, decisions=decisions)
        part(connection, place)
        progress("part", 1, 1)
        yield Prepared(place, connection, spool)


async def _gathered(request: TopicRequest, spool: Spool, progress: Progress, *, decisions: bool) -> Gathered:
    oldest_ms = max(keep.oldest_age_ms for keep in request.sets.retentions.values())
    need = Need(oldest_ms, round(request.settings.future_skew * 1000))
    async with reading(request.settings) as topics:
        return await Gatherer(request.settings, topics, need, progress).gather(
            spool, request.range, decisions=decisions
        )


def _placed(request: TopicRequest, where: tuple[Path, Any], gathered: Gathered, progress: Progress) -> Workdir:
    folder, connection = where
    sketch = Workdir(folder, request.sets, 0, 0, 1, PROCESS_MEMORY_MB)
    progress("place", 0, 1)
    place_all(connection, request.sets.horizons_ms, sketch.entities)
    progress("place", 1, 1)
    numbers, rows = select(connection, gathered, is_begun=request.range.from_ms is not None)
    if not rows:
        raise NothingToScoreError("the range holds records, but none of them is a transaction or a valid decision")
    return Workdir(folder, request.sets, numbers, rows, shards_for(numbers, request.threads), PROCESS_MEMORY_MB)


def _diff(made: Prepared) -> DiffReport:
    connection, place = made.connection, made.place
    verdicts = counted(connection, place, "verdict")
    owed = np.array([number for (number,) in connection.execute(OWED).fetchall()], np.int64)
    return DiffReport(
        compared=place.rows,
        equal=verdicts.get("equal", 0),
        explained=verdicts.get("explained", 0),
        unexplained=verdicts.get("unexplained", 0),
        reasons=counted(connection, place, "unnest(string_split(reasons, ','))"),
        models=counted(connection, place, "digest"),
        decided_by=counted(connection, place, "decided_by"),
        undecided=int((place.fates()[owed] == DECIDE).sum()),
        void=made.spool.valid.void,
        examples=_examples(connection, place),
    )


def _examples(connection: Any, place: Workdir) -> tuple[Example, ...]:  # noqa: ANN401 - a connection of a module without types
    parts = ", ".join(quoted(place.part(block)) for block in range(place.blocks))
    found = connection.execute(
        f'SELECT transaction_id, card_id, partition, "offset", differences FROM read_parquet([{parts}]) '
        f"WHERE verdict = 'unexplained' LIMIT {EXAMPLES}"
    )
    return tuple(Example(*line) for line in found.fetchall())
