"""How far back the histories of an epoch are all there, by whose they are, and whether that is far enough.

Nothing here talks to a server; `epochs` and `wholeness` keep these values on one.
"""

from collections.abc import Mapping
from typing import NamedTuple

from features.entities import Entity


class Cover(NamedTuple):
    """Milliseconds before the newest transaction of a history, by the name of the kind of history."""

    horizons_ms: Mapping[str, int]

    @classmethod
    def of(cls, horizons_ms: Mapping[Entity, int]) -> "Cover":
        """Return what is asked by who keeps histories for so long."""
        return cls({kind.value: ms for kind, ms in horizons_ms.items()})

    @property
    def text(self) -> str:
        """As it is kept: `card=3196800000,merchant=3801600000`."""
        return ",".join(f"{name}={ms}" for name, ms in sorted(self.horizons_ms.items()))

    def reaches(self, wanted: "Cover") -> bool:
        """Tell whether all is covered that another asks for."""
        return all(self.horizons_ms.get(name, 0) >= ms for name, ms in wanted.horizons_ms.items())


class Whole(NamedTuple):
    """The epoch whose histories are known to be all there, and how far back; negative while a deployment begins."""

    epoch: int
    cover: Cover

    @property
    def text(self) -> str:
        """As it is kept."""
        return f"{self.epoch} {self.cover.text}"

    def holds(self, epoch: int, wanted: Cover) -> bool:
        """Tell whether an epoch's histories are all there, as far back as is asked."""
        return self.epoch == epoch and self.cover.reaches(wanted)


def read_whole(value: bytes | None) -> Whole:
    """Read what is kept; no epoch is 0."""
    epoch, _, cover = (value or b"0").decode().partition(" ")
    pairs = (pair.partition("=") for pair in cover.split(",") if pair)
    return Whole(int(epoch), Cover({name: int(ms) for name, _, ms in pairs}))
