"""The models that this worker keeps loaded: those of the lineup, and the candidates that the judge asks about.

Loading runs off the event loop. Whatever is wrong with an artifact is an answer on `model-events`, never a crash.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import NamedTuple
from uuid import uuid4

from aiokafka.errors import KafkaError

from models.commands import Event, EventKind
from models.loading import Model, VectoriseProbe, load
from models.problems import Problem
from models.repository import Repository
from models.times import format_time
from stream.clock import now_ms
from stream.control import Follower
from stream.publishing import Publisher

log = logging.getLogger("fraudstream.shelf")

_LOOK_SECONDS = 2.0
_RETRY_LOADS_MS = 5_000


class Serving(NamedTuple):
    """Who decides: the live model of `revision`, the model that stands in where it fails, and who is compared."""

    revision: int
    live: Model
    fallback: Model | None
    challenger: str | None = None
    """The digest of the model in the shadow."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """What loading needs: where artifacts are, the fingerprint of the features computed here, and how to probe them."""

    repository: Repository
    fingerprint: str
    vectorise_probe: VectoriseProbe
    worker: str


class Failure(NamedTuple):
    """Why a model could not be loaded, and when that was last tried."""

    problems: tuple[Problem, ...]
    tried_ms: int


class Shelf:
    """Keeps loaded what the lineup needs, and answers for candidates."""

    def __init__(self, follower: Follower, workshop: Workshop, publisher: Publisher) -> None:
        self._follower = follower
        self._workshop = workshop
        self._publisher = publisher
        self._models: dict[str, Model] = {}
        self._failures: dict[str, Failure] = {}
        self._answered: set[str] = set()

    async def run(self) -> None:
        """Look at every change of the lineup, and now and then for artifacts that were missing."""
        while True:
            for digest in self._wanted():
                await self._ensure(digest, retry=now_ms() - _RETRY_LOADS_MS)
            await self._answer_candidates()
            self._clear()
            await self._follower.wait_for_change(_LOOK_SECONDS)

    def serving(self) -> Serving | None:
        """Return who decides now; None while nothing is live or the live model is not loaded here."""
        lineup = self._follower.lineup
        live = self._models.get(lineup.live or "")
        if not self._follower.caught_up or live is None:
            return None
        return Serving(lineup.revision, live, self._models.get(lineup.before or ""), lineup.challenger)

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
        pending = [candidate.model for candidate in self._follower.candidates.pending.values()]
        return list(dict.fromkeys((*self._follower.lineup.needed, *pending)))

    async def _ensure(self, digest: str, retry: int) -> None:
        """Load a model that is not loaded, unless that failed after the moment `retry`."""
        failure = self._failures.get(digest)
        if digest in self._models or (failure is not None and failure.tried_ms > retry):
            return
        shop = self._workshop
        loaded = await asyncio.to_thread(load, shop.repository, digest, shop.fingerprint, shop.vectorise_probe)
        if isinstance(loaded, Model):
            self._models[digest] = loaded
            self._failures.pop(digest, None)
            log.info("loaded model %s %s (%s)", loaded.name, loaded.version, digest[:12])
        else:
            self._failures[digest] = Failure(loaded, now_ms())
            log.error("model %s cannot be loaded: %s", digest[:12], "; ".join(problem.detail for problem in loaded))

    async def _answer_candidates(self) -> None:
        """Say ready or not ready for each candidate that has not heard from us."""
        for command_id, candidate in tuple(self._follower.candidates.pending.items()):
            if command_id in self._answered:  # an answer of the log may be that of a process before this one
                continue
            await self._ensure(candidate.model, retry=now_ms())
            try:
                await self._publisher.announce(self._answer(command_id, candidate.model))
            except KafkaError as error:
                log.warning("could not answer for candidate %s, trying again: %s", candidate.model[:12], error)
                continue
            self._answered.add(command_id)

    def _answer(self, command_id: str, digest: str) -> Event:
        model = self._models.get(digest)
        return Event(
            event_id=uuid4().hex,
            deployment=self._follower.lineup.deployment,
            kind=EventKind.NOT_READY if model is None else EventKind.READY,
            revision=self._follower.lineup.revision,
            worker=self._workshop.worker,
            at=format_time(now_ms()),
            command_id=command_id,
            model=digest,
            probe_hash=None if model is None else model.probe_hash,
            problems=self._failures[digest].problems if model is None else (),
        )

    def _clear(self) -> None:
        """Let go of what neither the lineup nor a candidate needs any more."""
        wanted = set(self._wanted())
        for digest in self._models.keys() - wanted:
            del self._models[digest]
        self._answered &= self._follower.candidates.pending.keys()
        for digest in self._failures.keys() - wanted:
            del self._failures[digest]
