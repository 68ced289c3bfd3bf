"""Logs a worker's life: its start, what it waits for, when it is ready, who is live, its partitions, and its drain.

Each line is made for an operator who has only the log; the same facts are fields of the line in JSON.
"""

import asyncio
import logging
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from aiokafka import TopicPartition

from features.vector import vectorise
from fraudstream_client.arms import CANARY
from guards.shares import share_text
from models import tree_kernel
from models.arms import Arm
from models.commands import CommandKind, Event, EventKind
from models.lineup import Lineup
from stream.code_version import code_version
from stream.control.follower import Follower
from stream.control.limits_text import limits_text
from stream.control.model_cache import LoadedModels
from stream.plain_connections import plain_connections
from stream.redaction import redact_text
from stream.settings import PREFIX, Settings
from stream.tasks import log_on_error
from stream.worker.fact_log import FactLog

log = logging.getLogger("fraudstream.worker")

_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 10.0
"""So long a worker may not be ready before it is worth a warning: a start or a rebalance is over by then."""

_REMIND_SECONDS = 60.0
_SHOWN_DIGITS = 12
_ALWAYS_SHOWN = frozenset({"brokers", "redis_url", "models", "deployment", "group", "http"})
_WITHOUT_DIGITS = str.maketrans("", "", "0123456789")

_VERBS = {
    CommandKind.PROMOTE: "promoted",
    CommandKind.ROLL_BACK: "rolled back to",
    CommandKind.DEMOTE: "demoted the live model, back to",
    CommandKind.CHALLENGE: "challenger is",
    CommandKind.WITHDRAW: "challenger withdrawn",
    CommandKind.CANARY: "canary is",
    CommandKind.END_CANARY: "ended the canary, live for all cards is",
    CommandKind.SPLIT: "a split begins:",
    CommandKind.END_SPLIT: "ended the split, live for all cards is",
    CommandKind.ROLLOUT: "a rollout begins, canary is",
    CommandKind.PAUSE: "the rollout is paused",
    CommandKind.RESUME: "the rollout goes on",
    CommandKind.FREEZE: "automatic commands are frozen",
    CommandKind.THAW: "automatic commands act again",
    CommandKind.LIMITS: "limits set:",
}
_ABOUT_NO_MODEL = frozenset(
    {
        CommandKind.WITHDRAW,
        CommandKind.LIMITS,
        CommandKind.SPLIT,
        CommandKind.PAUSE,
        CommandKind.RESUME,
        CommandKind.FREEZE,
        CommandKind.THAW,
    }
)


def _log_missing_kernels() -> None:
    for kernel, slow in (
        (vectorise.KERNEL, "features are computed by numpy"),
        (tree_kernel.KERNEL, "models are scored by LightGBM"),
    ):
        if kernel is None:
            log.warning(
                "%s, several times as slowly in small batches: the kernel in C was not built; "
                "install a C compiler or the package ziglang, then fraudstream again",
                slow,
                extra={"event": "no_kernel"},
            )


def log_start(settings: Settings) -> None:
    """Log the version, the worker's names, and the settings that are not the defaults, without secrets.

    Each setting has a line of its own: of several URLs in one line only the end of the last one would not be masked.
    """
    ours, python = code_version(), sys.version.partition(" ")[0]
    log.info(
        "fraudstream %s on Python %s starts: worker %s of deployment %s, group %s",
        *(ours, python, settings.worker_id, settings.deployment, settings.group),
        extra={"event": "starting", "version": ours, "python": python},
    )
    _log_missing_kernels()
    for warning in plain_connections(settings, with_redis=True):
        log.warning("%s", warning, extra={"event": "not_encrypted"})
    defaults = Settings()
    for name, text in settings.shown().items():
        field = name.removeprefix(PREFIX).lower()
        if field in _ALWAYS_SHOWN or getattr(settings, field) != getattr(defaults, field):
            log.info("setting %s=%s", name, text, extra={"event": "setting", "setting": name, "value": text})


