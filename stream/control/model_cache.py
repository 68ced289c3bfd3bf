"""The models that a worker keeps loaded: live, those of arms, the roll-back target, and candidates that may decide.

Challengers are loaded in a process of their own. Models load off the event loop and beside one another, so that one
that the repository does not return delays no other; a faulty artifact becomes an answer on `model-events`, never a
crash.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import NamedTuple

from fraudstream_client.arms import CANARY
from models.arms import Split
from models.deadline import in_thread
from models.decline_cap import DeclineCap
from models.judge import HeldArtifact
from models.let_through import LetThrough
from models.lineup import Lineup
from models.loading import Model, VectoriseProbe, load
from models.problems import Problem
from models.repository import Repository
from stream.clock import now_ms
from stream.control.announcements import AnswerNames, CandidateAnswers, ProbeOutcome, own_name_only
from stream.control.follower import Follower
from stream.engine.publisher import Publisher

log = logging.getLogger("fraudstream.model_cache")

_POLL_SECONDS = 2.0
_LOADED_SECONDS = 0.05
_RETRY_LOADS_MS = 5_000
_MOST_CANDIDATES = 4
"""How many candidates load at a time: each takes a thread, and the memory of a model."""


class ArmModels(NamedTuple):
    """The models of the arms beside the live one, by the arm's name, and which cards are theirs."""

    models: Mapping[str, Model]
    split: Split


class ServingModels(NamedTuple):
    """The models that decide at `revision`: the live one, the fallback if it fails, the challenger, and the arms'."""

    revision: int
    live: Model
    fallback: Model | None
    challenger: str | None = None
    """The digest of the model that is in the shadow now."""
    arms: ArmModels | None = None
    """Those of a split, or the canary; None while the live model decides for all cards."""
    decline_cap: DeclineCap | None = None
    """The cap on declines at that revision."""
    let_through: LetThrough | None = None
    """The let-through at that revision."""

    @property
    def compares(self) -> bool:
        """Whether decisions are compared: with a challenger, or with the other side of a canary."""
        return self.challenger is not None or self.canary is not None

    @property
    def canary(self) -> Model | None:
        """The model of the canary."""
        return None if self.arms is None else self.arms.models.get(CANARY)

    @property
    def models(self) -> tuple[Model, ...]:
        """All models that may decide, the fallback too."""
        arms = () if self.arms is None else tuple(self.arms.models.values())
        return (self.live, *arms, *(() if self.fallback is None else (self.fallback,)))

    def of_arm(self, name: str) -> Model | None:
        """Return the model of an arm beside the live one; None for `live`."""
        return None if self.arms is None else self.arms.models.get(name)


WarmupProblems = Callable[[str], tuple[Problem, ...]]
"""Returns why models with features of this fingerprint cannot be served yet; empty if they can."""


def no_warmup_problems(_fingerprint: str) -> tuple[Problem, ...]:
    """Allow every model that can be loaded."""
    return ()


@dataclass(frozen=True, slots=True)
class ModelLoader:
    """What loading needs: the repository, and the probe function of each fingerprint that is computed here.

    `warmup_problems` is called for loaded candidates.
    """

    repository: Repository
    computed: Mapping[str, VectoriseProbe]
    worker: str
    warmup_problems: WarmupProblems = no_warmup_problems


class LoadFailure(NamedTuple):
    """Why a model could not be loaded, and when that was last tried."""

    problems: tuple[Problem, ...]
    tried_ms: int


class LoadFailures:
    """The models that could not be loaded, by digest."""

    def __init__(self) -> None:
        self._failures: dict[str, LoadFailure] = {}

    def add(self, digest: str, problems: tuple[Problem, ...]) -> None:
        """Record that loading failed now."""
        self._failures[digest] = LoadFailure(problems, now_ms())

    def remove(self, digest: str) -> None:
        """Record that the model has been loaded."""
        self._failures.pop(digest, None)

    def keep_only(self, digests: Collection[str]) -> None:
        """Forget all other models."""
        self._failures = {digest: failure for digest, failure in self._failures.items() if digest in digests}

    def is_recent(self, digest: str, since_ms: int) -> bool:
        """Tell whether loading failed later than `since_ms`, so that it need not be tried again yet."""
        failure = self._failures.get(digest)
        return failure is not None and failure.tried_ms > since_ms

    def problems(self, digest: str) -> tuple[Problem, ...]:
        """Return why the model could not be loaded; empty if it has not been tried or is loaded."""
        failure = self._failures.get(digest)
        return () if failure is None else failure.problems


