"""A scores topic made by hand: owners and zombies that write in turns, topics made anew, and what is no score."""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from support.fleet.payments import PARTITIONS

TURNS = 40
LONGEST_TURN = 12
REPEATED = 0.1
NO_SCORES: tuple[bytes | None, ...] = (
    None,
    b"",
    b"no score",
    b"[]",
    b"{}",
    b'"score/1"',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"schema":"score/1","epoch":1}',
)


def handmade_scores(seed: int) -> list[tuple[int, bytes | None]]:
    """Return the records of a scores topic in the order in which they are sent, as (partition, value).

    Each partition's owners take turns: a later owner has a higher epoch, and resumes behind the last valid score, as a
    worker does; an earlier one continues where it was, as a zombie does. Half way, offsets start again in a new log.
    """
    draw = np.random.default_rng(seed)
    each = [list(_partition(number, draw)) for number in range(PARTITIONS)]
    numbered = [(at, number, value) for number in range(PARTITIONS) for at, value in enumerate(each[number])]
    return [(number, value) for _, number, value in sorted(numbered, key=lambda one: one[:2])]


def _partition(number: int, draw: np.random.Generator) -> Iterator[bytes | None]:
    highest, last = -1, (0, -1)
    owners: dict[int, tuple[int, int]] = {}
    for turn in range(TURNS):
        epoch = int(draw.integers(highest + 1)) if turn % 4 else highest + 1
        log, offset = owners.get(epoch, last)
        if turn == TURNS // 2:
            log, offset = last[0] + 1, -1
        for _ in range(int(draw.integers(1, LONGEST_TURN))):
            offset += int(draw.integers(1, 4))
            yield score(number, epoch, log, offset)
            if draw.random() < REPEATED:
                yield score(number, epoch, log, offset)
            if epoch >= highest and (log, offset) > last:
                last = log, offset
            highest = max(highest, epoch)
        owners[epoch] = log, offset
        yield NO_SCORES[turn % len(NO_SCORES)]
        yield from _faulty(number, highest)
        if turn % 5 == 0:
            highest += 1
            yield score(number, highest, *last)  # void, and all the same no lower epoch is valid after it
            yield score(number, highest, last[0] - 1, 10**6) if last[0] else score(number, highest - 1, 0, 10**6)
    yield score(number, highest, last[0], last[1] + 1)  # valid, so that its reader has read all before it


def _faulty(partition: int, highest: int) -> Iterator[bytes]:
    """Yield scores of a valid place but for one field that is none; if read, each would make later scores void."""
    above = {"epoch": highest + 1}
    place = {"topic": "t", "partition": partition, "offset": 10**6}
    for change in (
        {"epoch": -1}, {"epoch": "9"}, {"epoch": 9.5}, {"epoch": None}, above | {"schema": "score/2"},
        above | {"source": {"topic": "t", "partition": partition, "offset": -1}},
        above | {"source": {"topic": "t", "partition": partition, "offset": "9"}},
        above | {"source": {"topic": "t", "partition": partition}}, above | {"source": 9},
        *(above | {"source": place | {"log": log}} for log in (-1, None, "1", 0.5, 512)),
        above | {"source": place | {"offset": 2**44}},
        *(above | {name: value} for name in ("transaction_id", "decision", "decided_by") for value in (None, 9)),
    ):  # fmt: skip
        fields: dict[str, Any] = msgspec.json.decode(score(partition, 9, 0, 10**6)) | change
        yield msgspec.json.encode(fields)
    for name in ("transaction_id", "decision", "decided_by"):
        less: dict[str, Any] = msgspec.json.decode(score(partition, highest + 1, 0, 10**6))
        yield msgspec.json.encode({field: value for field, value in less.items() if field != name})
    yield score(partition, highest + 1, 0, 10**6) + b"}"


def score(partition: int, epoch: int, log: int, offset: int) -> bytes:
    """Encode a score of a place; log 0 is left out, which means the same. Every other one has attributes."""
    attributes = {"attributes": {"browser": "ü", "ip_country": "NG"}} if offset % 2 else {}
    source = {"topic": "t", "partition": partition, "offset": offset}
    return msgspec.json.encode(
        {
            "schema": "score/1",
            "transaction_id": f"t-{partition}-{log}-{offset}-ü",
            "card_id": f"card-{partition}",
            "merchant_id": "m",
            "occurred_at": "2026-01-31T12:00:00.000Z",
            "amount_minor": 1,
            "currency": "EUR",
            "score": 0.25,
            "band": 500,
            "decision": ("approve", "review", "decline")[offset % 3],
            "decided_by": "model",
            "model": {"name": "card", "version": "1", "digest": "0" * 64},
            "arm": "live",
            "revision": 1,
            "fingerprint": "f",
            "code_version": "0",
            "features": {"card_count_1h": 1.0, "card_amount_mean_1h": None},
            "positions": {"history_epoch": 1, "card": 1, "merchant": None},
            "degraded": [],
            "dropped": [],
            "epoch": epoch,
            "source": source | ({"log": log} if log else {}),
            "scored_at": "2026-01-31T12:00:00.000Z",
            "latency_ms": 4,
            "added_later": {"log": 7, "epoch": 7},
        }
        | attributes
    )
