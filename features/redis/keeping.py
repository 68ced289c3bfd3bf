"""How long, and how fine, a deployment's histories are kept under an epoch: all that any of its workers asks.

Each asks for the ladders of its own sets. Nothing here talks to a server; `epochs` keeps this value on one.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from features.history.retention import Keep, Ladder, exact, horizons_of
from features.history.store import Entity
from features.redis.cover import Cover


class Kept(NamedTuple):
    """What is asked under an epoch: one text for each ladder of a kind of history, in order."""

    epoch: int
    needs: tuple[str, ...]

    @property
    def text(self) -> bytes:
        """As it is kept: a line with the epoch, and one for each need."""
        return "\n".join((str(self.epoch), *self.needs)).encode()

    @property
    def keeps(self) -> Mapping[Entity, Keep]:
        """The same by kind, cards first."""
        asked = dict[Entity, list[Ladder]]()
        for kind, ladder in map(_read, self.needs):
            asked.setdefault(kind, []).append(ladder)
        return {kind: Keep(tuple(asked[kind])) for kind in Entity if kind in asked}

    @property
    def cover(self) -> Cover:
        """How far back that is."""
        return Cover.of(horizons_of(self.keeps))

    def under(self, epoch: int) -> "Kept":
        """Return what is asked under an epoch: nothing where this is about another."""
        return self if self.epoch == epoch else NOT_KNOWN

    def lacking(self, own: Iterable[str], whole: Cover) -> set[str]:
        """Return what is missing of our own needs, and of what histories are whole for: that must not be trimmed."""
        asked = Kept(self.epoch, tuple({*self.needs, *own}))
        far = asked.cover.horizons_ms
        beyond = {kind: ms for kind, ms in whole.by_kind.items() if far.get(kind.value, 0) < ms}
        return {*asked.needs, *(_written(kind, exact(ms)) for kind, ms in beyond.items())} - {*self.needs}


NOT_KNOWN = Kept(0, ())
"""Stands for what nobody has said."""


def read_kept(value: bytes | None) -> Kept:
    """Read what is kept on a server; nothing is no epoch's."""
    epoch, *needs = (value or b"0").decode().split("\n")
    return Kept(int(epoch), tuple(needs))


def needs_of(keeps: Mapping[Entity, Keep]) -> tuple[str, ...]:
    """Write what is asked by who keeps histories so."""
    return tuple(sorted({_written(kind, ladder) for kind, keep in keeps.items() for ladder in keep.ladders}))


def _written(kind: Entity, ladder: Ladder) -> str:
    """Write one need: `merchant 1/3600000 3600000/1296000000`."""
    steps = zip(ladder.resolutions_ms, ladder.tails_ms, strict=True)
    return " ".join((kind.value, *(f"{resolution}/{tail}" for resolution, tail in steps)))


def _read(need: str) -> tuple[Entity, Ladder]:
    kind, *steps = need.split()
    pairs = [tuple(map(int, step.split("/"))) for step in steps]
    return Entity(kind), Ladder(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))
