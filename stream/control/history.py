"""What each verdict of the event log changed, and the command behind it: who sent it, and why; and each restore."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from models.arms import Arm, Canary, Split
from models.commands import Command, Event, EventKind
from models.limits import Limits
from models.lineup import Lineup, follow
from models.model_record import ModelRecord, follow_record
from models.rollouts import Rollout
from models.times import stated_ms


@dataclass(frozen=True, slots=True)
class ModelRoles:
    """The models that had a role at one time, by digest, and the limits of their decisions."""

    live: str | None
    challenger: str | None
    quarantined: frozenset[str]
    canary: Canary | None = None
    limits: Limits | None = None
    """What overruled decisions then, whichever models made them."""
    split: Split | None = None

    def of(self, digest: str) -> tuple[bool, bool, bool, tuple[Arm, ...]]:
        """Tell whether a model is live, is the challenger, and is quarantined, and of which arms it is the model."""
        split = self.split if self.canary is None else self.canary.split
        arms = () if split is None else tuple(arm for arm in split.arms if arm.model == digest)
        return digest == self.live, digest == self.challenger, digest in self.quarantined, arms

    @property
    def digests(self) -> frozenset[str]:
        """All models that have a role."""
        named = (self.live, self.challenger, self.canary and self.canary.model)
        arms = frozenset[str]() if self.split is None else self.split.models
        return self.quarantined | arms | {digest for digest in named if digest is not None}


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A verdict, the command that it answers (None: `model-control` does not hold it any more), and what it changed.

    Or the beginning of a restore, which changes nothing itself: what it wrote back stands where it belongs.

    `void` is set for a verdict that changed nothing because another one on the same command, or for the same revision,
    came first. `rollout` is the one in which the verdict was given. `watched_until_ms` is until when the challenger
    after it stays there: the predecessor of a promotion.
    """

    event: Event
    command: Command | None
    before: ModelRoles
    after: ModelRoles
    void: bool
    rollout: Rollout | None = None
    watched_until_ms: int | None = None

    @property
    def digests(self) -> frozenset[str]:
        """The models that the verdict is about, or that had a role before or after it."""
        return self.before.digests | self.after.digests | self._named

    @property
    def _named(self) -> frozenset[str]:
        """The models that the verdict names: of a split that was refused, none is known."""
        arms = frozenset(arm.model for arm in (self.event.arms or {}).values())
        return arms if self.event.model is None else arms | {self.event.model}

    def concerns(self, digest: str) -> bool:
        """Tell whether the verdict is about a model, or gave it a role, or took one from it."""
        return digest in self._named or self.before.of(digest) != self.after.of(digest)


@dataclass(frozen=True, slots=True)
class History:
    """All verdicts on a deployment's commands, oldest first, and the lineup that they make.

    `unknown` says why the commands behind them could not be read; None if they could. `record` is what they say against
    models.
    """

    entries: tuple[HistoryEntry, ...]
    lineup: Lineup
    unknown: str | None = None
    record: ModelRecord = field(default_factory=ModelRecord)


def history_of(deployment: str, events: Iterable[Event], commands: Mapping[str, Command]) -> History:
    """Fold a deployment's events, in the order of the log; `commands` are those that are known, by id."""
    lineup, entries, record = Lineup(deployment), list[HistoryEntry](), ModelRecord()
    restores = list[Event]()
    for event in events:
        if event.kind is EventKind.RESTORING and event.deployment == deployment:
            restores.append(event)
        if event.kind not in (EventKind.ACCEPTED, EventKind.REFUSED):
            continue
        after = follow(lineup, event)
        entries.append(_entry(event, _command_of(event, commands), lineup, after))
        record = follow_record(record, lineup, event, after)
        lineup = after
    for restore in restores:
        entries = _with_restore(entries, restore, Lineup(deployment))
    return History(tuple(entries), lineup, record=record)


def _with_restore(entries: list[HistoryEntry], restore: Event, nothing: Lineup) -> list[HistoryEntry]:
    """Insert a restore by its time: the verdicts that it wrote back are older."""
    at_ms = stated_ms(restore.at)
    place = sum(stated_ms(entry.event.at) <= at_ms for entry in entries)
    roles = entries[place - 1].after if place else _roles(nothing, at_ms)
    return [*entries[:place], HistoryEntry(restore, None, roles, roles, void=False), *entries[place:]]


def _entry(event: Event, command: Command | None, before: Lineup, after: Lineup) -> HistoryEntry:
    at_ms = stated_ms(event.at)
    return HistoryEntry(
        event,
        command,
        _roles(before, at_ms),
        _roles(after, at_ms),
        # `follow` returns the same lineup for a void verdict; the refusal of a record without an id answers no command
        void=event.command_id is not None and after is before,
        rollout=_rollout(before, after),
        watched_until_ms=after.watched_until_ms,
    )


def _rollout(before: Lineup, after: Lineup) -> Rollout | None:
    """Return the rollout to which a verdict belongs; once its model is live, only what ends it does."""
    over = before.rollout is not None and before.rollout.promoted and after.rollout == before.rollout
    return None if over else after.rollout or before.rollout


def _command_of(event: Event, commands: Mapping[str, Command]) -> Command | None:
    """Return the command that a verdict answers; a refusal of an unreadable record answers none."""
    command = commands.get(event.command_id or "")
    if command is None or (command.kind != event.command and command.to is None):
        return None
    return command


def _roles(lineup: Lineup, at_ms: int) -> ModelRoles:
    return ModelRoles(
        lineup.live, lineup.challenger_at(at_ms), lineup.quarantined, lineup.canary, lineup.limits, lineup.split
    )
