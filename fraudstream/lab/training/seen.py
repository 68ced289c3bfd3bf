"""Until when a model has seen payments: those that it was trained or calibrated on, and those of its teachers.

A student learns from labels through its teacher, too, so it has seen what its teacher has seen, and theirs. A model
that `model policy` derived names the one that it comes from as its parent, whose times it has.
"""

from collections.abc import Iterator

from models.artifact import Manifest, read_manifest
from models.errors import ArtifactError
from models.repository import Repository
from models.times import stated_ms


def known_until_ms(manifest: Manifest, repository: Repository) -> int | None:
    """Return the last payment that a model learned from, itself or by its teachers; None if nobody knows."""
    times = _times(manifest, repository)
    return None if None in times or not times else max(stated_ms(time) for time in times if time is not None)


def stated_until_ms(manifest: Manifest, repository: Repository) -> int:
    """Return the same as far as somebody stated it; 0 if nobody did."""
    return max((stated_ms(time) for time in _times(manifest, repository) if time is not None), default=0)


def _times(manifest: Manifest, repository: Repository) -> list[str | None]:
    return [time for one in _lineage(manifest, repository) for time in _stated_times(one)]


def _stated_times(manifest: Manifest) -> Iterator[str | None]:
    if manifest.training is not None:
        yield manifest.training.until
    if manifest.imported is not None:
        yield manifest.imported.trained_until
        yield manifest.imported.calibrated_on.until
    if manifest.distilled is not None and manifest.distilled.scores_file is not None:
        yield manifest.distilled.scores_file.trained_until


def _lineage(manifest: Manifest, repository: Repository) -> Iterator[Manifest]:
    """Yield the manifests of a model and of its teachers and theirs, as far as the repository still has them."""
    yield manifest
    ensemble = () if manifest.distilled is None else manifest.distilled.ensemble
    for digest in (*(() if manifest.parent is None else (manifest.parent,)), *(one.digest for one in ensemble)):
        try:
            found = read_manifest(repository.manifest(digest).value)
        except ArtifactError:
            continue
        yield from _lineage(found, repository)
