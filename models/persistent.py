"""Persistent collections of a lineup: changing one gives a new value in constant time and leaves the old one valid.

With a copied tuple or mapping, folding a log of n commands would cost n^2: minutes for 100,000 of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Generic, NamedTuple, TypeVar, overload

V = TypeVar("V")
_FROM_THE_START, _NEVER = -1, -2
"""Revisions before all others: of entries that a fold did not add, and of removals that did not happen."""


class GrowingMap(Mapping[str, V], Generic[V]):
    """A mapping to which keys are only added. All maps that grew out of one another share one `dict`.

    A map is the first `size` entries of it. Only the newest map extends the `dict`; adding to an older one copies.
    """

    __slots__ = ("_shared", "_size")

    def __init__(self, entries: Mapping[str, V] | None = None) -> None:
        """Copy `entries`."""
        self._shared = {key: (at, value) for at, (key, value) in enumerate((entries or {}).items())}
        self._size = len(self._shared)

    @classmethod
    def of(cls, entries: Mapping[str, V]) -> "GrowingMap[V]":
        """Return `entries` itself, if it is such a map already, or a copy."""
        return entries if isinstance(entries, GrowingMap) else cls(entries)

    def with_added(self, key: str, value: V) -> "GrowingMap[V]":
        """Return the map with one more entry; `key` must be new."""
        grown: GrowingMap[V] = GrowingMap()
        grown._shared = self._shared
        if self._size < len(self._shared):
            grown._shared = dict(islice(self._shared.items(), self._size))
        grown._shared[key] = (self._size, value)
        grown._size = self._size + 1
        return grown

    def __getitem__(self, key: str) -> V:
        at, value = self._shared[key]
        if at >= self._size:
            raise KeyError(key)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(list(islice(self._shared, self._size)))

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"GrowingMap({dict(self)!r})"


class _Entry(NamedTuple):
    """A model that was live before, since when it is in the stack, and the entry below."""

    digest: str
    since: int
    below: "_Entry | None"


class LiveBefore(Sequence[str]):
    """The models that were live before, the latest last: a stack of linked entries, without equal neighbours.

    `remove` only notes which entries are void; they are dropped when they come to the top, each once.
    """

    __slots__ = ("_removed", "_top")

    def __init__(self, digests: Sequence[str] = ()) -> None:
        """Copy `digests`."""
        self._removed: Mapping[str, int] = {}
        self._top: _Entry | None = None
        for digest in digests:
            self._top = _Entry(digest, _FROM_THE_START, self._top)

    @classmethod
    def of(cls, digests: Sequence[str]) -> "LiveBefore":
        """Return `digests` itself, if it is such a stack already, or a copy."""
        return digests if isinstance(digests, LiveBefore) else cls(digests)

    def with_added(self, digest: str, now: int) -> "LiveBefore":
        """Return the stack with a model on top; `now` is the lineup's revision, which only rises."""
        return self._with(_Entry(digest, now, self._top), self._removed, None)

    def without_last(self) -> "LiveBefore":
        """Return the stack after its last model became live; the stack must not be empty."""
        if self._top is None:
            raise IndexError("no model was live before")
        return self._with(self._top.below, self._removed, self._top.digest)

    def without(self, digest: str, now: int, live: str | None) -> "LiveBefore":
        """Return the stack without a model; `live` is live now, so it is not on top."""
        return self._with(self._top, {**self._removed, digest: now}, live)

    def _with(self, top: _Entry | None, removed: Mapping[str, int], live: str | None) -> "LiveBefore":
        stack = LiveBefore()
        stack._removed = removed
        stack._top = stack._next(top, live)
        return stack

    def _next(self, entry: _Entry | None, above: str | None) -> _Entry | None:
        """Return the first entry from `entry` down that is not void and differs from the model above it."""
        while entry is not None and (entry.digest == above or entry.since <= self._removed.get(entry.digest, _NEVER)):
            entry = entry.below
        return entry

    def _from_the_top(self) -> Iterator[str]:
        entry = self._top
        while entry is not None:
            yield entry.digest
            entry = self._next(entry.below, entry.digest)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if index == -1 and self._top is not None:
            return self._top.digest
        return tuple(self)[index]

    def __iter__(self) -> Iterator[str]:
        return reversed(list(self._from_the_top()))

    def __len__(self) -> int:
        return sum(1 for _ in self._from_the_top())

    def __bool__(self) -> bool:
        return self._top is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LiveBefore | tuple) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"LiveBefore({tuple(self)!r})"


class _Period(NamedTuple):
    """The model that was live since a time, None where there was none, and the period before."""

    since_ms: int
    live: str | None
    earlier: "_Period | None"


class LiveSince:
    """Which model was live at which time: periods linked to those before them."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        """Begin with no model."""
        self._last: _Period | None = None

    def with_added(self, since_ms: int, live: str | None) -> "LiveSince":
        """Return the periods with one more, which ends the last one."""
        added = LiveSince()
        added._last = _Period(since_ms, live, self._last)
        return added

    def at(self, time_ms: int) -> str | None:
        """Return the model that was live at a time; None if there was none yet."""
        return next((live for since_ms, live in self._from_the_last() if since_ms <= time_ms), None)

    def _from_the_last(self) -> Iterator[tuple[int, str | None]]:
        period = self._last
        while period is not None:
            yield period.since_ms, period.live
            period = period.earlier

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LiveSince) and [*self._from_the_last()] == [*other._from_the_last()]

    def __hash__(self) -> int:
        return hash(tuple(self._from_the_last()))

    def __repr__(self) -> str:
        return f"LiveSince({[*self._from_the_last()]!r})"
