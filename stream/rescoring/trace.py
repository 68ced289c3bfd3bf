"""One decision made again from the logs: only what its card, merchant and device have there is looked at.

Nothing here finds a decision, or prints.
"""

import asyncio
from typing import Any

import msgspec
import numpy as np

from features.history.store import Entity
from models.times import format_time
from stream.contract.outputs import Score
from stream.dataset.database import quoted
from stream.kafka.topics import TRANSACTIONS
from stream.rescoring.compare import compare_block
from stream.rescoring.gather import FOR_EVER_MS
from stream.rescoring.ledgers import visible
from stream.rescoring.request import NothingToScoreError, Progress, TopicRequest
from stream.rescoring.spool import EntityFilter
from stream.rescoring.stages import Pool, run_passes
from stream.rescoring.topic_run import Prepared, prepared
from stream.rescoring.topics import TopicPart, reading
from stream.scoring.decode import decode
from stream.settings import Settings

MOST_SHOWN = 100
"""So many of the visible records are named, the newest first."""


class VisibleHistory(msgspec.Struct, frozen=True, kw_only=True):
    """A history as the decision saw it: by its position, how many records lay before it; how many were in sight."""

    kind: str
    id: str
    history_epoch: int
    position: int | None
    visible: int
    newest: tuple[dict[str, Any], ...]


class FeatureComparison(msgspec.Struct, frozen=True):
    """One feature, as recorded and as it comes out of the logs."""

    name: str
    recorded: float | None
    again: float | None
    equal: bool | None


class Traced(msgspec.Struct, frozen=True, kw_only=True):
    """The decision from the logs: what was visible, each feature, what that comes to, the verdict and its reasons."""

    histories: tuple[VisibleHistory, ...]
    features: tuple[FeatureComparison, ...]
    fate: str | None
    score: float | None
    band: int | None
    decision: str | None
    verdict: str
    reasons: tuple[str, ...]


def retrace(request: TopicRequest, score: Score, progress: Progress) -> tuple[Traced | None, str]:
    """Make a decision again from the logs, or say why that cannot be."""
    if score.fingerprint not in request.sets.by_fingerprint:
        return (
            None,
            "it was decided by a table of features that is not computed here: FRAUDSTREAM_FEATURES names another",
        )
    try:
        device_id = asyncio.run(_device(request.settings, score))
        with prepared(request, progress, decisions=True, only=EntityFilter(score, device_id)) as made, Pool(1) as pool:
            run_passes(made.place, pool, progress)
            compare_block(request.settings.models, made.place, 0)
            return _traced(made, score, request), ""
    except NothingToScoreError as error:
        return None, f"the logs no longer hold it: {error}"


async def _device(settings: Settings, score: Score) -> str | None:
    """Return the device of the transaction that was decided, as its own record tells it."""
    place, topic = score.source, settings.topic(TRANSACTIONS.name)
    async with reading(settings) as topics:
        whole = await topics.whole(topic)
        if not whole.starts.get(place.partition, 0) <= place.offset < whole.ends.get(place.partition, 0):
            raise NothingToScoreError(f"{topic} {place.partition} begins at offset {whole.starts.get(place.partition)}")
        part = TopicPart(topic, {place.partition: place.offset}, {place.partition: place.offset + 1})
        async for records in topics.read(part):
            decoded = decode(records, FOR_EVER_MS)
            if len(decoded.columns):
                return decoded.columns.device_ids[0]
    return None


def _traced(made: Prepared, score: Score, request: TopicRequest) -> Traced:
    found = made.connection.execute(f"SELECT * EXCLUDE (occurred_at) FROM read_parquet({quoted(made.place.part(0))})")
    line = dict(zip([column[0] for column in found.description], found.fetchall()[0], strict=True))
    recorded = score.features
    features = [
        FeatureComparison(
            name, None if recorded is None else recorded.get(name), line[name], _equal(recorded, name, line[name])
        )
        for name in request.sets.by_fingerprint[score.fingerprint].names
    ]
    return Traced(
        histories=tuple(_seen(made, score, kind) for kind in made.place.entities),
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


def _seen(made: Prepared, score: Score, kind: Entity) -> VisibleHistory:
    """Say what was visible of one history: what lies before the decision in its log, within the horizon."""
    name, horizon_ms = kind.value, made.place.sets.horizons_ms[kind]
    fields = ("transaction_id", "card_id", "merchant_id", "occurred_ms", "amount_minor", "currency")
    rows = made.connection.execute(
        f"WITH own AS (SELECT * FROM rows WHERE row = 0) SELECT {', '.join(f'rows.{field}' for field in fields)} "
        f"FROM rows, own WHERE rows.{name}_id = own.{name}_id AND rows.number <> own.number AND rows.is_decided "
        f"AND (rows.{name}_key, rows.{name}_tie, rows.number) < (own.{name}_key, own.{name}_tie, own.number) "
        f"AND rows.occurred_ms > own.occurred_ms - {horizon_ms} ORDER BY rows.occurred_ms DESC LIMIT {MOST_SHOWN}"
    ).fetchall()
    who = made.connection.execute(f"SELECT {name}_id FROM rows WHERE row = 0").fetchall()
    told = [dict(zip(fields, row, strict=True)) for row in rows]
    for record in told:
        record["occurred_at"] = format_time(record.pop("occurred_ms"))
    return VisibleHistory(
        kind=name,
        id=(who[0][0] if who else None) or "",
        history_epoch=score.positions.history_epoch,
        position=getattr(score.positions, name),
        visible=int(np.maximum(visible(made.place, 0, kind)[0] - 1, 0)),
        newest=tuple(told),
    )
