"""The models that explanations need, loaded by digest from the repository when the first alert of each comes.

A model need not be live any more, and its features need not be computed here: scores carry the vectors to explain.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial

from models.deadline import in_thread
from models.loading import Model, load_for_replay
from models.problems import Problem
from models.repository import Repository
from stream.clock import now_ms

log = logging.getLogger("fraudstream.explanations")

MOST_MODELS = 6
"""So many models stay loaded: a live one, arms, and some that decided before."""
_RETRY_MS = 5_000
_PATIENCE_SECONDS = 1.0
_POLL_SECONDS = 0.02
_Load = Future[Model | tuple[Problem, ...]]


class ModelShelf:
    """The models used last; a model that cannot be loaded is asked for again after a pause.

    Attributes:
        missing: why each model that is asked for is not here, by digest.
    """

    def __init__(self, repository: Repository, most: int = MOST_MODELS) -> None:
        self.missing: dict[str, str] = {}
        self._repository = repository
        self._most = most
        self._models: OrderedDict[str, Model] = OrderedDict()
        self._loads: dict[str, _Load] = {}
        self._tried_ms: dict[str, int] = {}

    @property
    def loaded(self) -> tuple[str, ...]:
        """The digests of the models that are loaded, the one used last at the end."""
        return tuple(self._models)

    async def models(self, digests: set[str]) -> Mapping[str, Model]:
        """Return those of some models that can be had now; `missing` says why the others cannot.

        A repository that does not answer is waited for a moment; meanwhile alerts of other models are explained.
        """
        began = [digest for digest in sorted(digests) if digest not in self._models and self._begin(digest)]
        until = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        while any(not self._loads[digest].done() for digest in began):
            if asyncio.get_running_loop().time() > until:
                break
            await asyncio.sleep(_POLL_SECONDS)
        for digest in [digest for digest, load in self._loads.items() if load.done()]:
            self._end(digest, self._loads.pop(digest).result())
        found = {digest: self._models[digest] for digest in sorted(digests) if digest in self._models}
        for digest in found:
            self._models.move_to_end(digest)
        while len(self._models) > max(self._most, len(found)):
            self._models.popitem(last=False)
        return found

    def forget_missing(self, wanted: set[str]) -> None:
        """Forget the models that cannot be loaded and that no alert waits for any more."""
        self.missing = {digest: why for digest, why in self.missing.items() if digest in wanted}
        self._tried_ms = {digest: at_ms for digest, at_ms in self._tried_ms.items() if digest in wanted}

    def _begin(self, digest: str) -> bool:
        """Begin to load a model, unless that goes on or has failed only just now; tell whether it was begun."""
        if digest in self._loads or now_ms() < self._tried_ms.get(digest, 0) + _RETRY_MS:
            return False
        self._loads[digest] = in_thread(partial(load_for_replay, self._repository, digest))
        self.missing.setdefault(digest, "it is being loaded")
        return True

    def _end(self, digest: str, found: Model | tuple[Problem, ...]) -> None:
        if isinstance(found, Model):
            log.info("loaded model %s %s (%s)", found.name, found.version, digest[:12])
            self._models[digest] = found
            self._tried_ms.pop(digest, None)
            self.missing.pop(digest, None)
            return
        self._tried_ms[digest] = now_ms()
        why = "; ".join(problem.detail for problem in found)
        if self.missing.get(digest) != why:
            log.error("alerts of model %s wait, it cannot be loaded: %s", digest[:12], why)
        self.missing[digest] = why
