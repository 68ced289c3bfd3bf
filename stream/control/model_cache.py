"""The models that this worker keeps loaded: the live one, the one before it, and candidates that may become live.

A challenger is none of them: it has a process of its own. Loading runs off the event loop. Whatever is wrong with an
artifact is an answer on `model-events`, never a crash.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from models.loading import Model, VectoriseProbe, load
from models.problems import Problem
from models.repository import Repository
from stream.clock import now_ms
from stream.control.announcements import CandidateAnswers, ProbeOutcome
from stream.control.follower import Follower
from stream.kafka.publisher import Publisher

log = logging.getLogger("fraudstream.shelf")

_LOOK_SECONDS = 2.0
_RETRY_LOADS_MS = 5_000


class ServingModels(NamedTuple):
    """Who decides: the live model of `revision`, the model that stands in where it fails, and who is compared."""

    revision: int
    live: Model
    fallback: Model | None
    challenger: str | None = None
    """The digest of the model in the shadow at this moment."""


WarmupProblems = Callable[[str], tuple[Problem, ...]]
"""Says why models with features of this fingerprint cannot be served yet; nothing where they can."""


def no_warmup_problems(_fingerprint: str) -> tuple[Problem, ...]:
    """Let every model be served that can be loaded."""
    return ()


@dataclass(frozen=True, slots=True)
class ModelLoader:
    """What loading needs: where artifacts are, and how to probe those of each fingerprint that is computed here.

    `lacking` is asked of candidates that are loaded.
    """

    repository: Repository
    computed: Mapping[str, VectoriseProbe]
    worker: str
    lacking: WarmupProblems = no_warmup_problems


class LoadFailure(NamedTuple):
    """Why a model could not be loaded, and when that was last tried."""

    problems: tuple[Problem, ...]
    tried_ms: int


class ModelCache:
    """Keeps loaded what the lineup needs, and answers for candidates."""

    def __init__(self, follower: Follower, loader: ModelLoader, publisher: Publisher) -> None:
        self._follower = follower
        self._workshop = loader
        self._answers = CandidateAnswers(follower, publisher, loader.worker)
        self._models: dict[str, Model] = {}
        self._failures: dict[str, LoadFailure] = {}

    async def run(self) -> None:
        """Look at every change of the lineup, and now and then for artifacts that were missing."""
        while True:
            for digest in self._wanted():
                await self._ensure(digest, retry=now_ms() - _RETRY_LOADS_MS)
            await self._answer_candidates()
            self._clear()
            await self._follower.wait_for_change(_LOOK_SECONDS)

    def serving(self) -> ServingModels | None:
        """Return who decides now; None while nothing is live or the live model is not loaded here."""
        lineup = self._follower.lineup
        live = self._models.get(lineup.live or "")
        if not self._follower.caught_up or live is None:
            return None
        return ServingModels(
            lineup.revision, live, self._models.get(lineup.rollback_target or ""), lineup.challenger_at(now_ms())
        )

    def reasons(self) -> list[str]:
        """Say why nothing can be decided here; empty where it can."""
        lineup = self._follower.lineup
        if not self._follower.caught_up:
            return ["the control log has not been read to its end"]
        if lineup.live is None:
            return ["no model is live: train one and `fraudstream model promote` it"]
        if lineup.live in self._models:
            return []
        failure = self._failures.get(lineup.live)
        why = "; ".join(problem.detail for problem in failure.problems) if failure else "loading"
        return [f"revision {lineup.revision} needs model {lineup.live[:12]}: {why}"]

    def _wanted(self) -> list[str]:
        return list(dict.fromkeys((*self._follower.lineup.needed, *self._candidates().values())))

    async def _ensure(self, digest: str, retry: int) -> None:
        """Load a model that is not loaded, unless that failed after the moment `retry`."""
        failure = self._failures.get(digest)
        if digest in self._models or (failure is not None and failure.tried_ms > retry):
            return
        shop = self._workshop
        loaded = await asyncio.to_thread(load, shop.repository, digest, shop.computed)
        if isinstance(loaded, Model):
            self._models[digest] = loaded
            self._failures.pop(digest, None)
            log.info("loaded model %s %s (%s)", loaded.name, loaded.version, digest[:12])
        else:
            self._failures[digest] = LoadFailure(loaded, now_ms())
            log.error("model %s cannot be loaded: %s", digest[:12], "; ".join(problem.detail for problem in loaded))

    async def _answer_candidates(self) -> None:
        """Say ready or not ready for each candidate that has not heard from us."""
        for command_id, digest in self._answers.unanswered(self._candidates()).items():
            await self._ensure(digest, retry=now_ms())
            await self._answers.answer(command_id, digest, self._found(digest))

    def _found(self, digest: str) -> ProbeOutcome:
        model = self._models.get(digest)
        if model is None:
            return self._failures[digest].problems
        return self._workshop.lacking(model.fingerprint) or model.probe_hash

    def _candidates(self) -> dict[str, str]:
        """Return those that may become live, by `command_id`; the others are for the challenger's own process."""
        return self._follower.candidates.model_by_command(shadow=False)

    def _clear(self) -> None:
        """Let go of what neither the lineup nor a candidate needs any more."""
        wanted = set(self._wanted())
        for digest in self._models.keys() - wanted:
            del self._models[digest]
        for digest in self._failures.keys() - wanted:
            del self._failures[digest]