class LoadedModels:
    """The models in memory, by digest, and which of them decide; `ModelCache` loads and unloads them."""

    def __init__(self, follower: Follower) -> None:
        self._models: Mapping[str, Model] = {}
        self._follower = follower
        self._kept: tuple[Lineup, Mapping[str, Model], ServingModels | None] | None = None
        """What was returned last, and of which lineup and models: neither is changed, both are replaced."""

    def __contains__(self, digest: str) -> bool:
        """Tell whether a model is loaded."""
        return digest in self._models

    def get(self, digest: str) -> Model | None:
        """Return a model, if it is loaded."""
        return self._models.get(digest)

    def add(self, digest: str, model: Model) -> None:
        """Add a model that has been loaded."""
        self._models = {**self._models, digest: model}

    def keep_only(self, digests: Collection[str]) -> None:
        """Unload all other models."""
        self._kept = None
        self._models = {digest: model for digest, model in self._models.items() if digest in digests}

    def serving(self) -> ServingModels | None:
        """Return the models that decide now; None while no model is live or one that decides is not loaded.

        Nor while cards are excluded that are not known here, since another model would decide for them.
        """
        if not self._follower.caught_up:
            return None
        lineup, models = self._follower.lineup, self._models
        if self._kept is None or self._kept[0] is not lineup or self._kept[1] is not models:
            self._kept = lineup, models, self._serving(lineup)
        found, challenger = self._kept[2], lineup.challenger_at(now_ms())
        return found if found is None or found.challenger == challenger else found._replace(challenger=challenger)

    def _serving(self, lineup: Lineup) -> ServingModels | None:
        live = self._models.get(lineup.live or "")
        if live is None:
            return None
        split, arms = lineup.arms, None
        if split is not None:
            if split.exclude.key_problem() is not None:
                return None
            models = {arm.name: model for arm in split.arms if (model := self._models.get(arm.model)) is not None}
            if len(models) < len(split.arms):
                return None
            arms = ArmModels(models, split)
        fallback = self._models.get(lineup.rollback_target or "")
        limits = lineup.decline_cap, lineup.let_through
        return ServingModels(lineup.revision, live, fallback, lineup.challenger, arms, *limits)


