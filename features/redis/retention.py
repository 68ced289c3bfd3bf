"""Retention and coverage under a history epoch: what all workers of a deployment need, and how far back histories go.

Each worker asks for the schedules of its own feature sets; the union is kept. `features.redis.epochs` and
`features.redis.progress` store these values.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from features.declaration import DAY_MS
from features.history.retention import ResolutionSchedule, Retention, exact, horizons_of
from features.history.store import Entity

_NUMBER = re.compile(r"[0-9]{1,18}")
_NEED = re.compile(r"(card|merchant|device|prediction) 1/[0-9]{1,15}( [1-9][0-9]{0,14}/[0-9]{1,15})*")


class Coverage(NamedTuple):
    """Milliseconds before the newest transaction of a history, by the name of the entity kind."""

    horizons_ms: Mapping[str, int]

    @classmethod
    def of(cls, horizons_ms: Mapping[Entity, int]) -> "Coverage":
        """Return the coverage that these horizons need."""
        return cls({kind.value: ms for kind, ms in horizons_ms.items()})

    @property
    def by_kind(self) -> Mapping[Entity, int]:
        """The same by kind, cards first."""
        return {kind: self.horizons_ms[kind.value] for kind in Entity if kind.value in self.horizons_ms}

    @property
    def text(self) -> str:
        """The stored form: `card=3196800000,merchant=3801600000`."""
        return ",".join(f"{name}={ms}" for name, ms in sorted(self.horizons_ms.items()))

    def includes(self, wanted: "Coverage") -> bool:
        """Tell whether it reaches as far back as another for every kind."""
        return all(self.horizons_ms.get(name, 0) >= ms for name, ms in wanted.horizons_ms.items())

    def __str__(self) -> str:
        """Return it in days, for messages."""
        return ", ".join(f"{name} {ms / DAY_MS:g} days" for name, ms in sorted(self.horizons_ms.items())) or "no time"


class EpochCoverage(NamedTuple):
    """An epoch and the coverage under it; a negative epoch while a deployment is being initialised."""

    epoch: int
    cover: Coverage

    @property
    def text(self) -> str:
        """The stored form."""
        return f"{self.epoch} {self.cover.text}"

    def holds(self, epoch: int, wanted: Coverage) -> bool:
        """Tell whether it is about this epoch and includes what is wanted."""
        return self.epoch == epoch and self.cover.includes(wanted)

    def reaches(self, epoch: int, horizons_ms: Mapping[Entity, int]) -> bool:
        """Tell the same of horizons in ms, by kind."""
        if self.epoch != epoch:
            return False
        known = self.cover.horizons_ms
        for kind, ms in horizons_ms.items():  # noqa: SIM110 - for each batch, three times: a generator costs more
            if known.get(kind.value, 0) < ms:
                return False
        return True

    def under(self, epoch: int) -> "EpochCoverage":
        """Return the coverage under an epoch: none if this is about another."""
        return self if self.epoch == epoch else NO_COVERAGE


NO_COVERAGE = EpochCoverage(0, Coverage({}))
"""No coverage under any epoch."""


def read_coverage(value: bytes | None) -> EpochCoverage:
    """Parse the stored form; no value, or one that cannot be parsed, covers nothing."""
    epoch, _, cover = (value or b"0").decode(errors="replace").partition(" ")
    try:
        pairs = (pair.partition("=") for pair in cover.split(",") if pair)
        return EpochCoverage(int(epoch), Coverage({name: int(ms) for name, _, ms in pairs}))
    except ValueError:
        return NO_COVERAGE


class StoredRetention(NamedTuple):
    """The needs under an epoch: one text for each schedule of a kind of history, sorted."""

    epoch: int
    needs: tuple[str, ...]

    @property
    def text(self) -> bytes:
        """The stored form: a line with the epoch, and one for each need."""
        return "\n".join((str(self.epoch), *self.needs)).encode()

    @property
    def retentions(self) -> Mapping[Entity, Retention]:
        """The same by kind, cards first; what is no need of a known kind is left out."""
        asked = dict[Entity, list[ResolutionSchedule]]()
        for kind, schedule in filter(None, map(_parse_need, self.needs)):
            asked.setdefault(kind, []).append(schedule)
        return {kind: Retention(tuple(asked[kind])) for kind in Entity if kind in asked}

    @property
    def cover(self) -> Coverage:
        """The coverage of these needs."""
        return Coverage.of(horizons_of(self.retentions))

    def under(self, epoch: int) -> "StoredRetention":
        """Return the needs under an epoch: none if this is about another."""
        return self if self.epoch == epoch else UNKNOWN_RETENTION

    def lacking(self, own: Iterable[str], complete: Coverage) -> set[str]:
        """Return the missing needs: our own, and those that keep complete histories as long as they are complete."""
        asked = StoredRetention(self.epoch, tuple({*self.needs, *own}))
        far = asked.cover.horizons_ms
        beyond = {kind: ms for kind, ms in complete.by_kind.items() if far.get(kind.value, 0) < ms}
        return {*asked.needs, *(_need_text(kind, exact(ms)) for kind, ms in beyond.items())} - {*self.needs}


UNKNOWN_RETENTION = StoredRetention(0, ())
"""No retention is known."""


def read_retention(value: bytes | None) -> StoredRetention:
    """Parse the stored form; no value, or one that cannot be parsed, is unknown."""
    epoch, *needs = (value or b"0").decode(errors="replace").split("\n")
    return StoredRetention(int(epoch), tuple(needs)) if _NUMBER.fullmatch(epoch) else UNKNOWN_RETENTION


def retention_needs(retentions: Mapping[Entity, Retention]) -> tuple[str, ...]:
    """Return the needs that state these retentions."""
    needs = {_need_text(kind, one) for kind, retention in retentions.items() for one in retention.schedules}
    return tuple(sorted(needs))


def _need_text(kind: Entity, schedule: ResolutionSchedule) -> str:
    """Return one need as text: `merchant 1/3600000 3600000/1296000000`."""
    steps = zip(schedule.resolutions_ms, schedule.tails_ms, strict=True)
    return " ".join((kind.value, *(f"{resolution}/{tail}" for resolution, tail in steps)))


def _parse_need(need: str) -> tuple[Entity, ResolutionSchedule] | None:
    """Parse one need; None if it is none."""
    if _NEED.fullmatch(need) is None:
        return None
    kind, *steps = need.split()
    resolutions_ms, tails_ms = zip(*(map(int, step.split("/")) for step in steps), strict=True)
    return Entity(kind), ResolutionSchedule(resolutions_ms, tails_ms)
