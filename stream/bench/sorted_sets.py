"""The first alternative in `bench features`: a sorted set for each entity, two commands an event and entity, pipelined.

Members are the records that ours keeps, by time, so a record is there once however often it is added, and the features
are the same to the bit. What it lacks is judging: a retry at another offset or with other content is a second record.
"""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from redis.asyncio import Redis

from features.declaration import DAY_MS, FeatureSet
from features.history import records
from features.history.append import NOBODY, parties
from features.history.frames import Floats
from features.history.store import NOWHERE, Entity, Fate, Histories, Label, Observed, Transactions
from features.vector.vectorise import vectorise
from stream.bench.contestants import key_begin


class SortedSets:
    """Keeps what the horizons of `feature_set` let see, for the contestant of this `name`."""

    def __init__(self, client: Redis, name: str, feature_set: FeatureSet) -> None:
        self._client = client
        self._begins = {kind: key_begin(name, kind) for kind in feature_set.horizons_ms}
        self._feature_set = feature_set
        self._horizons_ms = feature_set.horizons_ms
        self._touched: dict[str, tuple[Entity, int]] = {}

    async def vectors(self, batch: Transactions) -> Floats:
        """Read each history and add to it, event by event, in one pipeline; then compute as ours does."""
        theirs = parties(batch, tuple(self._horizons_ms))
        asked = [(kind, i) for kind, one in theirs.items() for i, entity in enumerate(one.hashes) if entity != NOBODY]
        times = batch.occurred_ms.tolist()
        own = {kind: [row.tobytes() for row in one.rows] for kind, one in theirs.items()}
        pipeline = self._client.pipeline(transaction=False)
        for kind, i in asked:
            key = self._key(kind, theirs[kind].hashes[i])
            self._touched[key] = kind, times[i]
            pipeline.zrange(key, f"({times[i] - self._horizons_ms[kind]}", "+inf", byscore=True)
            pipeline.zadd(key, {own[kind][i]: times[i]})
        replies = await pipeline.execute()
        seen = dict(zip(asked, replies[::2], strict=True))
        histories = {
            kind: _side_by_side(one.hashes, own[kind], [seen.get((kind, i), []) for i in range(len(batch))])
            for kind, one in theirs.items()
        }
        observed = Observed([Fate.DECIDE] * len(batch), histories, history_epoch=1, incomplete=False)
        return vectorise(self._feature_set, batch, observed)

    async def label(self, labels: Sequence[Label]) -> None:
        """Add a label to the histories of its card and its merchant."""
        pipeline = self._client.pipeline(transaction=False)
        for label in labels:
            row = records.label_row(label)
            card = self._key(Entity.CARD, records.card_hash(label.card_id))
            merchant = self._key(Entity.MERCHANT, records.merchant_hash(label.merchant_id or ""))
            pipeline.zadd(card, {row.tobytes(): label.labelled_ms})
            pipeline.zadd(merchant, {row[: records.SHARED_COLUMNS].tobytes(): label.labelled_ms})
        await pipeline.execute()

    async def tidy(self) -> None:
        """Drop what is out of sight, and let keys expire."""
        pipeline = self._client.pipeline(transaction=False)
        for key, (kind, time_ms) in self._touched.items():
            horizon_ms = self._horizons_ms[kind]
            pipeline.zremrangebyscore(key, "-inf", time_ms - horizon_ms)
            pipeline.pexpire(key, horizon_ms + DAY_MS)
        self._touched.clear()
        await pipeline.execute()

    def _key(self, kind: Entity, entity: int) -> str:
        return f"{self._begins[kind]}{entity & records.HASH_MASK:016x}"


def _side_by_side(hashes: Sequence[int], own: Sequence[bytes], seen: Sequence[list[bytes]]) -> Histories:
    """Put replies one after the other, each with one's own record last, once."""
    parts = [[*(other for other in others if other != mine), mine] for mine, others in zip(own, seen, strict=True)]
    rows = np.frombuffer(b"".join(chain.from_iterable(parts)), records.STORED).reshape(
        -1, len(own[0]) // records.COLUMN_BYTES
    )
    lengths = np.array(list(map(len, parts)), np.int64)
    return Histories(rows, lengths, np.where(np.array(hashes) == NOBODY, NOWHERE, lengths - 1))
