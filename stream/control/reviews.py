"""When the models that decide are reviewed next, by the cards beside them: for the log, a gauge and an alert.

A card is no part of an artifact, and one that cannot be read keeps no model from deciding.
"""

import asyncio
import logging
from datetime import date
from functools import partial
from typing import NamedTuple

from models.card import WARN_DAYS, days_left, present_card, review_of
from models.deadline import in_thread
from models.errors import ModelError
from models.loading import Model
from models.repository import Repository
from stream.clock import now_ms
from stream.control.follower import Follower
from stream.control.model_cache import LoadedModels

log = logging.getLogger("fraudstream.reviews")

_POLL_SECONDS = 2.0
_AGAIN_MS = 3_600_000
"""A card may get a new version at any time."""
_SHORT_DIGEST = 12


class _ReadCard(NamedTuple):
    """When the card of a model was read, and the review date that it has; None if it has none."""

    at_ms: int
    review_by: date | None


class ReviewDates:
    """Reads the cards of the models that decide, when they have been loaded and every hour."""

    def __init__(self, follower: Follower, models: LoadedModels, repository: Repository) -> None:
        self._follower = follower
        self._models = models
        self._repository = repository
        self._read: dict[str, _ReadCard] = {}
        self._said: dict[str, str] = {}

    async def run(self) -> None:
        """Read for ever."""
        while True:
            await self.read_due(now_ms())
            await self._follower.wait_for_change(_POLL_SECONDS)

    async def read_due(self, at_ms: int) -> None:
        """Read the cards that have not been read in the last hour, and warn of reviews that are near or overdue."""
        models = {model.digest: model for model in self._deciding()}
        self._read = {digest: one for digest, one in self._read.items() if digest in models}
        for digest, model in models.items():
            before = self._read.get(digest)
            if before is None or at_ms - before.at_ms >= _AGAIN_MS:
                await self._read_card(model, at_ms)

    def days(self, at_ms: int) -> dict[tuple[str, ...], float]:
        """Return the days until the review of each model that has a date, by short digest, name and version."""
        return {
            (model.digest[:_SHORT_DIGEST], model.name, model.version): days_left(one.review_by, at_ms)
            for model in self._deciding()
            if (one := self._read.get(model.digest)) is not None and one.review_by is not None
        }

    def _deciding(self) -> tuple[Model, ...]:
        """Return the live model and those of arms; what stands in for them is not reviewed for that."""
        serving = self._models.serving()
        if serving is None:
            return ()
        return (serving.live, *(() if serving.arms is None else serving.arms.models.values()))

    async def _read_card(self, model: Model, at_ms: int) -> None:
        before = self._read.get(model.digest)
        try:
            card = await asyncio.wrap_future(in_thread(partial(present_card, self._repository, model.digest)))
        except ModelError as error:
            self._warn(model, f"review date unknown, since its card cannot be read: {error}")
            self._read[model.digest] = _ReadCard(at_ms, None if before is None else before.review_by)
            return
        review = review_of(card, at_ms)
        self._read[model.digest] = _ReadCard(at_ms, None if review is None else review.by)
        if review is not None and review.days <= WARN_DAYS:
            self._warn(model, f"review {review.text}; record it by `fraudstream model card`")

    def _warn(self, model: Model, what: str) -> None:
        """Log a warning, unless it is the last one about this model."""
        if self._said.get(model.digest) != what:
            self._said[model.digest] = what
            log.warning("model %s %s (%s): %s", model.name, model.version, model.digest[:_SHORT_DIGEST], what)
