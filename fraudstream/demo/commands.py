"""The commands of a run and what the fleet answered, from the topics `model-control` and `model-events`.

A command and its answer come from different topics, so either may be read first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from models.commands import Command, CommandKind, Event, EventKind
from models.times import parse_time_ms


@dataclass(slots=True)
class CommandRecord:
    """One command and its result. Times in epoch milliseconds, 0 while they are not known."""

    command_id: str
    kind: CommandKind | None = None
    model: str | None = None
    """The full digest: the one in the command, or the one that a roll-back returns to."""
    sent_ms: int = 0
    ready: dict[str, int] = field(default_factory=dict)
    """By worker, when it had loaded and probed the model."""
    answer: Event | None = None
    answered_ms: int = 0
    cutovers: dict[int, int] = field(default_factory=dict)
    """By partition, the first offset that its revision decided, as the worker announced it."""
    cut_over_ms: int = 0
    """When the last of them was announced."""

    @property
    def accepted(self) -> bool:
        """Whether the command was accepted."""
        return self.answer is not None and self.answer.kind is EventKind.ACCEPTED

    @property
    def revision(self) -> int | None:
        """The revision that the command created; None if it created none, as a hand-over does not."""
        if self.answer is None or not self.accepted or self.kind is CommandKind.CUT_OVER:
            return None
        return self.answer.revision

    @property
    def took_ms(self) -> int | None:
        """Time from the command to its answer; None without one."""
        return max(0, self.answered_ms - self.sent_ms) if self.answer is not None and self.sent_ms else None

    @property
    def refusal(self) -> str:
        """All reasons of a refusal in one line."""
        return "; ".join(problem.detail for problem in self.answer.problems) if self.answer is not None else ""


@dataclass(slots=True)
class CommandLog:
    """All commands of a deployment, with their answers and cutovers."""

    events: list[Event] = field(default_factory=list)
    _records: dict[str, CommandRecord] = field(default_factory=dict)

    def command(self, command: Command) -> None:
        """Add a command of `model-control`."""
        record = self._record(command.command_id)
        record.kind = command.kind
        record.model = record.model or command.model
        record.sent_ms = parse_time_ms(command.issued_at).epoch_ms

    def event(self, event: Event) -> None:
        """Add an event of `model-events`."""
        self.events.append(event)
        at_ms = parse_time_ms(event.at).epoch_ms
        if event.kind is EventKind.CUTOVER:
            self._cut_over(event, at_ms)
        elif event.command_id is None:
            return
        elif event.kind is EventKind.READY:
            self._record(event.command_id).ready.setdefault(event.worker, at_ms)
        elif event.kind in (EventKind.ACCEPTED, EventKind.REFUSED):
            self._answer(self._record(event.command_id), event, at_ms)

    @property
    def records(self) -> list[CommandRecord]:
        """All commands in the order in which they were sent."""
        return sorted(self._records.values(), key=lambda record: record.sent_ms or record.answered_ms)

    def last(self, kind: CommandKind, model: str | None = None) -> CommandRecord | None:
        """Return the last command of a kind, about `model` if it is given."""
        found = [known for known in self.records if known.kind is kind and model in (None, known.model)]
        return found[-1] if found else None

    def _answer(self, record: CommandRecord, event: Event, at_ms: int) -> None:
        if record.answer is not None:
            return
        record.answer, record.answered_ms = event, at_ms
        record.kind = record.kind or event.command
        record.model = event.model or record.model

    def _cut_over(self, event: Event, at_ms: int) -> None:
        if event.partition is None or event.offset is None:
            return
        for record in self._records.values():
            if record.revision == event.revision and event.partition not in record.cutovers:
                record.cutovers[event.partition] = event.offset
                record.cut_over_ms = max(record.cut_over_ms, at_ms)

    def _record(self, command_id: str) -> CommandRecord:
        return self._records.setdefault(command_id, CommandRecord(command_id))