class Readiness:
    """Logs each change of the reasons for not being ready once, and how long the worker was not ready.

    Reasons that differ only in their figures are the same: an offset that moves on is no news. What lasts is logged
    again after ten seconds, as a warning, and then every minute.

    `now` is in monotonic seconds, `state` says what a worker that is ready decides with.
    """

    def __init__(self, state: Callable[[], str], now: float) -> None:
        self._state = state
        self._since: float | None = now
        self._has_been_ready = False
        self._shape: tuple[str, ...] | None = None
        self._remind_at = now

    def look(self, reasons: Sequence[str], now: float) -> None:
        """Log what has changed since the last look."""
        if not reasons:
            self._ready(now)
            return
        if self._since is None:
            self._since = now
        shape, waited = tuple(sorted(one.translate(_WITHOUT_DIGITS) for one in reasons)), now - self._since
        if shape == self._shape and now < self._remind_at:
            return
        is_new, self._shape = shape != self._shape, shape
        is_brief = waited < _PATIENCE_SECONDS
        self._remind_at = self._since + _PATIENCE_SECONDS if is_brief else now + _REMIND_SECONDS
        log.log(
            logging.INFO if is_brief else logging.WARNING,
            "%s: %s",
            "not ready" if is_new else f"still not ready after {waited:.0f} s",
            "; ".join(reasons),
            extra={"event": "not_ready", "reasons": list(reasons), "seconds": round(waited, 1)},
        )

    def _ready(self, now: float) -> None:
        if self._since is None:
            return
        waited, again = now - self._since, " again" if self._has_been_ready else ""
        log.info(
            "ready%s after %.1f s: %s",
            *(again, waited, self._state()),
            extra={"event": "ready", "seconds": round(waited, 1)},
        )
        self._since, self._shape, self._has_been_ready = None, None, True


class LineupChanges:
    """Logs one line for each revision that is made while the worker runs: the model, who asked for it, and why."""

    def __init__(self, follower: Follower, models: LoadedModels) -> None:
        self._follower = follower
        self._models = models
        self._seen: int | None = None

    def look(self) -> None:
        """Log the revisions since the last look; those that were there at the start are no news."""
        if not self._follower.caught_up:
            return
        lineup, seen = self._follower.lineup, self._seen
        self._seen = lineup.revision
        if seen is not None and lineup.revision != seen:
            for event in _acceptances(lineup, seen):
                self._log(event, lineup)

    def state(self) -> str:
        """Return the revision and the live model, as it is logged when a worker gets ready."""
        lineup = self._follower.lineup
        shadow = f", challenger {self.model(lineup.challenger)}" if lineup.challenger else ""
        arms = () if lineup.arms is None else lineup.arms.arms
        share = "".join(f", {self._arm(arm)}" for arm in arms)
        limited = lineup.decline_cap is not None or lineup.let_through is not None
        limits = f", {limits_text(lineup.limits)}" if limited else ""
        return f"revision {lineup.revision}, live model {self.model(lineup.live)}{share}{shadow}{limits}"

    def model(self, digest: str | None) -> str:
        """Return the name, version and abbreviated digest of a model; its digest alone if it is not loaded here."""
        if digest is None:
            return "none"
        found = self._models.get(digest)
        short = digest[:_SHOWN_DIGITS]
        return short if found is None else f"{found.name} {found.version} ({short})"

    def _arm(self, arm: Arm) -> str:
        return f"{_arm_name(arm.name)} {self.model(arm.model)} at {share_text(arm.share_bp)}"

    def _log(self, event: Event, lineup: Lineup) -> None:
        command = CommandKind(event.command or CommandKind.PROMOTE)
        digest = event.model or (None if command in _ABOUT_NO_MODEL else lineup.live)
        quarantined = ""
        if event.model is None and command in (CommandKind.ROLL_BACK, CommandKind.DEMOTE):
            quarantined = ", what ran beside it is quarantined" if command is CommandKind.DEMOTE else ""
            command = _ended(lineup, event.revision)
        what = f"{_VERBS[command]} {self.model(digest)}" if digest else _VERBS[command]
        if event.share_bp is not None:
            what += f" at {share_text(event.share_bp)}"
        if event.arms is not None:
            split = (Arm(name, arm.model, arm.share_bp) for name, arm in sorted(event.arms.items()))
            what += f" {', '.join(map(self._arm, split))}"
        what += quarantined if event.limits is None else f" {limits_text(event.limits)}"
        found = None if digest is None else self._models.get(digest)
        actor, reason = (redact_text(text or "") for text in (event.actor, event.reason))
        log.info(
            "revision %d: %s, by %s: %s",
            *(event.revision, what, actor or "(not recorded)", reason or "(no reason recorded)"),
            extra={
                "event": command.value,
                "revision": event.revision,
                "digest": digest,
                "model": None if found is None else found.name,
                "model_version": None if found is None else found.version,
                "actor": actor,
                "reason": reason,
                "command_id": event.command_id,
            },
        )


