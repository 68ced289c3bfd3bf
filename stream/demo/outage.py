"""The death of a worker, as it looks from outside: who waited, since when it goes on, and for how long.

Nothing here kills anybody, or reads a topic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from stream.demo.scoreboard import Delay, Scoreboard

CALM_SECONDS = 0.1
"""Once no more is undecided than comes in so long, the backlog counts as worked off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """One kill and what followed. Times in epoch milliseconds, None until they have come."""

    killed_ms: int
    in_flight: int
    """How many transactions had gone out and had no score at the kill."""
    uncommitted: int | None = None
    """How many decisions had been written whose offsets the dead worker had not committed."""
    back_ms: int | None = None
    """When the first score of the new worker was read."""
    most_waiting: int = 0
    caught_up_ms: int | None = None

    @property
    def gap_ms(self) -> int | None:
        """For how long nothing was decided; None while that lasts."""
        return None if self.back_ms is None else self.back_ms - self.killed_ms

    def told(self, uncommitted: int | None) -> Outage:
        """Return the outage with what the group's coordinator said was not committed."""
        return replace(self, uncommitted=uncommitted)

    def after(self, board: Scoreboard, now_ms: int, calm: int) -> Outage:
        """Return what holds now; the backlog is worked off once no more than `calm` transactions are undecided."""
        later = [takeover.seen_ms for takeover in board.takeovers if takeover.seen_ms >= self.killed_ms]
        back_ms = min(later, default=None)
        waiting = max(self.most_waiting, board.in_flight)
        caught_up = self.caught_up_ms
        if caught_up is None and back_ms is not None and board.in_flight <= calm:
            caught_up = now_ms
        return replace(self, back_ms=back_ms, most_waiting=waiting, caught_up_ms=caught_up)


def waited(board: Scoreboard, outage: Outage) -> list[Delay]:
    """Return the delays of live transactions that were out when the new worker began to decide."""
    if outage.back_ms is None:
        return []
    return [delay for delay in board.delays if delay.due_ms < outage.back_ms <= delay.seen_ms]


def undisturbed(board: Scoreboard, outage: Outage | None) -> list[Delay]:
    """Return the delays of live transactions that came before the kill and were decided, or after the backlog."""
    if outage is None:
        return board.delays
    end_ms = outage.caught_up_ms
    return [
        delay
        for delay in board.delays
        if delay.seen_ms < outage.killed_ms or (end_ms is not None and delay.due_ms >= end_ms)
    ]