class ModelCache:
    """Keeps the models loaded that the lineup needs, and answers for candidates."""

    def __init__(
        self,
        follower: Follower,
        models: LoadedModels,
        loader: ModelLoader,
        publisher: Publisher,
        *,
        names: AnswerNames = own_name_only,
    ) -> None:
        self._follower = follower
        self._loader = loader
        self._answers = CandidateAnswers(follower, publisher, loader.worker, names)
        self._models = models
        self._failures = LoadFailures()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._loading: dict[str, asyncio.Lock] = {}
        self._candidate_slots = asyncio.Semaphore(_MOST_CANDIDATES)

    async def run(self) -> None:
        """Load what is needed at every change of the lineup; retry failed loads periodically."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                for digest in self._follower.lineup.needed:
                    self._begin(tasks, digest, self._load_needed(digest))
                for command_id, digests in self._answers.unanswered(self._candidates()).items():
                    self._begin(tasks, command_id, self._answer(command_id, digests))
                self._unload_unused()
                await self._follower.wait_for_change(_POLL_SECONDS)

    async def await_loaded(self, seconds: float) -> None:
        """Wait until each model that decides has been loaded once, or could not be, at most `seconds`."""
        now = asyncio.get_running_loop().time
        until = now() + seconds
        while self._untried() and (left := until - now()) > 0:
            await self._follower.wait_for_change(min(left, _LOADED_SECONDS))

    def _untried(self) -> list[str]:
        deciding = self._follower.lineup.deciding
        return [one for one in deciding if one not in self._models and not self._failures.problems(one)]

    def reasons(self) -> list[str]:
        """Return why this worker cannot decide; empty if it can."""
        lineup = self._follower.lineup
        if not self._follower.caught_up:
            return ["the control log has not been read to its end"]
        if lineup.live is None:
            return ["no model is live: train one and `fraudstream model promote` it"]
        unknown = None if lineup.arms is None else lineup.arms.exclude.key_problem()
        return ([] if unknown is None else [f"revision {lineup.revision}: {unknown}"]) + [
            f"revision {lineup.revision} needs model {digest[:12]}: "
            + ("; ".join(problem.detail for problem in self._failures.problems(digest)) or "loading")
            for digest in sorted(lineup.deciding)
            if digest not in self._models
        ]

    def held(self, digest: str) -> HeldArtifact | tuple[Problem, ...]:
        """Return what is known of a model without asking the repository: that it is loaded, or why it could not be."""
        model = self._models.get(digest)
        return self._failures.problems(digest) if model is None else HeldArtifact(digest, model.fingerprint)

    def _begin(self, tasks: asyncio.TaskGroup, key: str, work: Coroutine[None, None, None]) -> None:
        """Start a task, unless the one of this key still runs; an unexpected error in it ends the worker."""
        if key in self._running:
            work.close()
            return
        self._running[key] = tasks.create_task(work)
        self._running[key].add_done_callback(lambda _: self._running.pop(key))

    async def _load_needed(self, digest: str) -> None:
        """Load a model of the lineup, unless that has failed only just now."""
        if not self._failures.is_recent(digest, now_ms() - _RETRY_LOADS_MS):
            await self._ensure(digest)

    async def _answer(self, command_id: str, digests: Collection[str]) -> None:
        """Load a candidate, or those of a split, and answer for it."""
        for digest in sorted(digests):
            async with self._candidate_slots:
                await self._ensure(digest)
        candidate = self._follower.candidates.pending.get(command_id)
        if candidate is not None:  # else it has a verdict already
            await self._answers.answer(command_id, candidate.model, self._outcome(digests))

    async def _ensure(self, digest: str) -> None:
        """Load a model that is not loaded; while another task does so, wait for it."""
        # Two commands may name the same model: without the lock it would be fetched, tried and kept in memory twice.
        async with self._loading.setdefault(digest, asyncio.Lock()):
            if digest in self._models:
                return
            work = partial(load, self._loader.repository, digest, self._loader.computed)
            loaded = await asyncio.wrap_future(in_thread(work))
            if isinstance(loaded, Model):
                self._models.add(digest, loaded)
                self._failures.remove(digest)
                log.info("loaded model %s %s (%s)", loaded.name, loaded.version, digest[:12])
            else:
                self._failures.add(digest, loaded)
                why = "; ".join(problem.detail for problem in loaded)
                log.error("model %s cannot be loaded: %s", digest[:12], why)

    def _outcome(self, digests: Collection[str]) -> ProbeOutcome:
        """Return the answer for the candidates of one command."""
        found = {digest: self._outcome_of(digest) for digest in sorted(digests)}
        if len(found) == 1:
            return next(iter(found.values()))
        if all(isinstance(outcome, str) for outcome in found.values()):
            return sha256("".join(f"{digest} {outcome}\n" for digest, outcome in found.items()).encode()).hexdigest()
        return tuple(_named_problems(found))

    def _outcome_of(self, digest: str) -> ProbeOutcome:
        model = self._models.get(digest)
        if model is None:
            return self._failures.problems(digest)
        return self._loader.warmup_problems(model.fingerprint) or model.probe_hash

    def _candidates(self) -> dict[str, frozenset[str]]:
        """Return the candidates that may decide, models by `command_id`."""
        return self._follower.candidates.deciders()

    def _unload_unused(self) -> None:
        """Unload models that neither the lineup nor a candidate needs."""
        needed = {*self._follower.lineup.needed}.union(*self._candidates().values())
        self._models.keep_only(needed)
        self._failures.keep_only(needed)
        self._loading = {digest: lock for digest, lock in self._loading.items() if digest in needed or lock.locked()}


def _named_problems(outcomes: Mapping[str, ProbeOutcome]) -> Iterable[Problem]:
    """Yield what prevents some of several models, each with the model's digest."""
    for digest, outcome in outcomes.items():
        for problem in () if isinstance(outcome, str) else outcome:
            yield Problem(problem.code, f"model {digest[:12]}: {problem.detail}")
