"""How far back the histories of an epoch go, by whose they are: those that are all there, and those that are kept.

Nothing here talks to a server; `epochs` and `wholeness` keep these values on one.
"""

from collections.abc import Mapping
from typing import NamedTuple

from features.declaration import DAY_MS
from features.history.store import Entity


class Cover(NamedTuple):
    """Milliseconds before the newest transaction of a history, by the name of the kind of history."""

    horizons_ms: Mapping[str, int]

    @classmethod
    def of(cls, horizons_ms: Mapping[Entity, int]) -> "Cover":
        """Return what is asked by who looks at histories for so long."""
        return cls({kind.value: ms for kind, ms in horizons_ms.items()})

    @property
    def by_kind(self) -> Mapping[Entity, int]:
        """The same by kind, cards first."""
        return {kind: self.horizons_ms[kind.value] for kind in Entity if kind.value in self.horizons_ms}

    @property
    def text(self) -> str:
        """As it is kept: `card=3196800000,merchant=3801600000`."""
        return ",".join(f"{name}={ms}" for name, ms in sorted(self.horizons_ms.items()))

    def reaches(self, wanted: "Cover") -> bool:
        """Tell whether all is covered that another asks for."""
        return all(self.horizons_ms.get(name, 0) >= ms for name, ms in wanted.horizons_ms.items())

    def joined(self, other: "Cover") -> "Cover":
        """Return what is asked by both together: of each kind the longer."""
        mine, theirs = self.horizons_ms, other.horizons_ms
        return Cover({name: max(mine.get(name, 0), theirs.get(name, 0)) for name in {**mine, **theirs}})

    def __str__(self) -> str:
        """Say it for people."""
        return ", ".join(f"{name} {ms / DAY_MS:g} days" for name, ms in sorted(self.horizons_ms.items())) or "no time"


class Span(NamedTuple):
    """An epoch, and how far back something is so under it; a negative epoch while a deployment begins."""

    epoch: int
    cover: Cover

    @property
    def text(self) -> str:
        """As it is kept."""
        return f"{self.epoch} {self.cover.text}"

    def holds(self, epoch: int, wanted: Cover) -> bool:
        """Tell whether it is so under an epoch, as far back as is asked."""
        return self.epoch == epoch and self.cover.reaches(wanted)

    def under(self, epoch: int) -> "Span":
        """Return what that says of an epoch: nothing where it is about another."""
        return self if self.epoch == epoch else NOTHING


NOTHING = Span(0, Cover({}))
"""Is so under no epoch."""


def read_span(value: bytes | None) -> Span:
    """Read what is kept; no epoch is 0."""
    epoch, _, cover = (value or b"0").decode().partition(" ")
    pairs = (pair.partition("=") for pair in cover.split(",") if pair)
    return Span(int(epoch), Cover({name: int(ms) for name, _, ms in pairs}))
