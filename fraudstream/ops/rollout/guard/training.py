"""What the training of a canary saw, as its manifest says: the guard compares the canary's first hours with it.

A repository that does not answer is asked again; meanwhile nothing climbs, and what is counted goes on.
"""

import asyncio
import logging
from collections.abc import Callable

from fraudstream.ops.rollout.guard.watched import Stretch, Watched
from guards.first_payments import BAND_CLASSES, Training
from guards.specs import GuardKind
from models.artifact import Manifest, read_manifest
from models.errors import ArtifactError, RepositoryUnavailableError
from models.repository import Repository
from stream.clock import now_ms
from stream.settings import Settings

log = logging.getLogger("fraudstream.guard")

_AGAIN_MS = 30_000


class KnownTraining:
    """The training of the canary that is watched, read once.

    Attributes:
        trouble: why it is not known yet, in words; empty if it is, or where none is needed.

    Args:
        settings: where the repository is.
        open_repository: opens it; in tests another.
    """

    def __init__(self, settings: Settings, open_repository: Callable[[str], Repository] = Repository) -> None:
        self.trouble = ""
        self._settings = settings
        self._open = open_repository
        self._digest = ""
        self._training: Training | None = None
        self._next_ms = 0

    async def of(self, watched: Watched) -> Training | None:
        """Return the training of a canary; None where its manifest does not say, cannot be read, or nothing asks."""
        if watched.stretch is not Stretch.CANARY or GuardKind.UNSEEN not in watched.guards:
            self.trouble = ""
            return None
        if watched.model != self._digest:
            self._digest, self._training, self._next_ms, self.trouble = watched.model, None, 0, "it was not read yet"
        if self.trouble and now_ms() >= self._next_ms:
            self._next_ms = now_ms() + _AGAIN_MS
            try:
                stored = await asyncio.to_thread(lambda: self._open(self._settings.models).manifest(watched.model))
                self._training, self.trouble = training_of(read_manifest(stored.value)), ""
            except RepositoryUnavailableError as error:
                self.trouble = f"the repository does not say what the canary's training saw: {error}"
                log.warning("%s", self.trouble)
            except ArtifactError as error:
                self.trouble = ""
                log.warning("what the canary's training saw is not known, so it is not compared: %s", error)
        return self._training


def training_of(manifest: Manifest) -> Training | None:
    """Return what a model's training saw, by the distributions in its manifest; None where it has none."""
    reference = manifest.reference
    if reference is None or len(reference.bands) != BAND_CLASSES or not sum(reference.bands):
        return None
    undefined = ((quantity.workdays[-1] + quantity.weekends[-1]) / quantity.rows for quantity in reference.features)
    return Training(dict(zip(manifest.feature_names, undefined, strict=False)), reference.bands)
