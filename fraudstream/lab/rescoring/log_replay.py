"""Replays one decision from the logs: its features, score and verdict, and the records that each history showed it.

Only records of its card, merchant and device are loaded. `replay` finds the decision.
"""

import asyncio
from typing import Any

import msgspec
import numpy as np

from features.history.store import Entity
from fraudstream.lab.rescoring.blocks import all_parts
from fraudstream.lab.rescoring.compare import compare_block
from fraudstream.lab.rescoring.erased import IS_ERASED
from fraudstream.lab.rescoring.range_loader import FAR_FUTURE_MS
from fraudstream.lab.rescoring.request import NothingToScoreError, Progress, TopicRequest
from fraudstream.lab.rescoring.shard_output import visible_counts
from fraudstream.lab.rescoring.stages import TaskPool, run_passes
from fraudstream.lab.rescoring.topic_reader import TopicPart, open_reader
from fraudstream.lab.rescoring.topic_run import PreparedRange, prepare
from fraudstream.lab.rescoring.topic_tables import EntityFilter
from fraudstream_client.outputs import Score
from models.times import format_time
from stream.kafka.topics import TRANSACTIONS
from stream.scoring.decode import decode
from stream.settings import Settings

MAX_SHOWN = 100
"""The most visible records that are listed, newest first."""


class VisibleHistory(msgspec.Struct, frozen=True, kw_only=True):
    """A history as the decision saw it: the records before it by its `position`, and how many were `visible`."""

    kind: str
    id: str
    history_epoch: int
    position: int | None
    visible: int
    newest: tuple[dict[str, Any], ...]


class FeatureComparison(msgspec.Struct, frozen=True):
    """One feature, as recorded and as computed from the logs."""

    name: str
    recorded: float | None
    again: float | None
    equal: bool | None


class LogReplay(msgspec.Struct, frozen=True, kw_only=True):
    """A decision replayed from the logs: visible records, features, score and decision, verdict and its reasons."""

    histories: tuple[VisibleHistory, ...]
    features: tuple[FeatureComparison, ...]
    fate: str | None
    score: float | None
    band: int | None
    decision: str | None
    verdict: str
    reasons: tuple[str, ...]


def replay_from_logs(request: TopicRequest, score: Score, progress: Progress) -> tuple[LogReplay | None, str]:
    """Replay a decision from the logs; the text says why that is not possible."""
    if score.fingerprint not in request.sets.by_fingerprint:
        return None, "it was decided with another feature set than FRAUDSTREAM_FEATURES names"
    try:
        entities = EntityFilter(score, asyncio.run(_device(request.settings, score)))
        with (
            prepare(request, progress, decisions=True, entity_filter=entities) as prepared,
            TaskPool(1) as pool,
        ):
            run_passes(prepared.workdir, pool, progress)
            compare_block(request.settings.models, prepared.workdir, 0)
            return _log_replay(prepared, score, request), ""
    except NothingToScoreError as error:
        return None, f"the logs no longer hold it: {error}"


async def _device(settings: Settings, score: Score) -> str | None:
    """Return the device of the transaction that was decided, from its own record."""
    source, topic = score.source, settings.topic(TRANSACTIONS.name)
    async with open_reader(settings) as topics:
        whole = await topics.whole(topic)
        if not whole.starts.get(source.partition, 0) <= source.offset < whole.ends.get(source.partition, 0):
            raise NothingToScoreError(
                f"{topic} {source.partition} begins at offset {whole.starts.get(source.partition)}"
            )
        part = TopicPart(topic, {source.partition: source.offset}, {source.partition: source.offset + 1})
        async for records in topics.read(part):
            decoded = decode(records, FAR_FUTURE_MS, is_accepted=lambda _: True)
            if len(decoded.columns):
                return decoded.columns.device_ids[0]
    return None


def _log_replay(prepared: PreparedRange, score: Score, request: TopicRequest) -> LogReplay:
    found = prepared.connection.execute(f"SELECT * EXCLUDE (occurred_at) FROM {all_parts(prepared.workdir)}")
    line = dict(zip([column[0] for column in found.description], found.fetchall()[0], strict=True))
    recorded = score.features
    features = [
        FeatureComparison(
            name, None if recorded is None else recorded.get(name), line[name], _equal(recorded, name, line[name])
        )
        for name in request.sets.by_fingerprint[score.fingerprint].names
    ]
    return LogReplay(
        histories=tuple(_visible_history(prepared, score, kind) for kind in prepared.workdir.entities),
        features=tuple(features),
        fate=line["fate"],
        score=line["score"],
        band=line["band"],
        decision=line["decision"],
        verdict=line["verdict"],
        reasons=tuple((line["reasons"] or "").split(",")) if line["reasons"] else (),
    )


def _equal(recorded: dict[str, float | None] | None, name: str, again: float | None) -> bool | None:
    return None if recorded is None else recorded.get(name) == again


def _visible_history(prepared: PreparedRange, score: Score, kind: Entity) -> VisibleHistory:
    """Return what was visible of one history: the records before the decision in its log, within the horizon."""
    name, horizon_ms = kind.value, prepared.workdir.sets.horizons_ms[kind]
    fields = ("transaction_id", "card_id", "merchant_id", "occurred_ms", "amount_minor", "currency")
    rows = prepared.connection.execute(
        f"WITH own AS (SELECT * FROM rows WHERE row = 0) SELECT {', '.join(f'rows.{field}' for field in fields)} "
        f"FROM rows, own WHERE rows.{name}_id = own.{name}_id AND rows.number <> own.number AND rows.is_decided "
        f"AND (rows.{name}_key, rows.{name}_tie, rows.number) < (own.{name}_key, own.{name}_tie, own.number) "
        f"AND NOT {IS_ERASED.format(table='rows', time='occurred_ms')} "
        f"AND rows.occurred_ms > own.occurred_ms - {horizon_ms} ORDER BY rows.occurred_ms DESC LIMIT {MAX_SHOWN}"
    ).fetchall()
    ids = prepared.connection.execute(f"SELECT {name}_id FROM rows WHERE row = 0").fetchall()
    newest = [dict(zip(fields, row, strict=True)) for row in rows]
    for record in newest:
        record["occurred_at"] = format_time(record.pop("occurred_ms"))
    return VisibleHistory(
        kind=name,
        id=(ids[0][0] if ids else None) or "",
        history_epoch=score.positions.history_epoch,
        position=getattr(score.positions, name),
        visible=int(np.maximum(visible_counts(prepared.workdir, 0, kind)[0] - 1, 0)),
        newest=tuple(newest),
    )
