"""Score a range of the transactions topic, or make a range of decisions again and compare: gather, place, and so on.

What follows is as with a file (`run` is the page to read first). Nothing here reads a clock or prints.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stream.backscoring.blocks import join_parts, score_block
from stream.backscoring.comparing import compare_block
from stream.backscoring.errors import NothingToScoreError
from stream.backscoring.gathering import Gathered, Gatherer, Need
from stream.backscoring.loading import model_of, resolve
from stream.backscoring.only import Only
from stream.backscoring.placing import place_all
from stream.backscoring.pool import Pool
from stream.backscoring.progress import Progress
from stream.backscoring.request import DiffReport, Example, ScoreReport, TopicRequest
from stream.backscoring.sharding import part
from stream.backscoring.spool import Spool
from stream.backscoring.stages import PROCESS_MEMORY_MB, counted, run_passes, run_searches, stage, workfolder
from stream.backscoring.tasks import DECIDE
from stream.backscoring.topic_source import describe, is_repaired, list_unlike, select
from stream.backscoring.topics import reading
from stream.backscoring.workplace import Workplace, shards_for
from stream.transactions_file.database import connect, quoted
from stream.transactions_file.reading import DATABASE

EXAMPLES = 10
OWED = """
SELECT number FROM rows JOIN (SELECT partition, min("offset") AS low, max("offset") AS high FROM wanted GROUP BY 1)
USING (partition) WHERE "offset" BETWEEN low AND high AND NOT is_decided
"""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A workplace with the transactions of a range, parted; and what was read on the way."""

    place: Workplace
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
    request: TopicRequest, progress: Progress, *, decisions: bool, only: Only | None = None
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
    oldest_ms = max(keep.oldest_age_ms for keep in request.sets.keeps.values())
    need = Need(oldest_ms, round(request.settings.future_skew * 1000))
    async with reading(request.settings) as topics:
        return await Gatherer(request.settings, topics, need, progress).gather(
            spool, request.range, decisions=decisions
        )


def _placed(request: TopicRequest, where: tuple[Path, Any], gathered: Gathered, progress: Progress) -> Workplace:
    folder, connection = where
    sketch = Workplace(folder, request.sets, 0, 0, 1, PROCESS_MEMORY_MB)
    progress("place", 0, 1)
    place_all(connection, request.sets.horizons_ms, sketch.entities)
    progress("place", 1, 1)
    numbers, rows = select(connection, gathered, is_begun=request.range.from_ms is not None)
    if not rows:
        raise NothingToScoreError("the range holds records, but none of them is a transaction or a valid decision")
    return Workplace(folder, request.sets, numbers, rows, shards_for(numbers, request.threads), PROCESS_MEMORY_MB)


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


def _examples(connection: Any, place: Workplace) -> tuple[Example, ...]:  # noqa: ANN401 - a connection of a module without types
    parts = ", ".join(quoted(place.part(block)) for block in range(place.blocks))
    found = connection.execute(
        f'SELECT transaction_id, card_id, partition, "offset", differences FROM read_parquet([{parts}]) '
        f"WHERE verdict = 'unexplained' LIMIT {EXAMPLES}"
    )
    return tuple(Example(*line) for line in found.fetchall())