def _arm_name(name: str) -> str:
    return name if name == CANARY else f"arm {name}"


def _ended(lineup: Lineup, revision: int) -> CommandKind:
    """Return what a roll-back or a demotion was that named no model: the end of the canary or the split that ran."""
    begins = (CommandKind.CANARY, CommandKind.ROLLOUT, CommandKind.SPLIT)
    begun = [one.command for one in _acceptances(lineup, 0) if one.command in begins and one.revision < revision]
    return CommandKind.END_SPLIT if begun and begun[-1] is CommandKind.SPLIT else CommandKind.END_CANARY


def _acceptances(lineup: Lineup, after: int) -> list[Event]:
    """Return the events that made the revisions behind `after`, in their order."""
    made = (event for event in lineup.answers.values() if event.kind is EventKind.ACCEPTED)
    return sorted((one for one in made if after < one.revision <= lineup.revision), key=lambda one: one.revision)


class Assignments:
    """Logs one line for each assignment: which partitions were got and lost, and which are owned now."""

    def __init__(self) -> None:
        self._owned: frozenset[TopicPartition] = frozenset()

    def assigned(self, partitions: Iterable[TopicPartition], generation: int) -> None:
        """Log the difference between this assignment and the last one."""
        now = frozenset(partitions)
        got, lost, self._owned = now - self._owned, self._owned - now, now
        log.info(
            "partitions of generation %d: got %s; lost %s; owns %s",
            *(generation, _listed(got), _listed(lost), _listed(now)),
            extra={
                "event": "assigned",
                "generation": generation,
                "got": _by_topic(got),
                "lost": _by_topic(lost),
                "owned": _by_topic(now),
            },
        )


def _by_topic(partitions: Collection[TopicPartition]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for topic, partition in sorted(partitions):
        found[topic].append(partition)
    return found


def _listed(partitions: Collection[TopicPartition]) -> str:
    """Return partitions as text, such as `labels 0-3, transactions 0-3 7`."""
    return ", ".join(f"{topic} {_ranges(some)}" for topic, some in _by_topic(partitions).items()) or "none"


def _ranges(numbers: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return " ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


class Drain(NamedTuple):
    """A drain that has begun, at a monotonic second, with so many payments decided before."""

    began: float
    decided_before: int

    @classmethod
    def begin(cls, cause: str, seconds: float, facts: FactLog) -> "Drain":
        """Log that the worker stops, and why."""
        log.info(
            "%s: draining, at most %g s: batches in progress are finished and committed, no new one begins",
            *(cause, seconds),
            extra={"event": "draining", "cause": cause},
        )
        return cls(time.monotonic(), facts.decided)

    def end(self, exit_code: int, facts: FactLog) -> None:
        """Log what the drain has finished."""
        facts.summarise(now=True)
        seconds, during = time.monotonic() - self.began, facts.decided - self.decided_before
        log.log(
            logging.ERROR if exit_code else logging.INFO,
            "%s after %.1f s: %d payments decided meanwhile, %d payments and %d labels since the start; exit code %d",
            *("ended" if exit_code else "drained", seconds, during, facts.decided, facts.labels, exit_code),
            extra={
                "event": "ended" if exit_code else "drained",
                "seconds": round(seconds, 1),
                "decided_meanwhile": during,
                "decided": facts.decided,
                "labels": facts.labels,
                "exit_code": exit_code,
            },
        )


class LifecycleLog:
    """Watches a worker for its log until it is stopped; `reasons` are those of `/health/ready`."""

    def __init__(
        self, reasons: Callable[[], Sequence[str]], follower: Follower, models: LoadedModels, facts: FactLog
    ) -> None:
        self._reasons = reasons
        self._follower = follower
        self._facts = facts
        self._changes = LineupChanges(follower, models)
        self._readiness = Readiness(self._changes.state, time.monotonic())

    def start(self) -> "asyncio.Task[None]":
        """Start to watch; an unexpected error stops that and is logged, but does not end the worker."""
        task = asyncio.create_task(self._run())
        task.add_done_callback(partial(log_on_error, log, "changes of this worker's state are no longer logged"))
        return task

    async def _run(self) -> None:
        """Look at every change of the lineup, and twice a second, for ever."""
        while True:
            self._changes.look()
            self._readiness.look(self._reasons(), time.monotonic())
            self._facts.summarise()
            self._facts.notices.look()
            await self._follower.wait_for_change(_LOOK_SECONDS)
