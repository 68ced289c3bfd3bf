"""How long, and how fine, a deployment's histories are kept under an epoch: all that any of its workers asks.

Each asks for the ladders of its own sets. Nothing here talks to a server; `epochs` keeps this value on one.

How far back the histories of an epoch go, by whose they are: those that are all there, and those that are kept.

Nothing here talks to a server; `epochs` and `repair_progress` keep these values on one.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from features.declaration import DAY_MS
from features.history.retention import ResolutionSchedule, Retention, exact, horizons_of
from features.history.store import Entity


class Coverage(NamedTuple):
    """Milliseconds before the newest transaction of a history, by the name of the kind of history."""

    horizons_ms: Mapping[str, int]

    @classmethod
    def of(cls, horizons_ms: Mapping[Entity, int]) -> "Coverage":
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

    def includes(self, wanted: "Coverage") -> bool:
        """Tell whether all is covered that another asks for."""
        return all(self.horizons_ms.get(name, 0) >= ms for name, ms in wanted.horizons_ms.items())

    def union(self, other: "Coverage") -> "Coverage":
        """Return what is asked by both together: of each kind the longer."""
        mine, theirs = self.horizons_ms, other.horizons_ms
        return Coverage({name: max(mine.get(name, 0), theirs.get(name, 0)) for name in {**mine, **theirs}})

    def __str__(self) -> str:
        """Say it for people."""
        return ", ".join(f"{name} {ms / DAY_MS:g} days" for name, ms in sorted(self.horizons_ms.items())) or "no time"


class EpochCoverage(NamedTuple):
    """An epoch, and how far back something is so under it; a negative epoch while a deployment begins."""

    epoch: int
    cover: Coverage

    @property
    def text(self) -> str:
        """As it is kept."""
        return f"{self.epoch} {self.cover.text}"

    def holds(self, epoch: int, wanted: Coverage) -> bool:
        """Tell whether it is so under an epoch, as far back as is asked."""
        return self.epoch == epoch and self.cover.includes(wanted)

    def under(self, epoch: int) -> "EpochCoverage":
        """Return what that says of an epoch: nothing where it is about another."""
        return self if self.epoch == epoch else NO_COVERAGE


NO_COVERAGE = EpochCoverage(0, Coverage({}))
"""Is so under no epoch."""


def read_coverage(value: bytes | None) -> EpochCoverage:
    """Read what is kept; no epoch is 0."""
    epoch, _, cover = (value or b"0").decode().partition(" ")
    pairs = (pair.partition("=") for pair in cover.split(",") if pair)
    return EpochCoverage(int(epoch), Coverage({name: int(ms) for name, _, ms in pairs}))


class StoredRetention(NamedTuple):
    """What is asked under an epoch: one text for each ladder of a kind of history, in order."""

    epoch: int
    needs: tuple[str, ...]

    @property
    def text(self) -> bytes:
        """As it is kept: a line with the epoch, and one for each need."""
        return "\n".join((str(self.epoch), *self.needs)).encode()

    @property
    def retentions(self) -> Mapping[Entity, Retention]:
        """The same by kind, cards first."""
        asked = dict[Entity, list[ResolutionSchedule]]()
        for kind, schedule in map(_read, self.needs):
            asked.setdefault(kind, []).append(schedule)
        return {kind: Retention(tuple(asked[kind])) for kind in Entity if kind in asked}

    @property
    def cover(self) -> Coverage:
        """How far back that is."""
        return Coverage.of(horizons_of(self.retentions))

    def under(self, epoch: int) -> "StoredRetention":
        """Return what is asked under an epoch: nothing where this is about another."""
        return self if self.epoch == epoch else UNKNOWN_RETENTION

    def lacking(self, own: Iterable[str], whole: Coverage) -> set[str]:
        """Return what is missing of our own needs, and of what histories are whole for: that must not be trimmed."""
        asked = StoredRetention(self.epoch, tuple({*self.needs, *own}))
        far = asked.cover.horizons_ms
        beyond = {kind: ms for kind, ms in whole.by_kind.items() if far.get(kind.value, 0) < ms}
        return {*asked.needs, *(_written(kind, exact(ms)) for kind, ms in beyond.items())} - {*self.needs}


UNKNOWN_RETENTION = StoredRetention(0, ())
"""Stands for what nobody has said."""


def read_retention(value: bytes | None) -> StoredRetention:
    """Read what is kept on a server; nothing is no epoch's."""
    epoch, *needs = (value or b"0").decode().split("\n")
    return StoredRetention(int(epoch), tuple(needs))


def retention_needs(retentions: Mapping[Entity, Retention]) -> tuple[str, ...]:
    """Write what is asked by who keeps histories so."""
    return tuple(
        sorted({_written(kind, schedule) for kind, retention in retentions.items() for schedule in retention.schedules})
    )


def _written(kind: Entity, schedule: ResolutionSchedule) -> str:
    """Write one need: `merchant 1/3600000 3600000/1296000000`."""
    steps = zip(schedule.resolutions_ms, schedule.tails_ms, strict=True)
    return " ".join((kind.value, *(f"{resolution}/{tail}" for resolution, tail in steps)))


def _read(need: str) -> tuple[Entity, ResolutionSchedule]:
    kind, *steps = need.split()
    pairs = [tuple(map(int, step.split("/"))) for step in steps]
    return Entity(kind), ResolutionSchedule(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))
