"""The ladder of a rollout: shares of the canary with the time to spend on each, and where a rollout stands on it.

As text it is `1% 10min, 5% 1h, 25% 1h, 100%`; as JSON a list of rungs. The last rung is 100 %, a promotion.
"""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from fraudstream_client.arms import WHOLE_BP
from guards.errors import LadderError
from guards.shares import share_text

LONGEST_SECONDS = 30 * 86_400
"""The longest time on one rung, and the longest watch after a promotion: 30 days."""
MOST_RUNGS = 20
LEAST_DECISIONS = 200
"""A rung is left only if the canary has decided so many payments on it. At a usual rate of 1 % declines, a model that
declines ten times as much has then declined 20; the guard detects it with 5 in the median."""

_RUNG = re.compile(r"(\d{1,3}(?:\.\d{1,6})?) ?%(?: +(\d{1,9}) ?(s|min|h|d))?", re.ASCII)
_UNITS = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
_EXAMPLE = '"1% 10min, 5% 1h, 25% 1h, 100%"'
_LONGEST_SHOWN = 40


class Rung(msgspec.Struct, frozen=True, omit_defaults=True):
    """A share in units of 0.01 %, and the seconds to spend on it; on the last rung those of the watch, if any."""

    share_bp: int
    seconds: int | None = None

    def __str__(self) -> str:
        share = share_text(self.share_bp)
        if self.seconds is None:
            return share
        unit = next(unit for unit, length in _UNITS.items() if self.seconds % length == 0)
        return f"{share} {self.seconds // _UNITS[unit]}{unit}"


class Ladder:
    """The rungs of a rollout, ascending; the last is 100 %.

    Raises:
        LadderError: the rungs are not a ladder; the message names each problem.
    """

    def __init__(self, rungs: Sequence[Rung]) -> None:
        if problems := problems_of(rungs):
            raise LadderError("; ".join(problems))
        self.rungs = tuple(rungs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ladder) and self.rungs == other.rungs

    def __hash__(self) -> int:
        return hash(self.rungs)

    def __str__(self) -> str:
        return ", ".join(map(str, self.rungs))

    @classmethod
    def parse(cls, text: str) -> "Ladder":
        """Read a ladder such as `1% 10min, 5% 1h, 25% 1h, 100%`; the units are s, min, h and d.

        Raises:
            LadderError: a rung cannot be read, or the rungs are not a ladder.
        """
        return cls([_parse_rung(number, part.strip()) for number, part in enumerate(text.split(","), 1)])

    @classmethod
    def from_json(cls, value: object) -> "Ladder":
        """Read a ladder from the plain JSON of `to_json`.

        Raises:
            LadderError: it is not a list of rungs, or they are not a ladder.
        """
        try:
            return cls(msgspec.convert(value, list[Rung]))
        except msgspec.ValidationError as error:
            raise LadderError(f"ladder: {error}; expected a list of objects with share_bp and seconds") from error

    def to_json(self) -> list[dict[str, Any]]:
        """Return the rungs as plain JSON: `[{"share_bp": 100, "seconds": 600}, …, {"share_bp": 10000}]`."""
        return [msgspec.to_builtins(rung) for rung in self.rungs]


def _parse_rung(number: int, text: str) -> Rung:
    found = _RUNG.fullmatch(text)
    if found is None:
        raise LadderError(
            f"rung {number}, {text[:_LONGEST_SHOWN]!r}: not a share and a time such as 5% 1h; a ladder is {_EXAMPLE}"
        )
    share_bp = Decimal(found[1]) * 100
    if share_bp != int(share_bp):
        raise LadderError(f"rung {number}, {text!r}: shares go in steps of 0.01 %; {found[1]}% is between two of them")
    return Rung(int(share_bp), int(found[2]) * _UNITS[found[3]] if found[2] else None)


def problems_of(rungs: Sequence[Rung]) -> tuple[str, ...]:
    """Return everything that is wrong with rungs; nothing if they are a ladder."""
    if not rungs:
        return (f"a ladder needs at least one rung, as in {_EXAMPLE}",)
    problems = [] if len(rungs) <= MOST_RUNGS else [f"{len(rungs)} rungs; a ladder has at most {MOST_RUNGS}"]
    if rungs[0].share_bp == WHOLE_BP:
        problems.append("rung 1, 100%: a ladder begins below 100%; `model promote` makes a model live at once")
    below = 0
    for number, rung in enumerate(rungs[:MOST_RUNGS], 1):
        problems += [f"rung {number}, {rung}: {one}" for one in _rung_problems(rung, below, number == len(rungs))]
        below = rung.share_bp
    if rungs[-1].share_bp != WHOLE_BP and len(rungs) <= MOST_RUNGS:
        problems.append(f"rung {len(rungs)}, {rungs[-1]}: the last rung must be 100%, the promotion")
    return tuple(problems)


