"""The experiments that the event log tells of: the arms of each, and when it began and ended."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fraudstream_client.arms import LIVE
from guards.shares import ArmShare
from models.arms import Split
from models.commands import CommandKind, Event
from models.times import format_time, stated_ms
from stream.control.history import history_of
from stream.errors import ReportError

_SHOWN = 3


class Experiment(NamedTuple):
    """A split from its acceptance on.

    Attributes:
        split: its arms, salt, and excluded cards.
        live: the digest of the model that was live beside it.
        first: the revision that began it; it names the experiment.
        until: the first revision after it; None while it runs.
        since_ms: when it was accepted.
        until_ms: when it ended; None while it runs.
        ended_by: the command that ended it.
        winner: the arm that won, if `end_split` ended it.
    """

    split: Split
    live: str
    first: int
    since_ms: int
    until: int | None = None
    until_ms: int | None = None
    ended_by: CommandKind | None = None
    winner: str | None = None

    @property
    def arms(self) -> tuple[ArmShare, ...]:
        """The arms in the order of their names, and what is left to `live` behind them, if anything is."""
        own = tuple(ArmShare(arm.name, arm.share_bp) for arm in self.split.arms)
        return (*own, ArmShare(LIVE, self.split.live_bp)) if self.split.live_bp else own

    @property
    def models(self) -> dict[str, str]:
        """The digest of each arm's model, in the order of `arms`."""
        own = {arm.name: arm.model for arm in self.split.arms}
        return own | {LIVE: self.live} if self.split.live_bp else own

    def holds(self, revision: int) -> bool:
        """Tell whether what was decided at a revision belongs to it."""
        return self.first <= revision and (self.until is None or revision < self.until)


def experiments_of(deployment: str, events: Iterable[Event]) -> list[Experiment]:
    """Return the experiments of a deployment, oldest first, from its events in the order of the log."""
    found = list[Experiment]()
    for entry in history_of(deployment, events, {}).entries:
        event, before, after = entry.event, entry.before.split, entry.after.split
        if entry.void or before == after:
            continue
        at_ms = stated_ms(event.at)
        if before is not None:
            ended = found[-1]._replace(until=event.revision, until_ms=at_ms, ended_by=event.command)
            found[-1] = ended._replace(winner=event.winner)
        if after is not None:
            found.append(Experiment(after, str(entry.after.live), event.revision, at_ms))
    return found


def choose_experiment(found: Sequence[Experiment], revision: int | None, since_ms: int | None) -> Experiment:
    """Return the experiment that began with a revision; or that ran at a time or began next; or the last one.

    Raises:
        ReportError: there is none.
    """
    if not found:
        raise ReportError("no experiment has been run: `fraudstream model split` starts one")
    known = ", ".join(f"{one.first} ({format_time(one.since_ms)})" for one in found[-_SHOWN:])
    if revision is not None:
        chosen = [one for one in found if one.first == revision]
        missing = f"no experiment began with revision {revision}"
    elif since_ms is not None:
        chosen = [one for one in found if one.until_ms is None or one.until_ms > since_ms]
        missing = f"no experiment ran at {format_time(since_ms)} or later"
    else:
        return found[-1]
    if not chosen:
        raise ReportError(f"{missing}; the last experiments began with these revisions: {known}")
    return chosen[0]
