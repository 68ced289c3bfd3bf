"""In which calls the drafts of a batch are appended, what each call tells the server, and what its answer means.

One server takes everything in one call. On a Redis Cluster a call reaches one shard, so the cards' calls go first and
the others' follow when all cards have taken theirs: whether a transaction counts at all is judged on its card. Whoever
is stopped between the two finds his records at their own places when he asks again, and goes on.
Nothing here talks to a server.
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
"""A worker sets a key's expiry anew at most so often."""
EXPIRY_MARGIN_MS = DAY_MS
"""A key outlives its horizon by this; what is remembered is trusted until the horizon."""
NO_EPOCH = 0
"""Stands for an epoch key that is gone."""

Touched = Mapping[Entity, Sequence[CachedHistory]]
"""Histories by kind, cards first, each once."""


@dataclass(frozen=True, slots=True)
class Appended:
    """All of a call is appended; `tails` holds, by index of the history, what others had appended to it first."""

    tails: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Nothing of a call is appended: these histories, by index, are not as they were thought to be."""

    indexes: list[int]


@dataclass(frozen=True, slots=True)
class OtherEpoch:
    """Nothing of a call is appended: the shard's history epoch is another, or NO_EPOCH."""

    epoch: int


Answer = Appended | Mismatch | OtherEpoch


def read_reply(reply: list[Any]) -> Answer:
    """Read a reply of append.lua."""
    match reply[0]:
        case 0:
            return Appended({reply[i] - 1: reply[i + 1] for i in range(1, len(reply), 2)})
        case 1:
            return Mismatch([index - 1 for index in reply[1:]])
        case _:
            return OtherEpoch(int(reply[1] or NO_EPOCH))


class ShardAppend(NamedTuple):
    """What one call appends: histories of one shard, by kind."""

    shard: int
    groups: Touched

    @property
    def entries(self) -> list[CachedHistory]:
        """All of them, in the order of the call."""
        return [entry for group in self.groups.values() for entry in group]


def append_steps(touched: Touched, layout: KeyLayout) -> list[list[ShardAppend]]:
    """Return what is appended in one go, one after the other; a step begins when all of the one before is appended.

    A third step looks at the cards again, where another party's history begins with this batch: a label that came to
    a card meanwhile found no history to follow its transaction into, and has to be drafted there.
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
    """Return one part for each shard that any of the histories is in."""
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
    """What holds for all calls of a batch: the epoch that is believed in, and how long each kind is kept, from when."""

    epoch: int
    horizons_ms: Mapping[Entity, int]
    now_ms: int


def append_calls(parts: Sequence[ShardAppend], layout: KeyLayout, context: AppendContext) -> list[Call]:
    """Write the parts of one step as append.lua is told them."""
    stale_ms = context.now_ms - REFRESH_AFTER_MS
    lines = {kind: iter(append_requests(groups, stale_ms)) for kind, groups in by_kind(parts).items()}
    return [_call(part, [next(lines[kind]) for kind in part.groups], layout, context) for part in parts]


def _call(
    part: ShardAppend, lines: Sequence[tuple[bytes, bytes, bytes]], layout: KeyLayout, context: AppendContext
) -> Call:
    asks, uncommitted, headers = map(b"".join, zip(*lines, strict=True))
    arguments: list[bytes | int] = [context.epoch, asks, uncommitted, headers]
    for kind, group in part.groups.items():
        record_bytes = records.COLUMNS[kind] * records.COLUMN_BYTES
        kept_ms = context.horizons_ms[kind] + EXPIRY_MARGIN_MS
        arguments += [len(group), record_bytes, kept_ms, int(kind is not Entity.CARD)]
    return Call(part.shard, [layout.epochs[part.shard], *[entry.key for entry in part.entries]], arguments)