def _rung_problems(rung: Rung, below: int, is_last: bool) -> Iterator[str]:  # noqa: FBT001
    if not 0 < rung.share_bp <= WHOLE_BP:
        yield "a share is above 0 and at most 100%"
    elif rung.share_bp <= below:
        yield "not above the rung before; shares ascend"
    if rung.seconds is None and not is_last:
        yield f"how long? Write a time, as in {rung} 1h"
    if rung.seconds is not None and not 0 < rung.seconds <= LONGEST_SECONDS:
        yield "a time is above 0 and at most 30d"


class RolloutPhase(StrEnum):
    """What a rollout does next."""

    WAITING = "waiting"
    """The rung's time is not over, or the guard has not seen enough of it."""
    HELD = "held"
    """Something is held: nothing climbs until an operator or the end of a cool-down releases it."""
    DUE = "due"
    """The next rung may be taken now."""
    DONE = "done"
    """The share is 100 %: the model is live."""


class Situation(NamedTuple):
    """What is known of a rollout at some time.

    Attributes:
        share_bp: the share in the lineup, in units of 0.01 %.
        since_ms: when it was accepted.
        now_ms: the present time.
        read_until_ms: the time up to which the guard has counted the decisions of all partitions.
        canary_decisions: the payments that the canary decided under this share.
        held: why it is held, in words: a breached guard, a pause, a freeze, a cool-down. Nothing if empty.
        climb_from_bp: the lowest share that asks for evidence.
        lacking: the evidence that such a share still lacks, in words.
    """

    share_bp: int
    since_ms: int
    now_ms: int
    read_until_ms: int
    canary_decisions: int
    held: tuple[str, ...] = ()
    climb_from_bp: int = WHOLE_BP
    lacking: tuple[str, ...] = ()


class Progress(NamedTuple):
    """Where a rollout stands on its ladder.

    Attributes:
        phase: what it does next.
        rung: the number of the rung, from 1; 0 below the first.
        next_share_bp: the share of the next rung; None on the last.
        due_ms: when the rung's time is over; None on the last.
        waits_for: in words, everything that must come first; nothing if it is due or done.
    """

    phase: RolloutPhase
    rung: int
    next_share_bp: int | None
    due_ms: int | None
    waits_for: tuple[str, ...]


def progress_on(ladder: Ladder, now: Situation, least_decisions: int = LEAST_DECISIONS) -> Progress:
    """Tell where a rollout stands: it climbs only if time, coverage and evidence suffice, and nothing is held.

    A share between two rungs, which an operator may set, counts as the lower rung, with that rung's time.
    """
    rung = sum(one.share_bp <= now.share_bp for one in ladder.rungs)
    if rung == len(ladder.rungs):
        return Progress(RolloutPhase.DONE, rung, None, None, ())
    next_share_bp = ladder.rungs[rung].share_bp
    seconds = ladder.rungs[rung - 1].seconds if rung else 0
    due_ms = now.since_ms + 1000 * (seconds or 0)
    waits = [*_waits(now, due_ms, least_decisions if rung else 0)]
    waits += now.lacking if next_share_bp >= now.climb_from_bp else ()
    if now.held:
        return Progress(RolloutPhase.HELD, rung, next_share_bp, due_ms, (*now.held, *waits))
    return Progress(RolloutPhase.WAITING if waits else RolloutPhase.DUE, rung, next_share_bp, due_ms, tuple(waits))


def _waits(now: Situation, due_ms: int, least_decisions: int) -> list[str]:
    waits = []
    if now.now_ms < due_ms:
        waits.append(f"its time: {-((now.now_ms - due_ms) // 1000):,} s more")
    if now.read_until_ms < due_ms:
        waits.append("the guard, which has not read all decisions up to the end of that time")
    if now.canary_decisions < least_decisions:
        waits.append(f"decisions of the canary: {now.canary_decisions:,} of at least {least_decisions:,}")
    return waits
