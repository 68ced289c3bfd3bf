"""What was commanded and what the fleet answered, read from the two topics that say so.

A command and its answer come from different topics, so either may come first. Nothing here reads a topic.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from models.commands import Command, CommandKind, Event, EventKind
from models.times import parse_time_ms


@dataclass(slots=True)
class Change:
    """One command, and what came of it. Times in epoch milliseconds, 0 where they are not known yet."""

    command_id: str
    kind: CommandKind | None = None
    model: str | None = None
    """The full digest: what the command names, or what a roll-back returns to."""
    asked_ms: int = 0
    ready: dict[str, int] = field(default_factory=dict)
    """By worker, when it had loaded and probed the model."""
    answer: Event | None = None
    answered_ms: int = 0
    cutovers: dict[int, int] = field(default_factory=dict)
    """By partition, the first offset that its revision decided, as announced."""
    cut_over_ms: int = 0
    """When the last of them was announced."""

    @property
    def accepted(self) -> bool:
        """Whether the verdict was yes."""
        return self.answer is not None and self.answer.kind is EventKind.ACCEPTED

    @property
    def revision(self) -> int | None:
        """The revision that it made; None where it made none."""
        return self.answer.revision if self.answer is not None and self.accepted else None

    @property
    def took_ms(self) -> int | None:
        """From the command to its verdict; None without one."""
        return max(0, self.answered_ms - self.asked_ms) if self.answer is not None and self.asked_ms else None

    @property
    def refusal(self) -> str:
        """All reasons of a refusal in one line."""
        return "; ".join(problem.detail for problem in self.answer.problems) if self.answer is not None else ""


@dataclass(slots=True)
class Chronicle:
    """Told of commands and events, it knows what was changed when."""

    events: list[Event] = field(default_factory=list)
    _changes: dict[str, Change] = field(default_factory=dict)

    def command(self, command: Command) -> None:
        """Hear of a command on `model-control`."""
        change = self._change(command.command_id)
        change.kind = command.kind
        change.model = change.model or command.model
        change.asked_ms = parse_time_ms(command.issued_at).epoch_ms

    def event(self, event: Event) -> None:
        """Hear of an event on `model-events`."""
        self.events.append(event)
        at_ms = parse_time_ms(event.at).epoch_ms
        if event.kind is EventKind.CUTOVER:
            self._cut_over(event, at_ms)
        elif event.command_id is None:
            return
        elif event.kind is EventKind.READY:
            self._change(event.command_id).ready.setdefault(event.worker, at_ms)
        elif event.kind in (EventKind.ACCEPTED, EventKind.REFUSED):
            self._answer(self._change(event.command_id), event, at_ms)

    @property
    def changes(self) -> list[Change]:
        """All commands in the order in which they were given."""
        return sorted(self._changes.values(), key=lambda change: change.asked_ms or change.answered_ms)

    def change(self, kind: CommandKind, model: str | None = None) -> Change | None:
        """Return the last command of a kind, for a model if one is named."""
        found = [known for known in self.changes if known.kind is kind and model in (None, known.model)]
        return found[-1] if found else None

    def _answer(self, change: Change, event: Event, at_ms: int) -> None:
        if change.answer is not None:
            return
        change.answer, change.answered_ms = event, at_ms
        change.kind = change.kind or event.command
        change.model = event.model or change.model

    def _cut_over(self, event: Event, at_ms: int) -> None:
        if event.partition is None or event.offset is None:
            return
        for change in self._changes.values():
            if change.revision == event.revision and event.partition not in change.cutovers:
                change.cutovers[event.partition] = event.offset
                change.cut_over_ms = max(change.cut_over_ms, at_ms)

    def _change(self, command_id: str) -> Change:
        return self._changes.setdefault(command_id, Change(command_id))
