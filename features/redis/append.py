"""The script calls that append a batch: which histories go into which call, its arguments, and its reply.

One server takes everything in one call. On a Redis Cluster a call reaches one shard, so the cards' calls go first and
the others follow once all cards are appended, since a transaction is judged on its card. A worker that is stopped in
between finds its records at their positions when it asks again, and continues.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from features.declaration import DAY_MS, HOUR_MS
from features.history import records
from features.history.store import Entity
from features.redis.cache import CachedHistory, append_requests
from features.redis.connection import Call
from features.redis.keys import HOME_SHARD, SINGLE_SERVER_SHARDS, KeyLayout

REFRESH_AFTER_MS = HOUR_MS
"""A worker renews a key's expiry at most this often."""
EXPIRY_MARGIN_MS = DAY_MS
"""A key expires this long after its horizon; a cached history is trusted until the horizon."""
EPOCH_DIGITS = 15
"""A number of more digits is no epoch: Lua would round it."""
NO_EPOCH = 0
"""Stands for a missing epoch key."""

Touched = Mapping[Entity, Sequence[CachedHistory]]
"""Histories by kind, cards first, each once."""


@dataclass(frozen=True, slots=True)
class Appended:
    """The call appended everything; `tails` holds, by index of the history, what others had appended to it first."""

    tails: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The call appended nothing: these histories, by index, differ from their cached state."""

    indexes: list[int]


@dataclass(frozen=True, slots=True)
class OtherEpoch:
    """The call appended nothing: the shard's history epoch is another, or NO_EPOCH."""

    epoch: int


@dataclass(frozen=True, slots=True)
class WrongType:
    """The call appended nothing: the keys of these histories, by index, hold something else."""

    indexes: list[int]


Answer = Appended | Mismatch | OtherEpoch | WrongType


def read_reply(reply: list[Any]) -> Answer:
    """Parse a reply of append.lua."""
    match reply[0]:
        case 0:
            return Appended({reply[i] - 1: reply[i + 1] for i in range(1, len(reply), 2)})
        case 1:
            return Mismatch([index - 1 for index in reply[1:]])
        case 2:
            return OtherEpoch(read_epoch(reply[1]))
        case _:
            return WrongType([index - 1 for index in reply[1:]])


def read_epoch(value: bytes | None) -> int:
    """Parse a history epoch; what is no number counts as none, and so as a loss."""
    return int(value) if value and value.isdigit() and len(value) <= EPOCH_DIGITS else NO_EPOCH


class ShardAppend(NamedTuple):
    """The histories of one call, by kind; all are in one shard."""

    shard: int
    groups: Touched

    @property
    def entries(self) -> list[CachedHistory]:
        """All of them, in the order of the call."""
        return [entry for group in self.groups.values() for entry in group]


def append_steps(touched: Touched, layout: KeyLayout) -> list[list[ShardAppend]]:
    """Return the calls in order of execution; a step begins when the previous one is appended completely.

    A third step repeats the cards' calls where this batch starts another entity's history: a label that reached a
    card meanwhile found no history for its transaction, and has to be appended there.
    """
    touched = {kind: group for kind, group in touched.items() if group}
    if layout.shard_count == SINGLE_SERVER_SHARDS:
        return [[ShardAppend(HOME_SHARD, touched)]]
    cards: Touched = {kind: group for kind, group in touched.items() if kind is Entity.CARD}
    others: Touched = {kind: group for kind, group in touched.items() if kind is not Entity.CARD}
    begun = any(entry.is_absent and entry.length for group in others.values() for entry in group)
    in_turn = [split_by_shard(cards, layout), split_by_shard(others, layout)]
    return in_turn + in_turn[:1] if begun else in_turn


def split_by_shard(touched: Touched, layout: KeyLayout) -> list[ShardAppend]:
    """Return one part for each shard that holds any of the histories."""
    parts: dict[int, dict[Entity, list[CachedHistory]]] = {}
    for kind, group in touched.items():
        for shard, places in layout.group_by_shard(entry.entity for entry in group).items():
            parts.setdefault(shard, {})[kind] = [group[place] for place in places]
    return [ShardAppend(shard, groups) for shard, groups in parts.items()]


def by_kind(parts: Iterable[ShardAppend]) -> dict[Entity, list[Sequence[CachedHistory]]]:
    """Return the groups of each kind, part by part."""
    groups: dict[Entity, list[Sequence[CachedHistory]]] = {}
    for part in parts:
        for kind, group in part.groups.items():
            groups.setdefault(kind, []).append(group)
    return groups


class AppendContext(NamedTuple):
    """What all calls of a batch share: the expected epoch, the horizons, and the time of the call."""

    epoch: int
    horizons_ms: Mapping[Entity, int]
    now_ms: int


def append_calls(parts: Sequence[ShardAppend], layout: KeyLayout, context: AppendContext) -> list[Call]:
    """Return the calls of append.lua for the parts of one step."""
    stale_ms = context.now_ms - REFRESH_AFTER_MS
    lines = {kind: iter(append_requests(groups, stale_ms)) for kind, groups in by_kind(parts).items()}
    return [_call(part, [next(lines[kind]) for kind in part.groups], layout, context) for part in parts]


def _call(
    part: ShardAppend, lines: Sequence[tuple[bytes, bytes, bytes]], layout: KeyLayout, context: AppendContext
) -> Call:
    requests, appended, headers = map(b"".join, zip(*lines, strict=True))
    arguments: list[bytes | int] = [context.epoch, requests, appended, headers]
    for kind, group in part.groups.items():
        record_bytes = records.COLUMNS[kind] * records.COLUMN_BYTES
        kept_ms = context.horizons_ms[kind] + EXPIRY_MARGIN_MS
        arguments += [len(group), record_bytes, kept_ms, int(kind is not Entity.CARD)]
    return Call(part.shard, [layout.epochs[part.shard], *[entry.key for entry in part.entries]], arguments)
