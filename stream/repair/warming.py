"""Of which models do features look further back than histories are whole yet, and how far must they be for decisions?

A model that would decide on histories that lack something is not accepted: putting them together goes on beside
decisions, which wait for nothing but what their own model looks at. Nothing here repairs anything; `repairing` does.
"""

from collections.abc import Callable, Mapping

from features.history.store import Entity
from features.redis.retention import Cover
from features.redis.store import RedisStore
from features.vector.sets import FeatureSets
from models.problems import Problem, ProblemCode
from stream.control.model_cache import Serving


def needed(sets: FeatureSets, serving: Serving | None) -> Mapping[Entity, int]:
    """Return how far back the model that decides looks, and the one that stands in for it; nowhere where none does."""
    models = [] if serving is None else [serving.live, serving.fallback]
    looks = [sets.by_fingerprint[model.fingerprint].horizons_ms for model in models if model is not None]
    return {kind: max(look.get(kind, 0) for look in looks) for kind in Entity if any(kind in look for look in looks)}


class Warming:
    """Says what speaks against a candidate; `how_far` the repair is, for people."""

    def __init__(self, sets: FeatureSets, store: RedisStore, how_far: Callable[[], str]) -> None:
        self._sets = sets
        self._store = store
        self._how_far = how_far

    def problems(self, fingerprint: str) -> tuple[Problem, ...]:
        """Return why a model with features that are computed here cannot be served yet; nothing where it can."""
        horizons_ms = self._sets.by_fingerprint[fingerprint].horizons_ms
        if not self._store.lacks(horizons_ms):
            return ()
        detail = (
            f"its features look back further ({Cover.of(horizons_ms)}) than histories are put together from Kafka yet "
            f"({self._store.standing.whole.cover}): {self._how_far()}. Decisions go on meanwhile; send the command "
            "again when that is through"
        )
        return (Problem(ProblemCode.FEATURES_WARMING, detail),)
