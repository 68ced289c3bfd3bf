"""What a repository has about a model beside its artifact: signatures, card, and the models that it is related to."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fraudstream.cli.signatures import signatures_of
from models.artifact import Manifest
from models.card import CardVersion, StatedCard, card_versions, review_of
from models.commands import SHORT_DIGEST
from models.lineage import Relation, Relative, ancestors, descendants, named_models
from models.model_signatures import SignatureCheck
from models.overview import ModelOverview, overviews, stored_manifests
from models.repository import Repository
from models.reviews import Review
from stream.clock import now_ms
from stream.settings import Settings


@dataclass(frozen=True, slots=True)
class ModelSurroundings:
    """What is beside an artifact; `ancestors` and `descendants` are nearest first, with the manifests of `named`."""

    signatures: tuple[SignatureCheck, ...]
    versions: tuple[CardVersion, ...]
    review: Review | None
    ancestors: tuple[Relative, ...]
    descendants: tuple[Relative, ...]
    named: dict[str, ModelOverview]

    @property
    def card(self) -> StatedCard | None:
        """What is stated of the model now; None if nothing is."""
        return self.versions[-1].card if self.versions else None

    def label(self, digest: str) -> str:
        """Return a related model's name, version and short digest."""
        found = self.named.get(digest)
        return digest[:SHORT_DIGEST] if found is None else found.label


def surroundings(settings: Settings, repository: Repository, digest: str) -> ModelSurroundings:
    """Read what is beside a model.

    Raises:
        ModelError: the repository does not answer, or the model's card cannot be read.
    """
    relations = relations_of(repository)
    up, down = ancestors(digest, relations), descendants(digest, relations)
    versions = card_versions(repository, digest)
    return ModelSurroundings(
        signatures_of(settings, repository, digest),
        versions,
        review_of(versions[-1].card if versions else None, now_ms()),
        up,
        down,
        overviews(repository, {one.digest for one in (*up, *down)}),
    )


def relations_of(repository: Repository) -> dict[str, tuple[Relation, ...]]:
    """Return which models the manifest of each model names, by digest.

    Raises:
        RepositoryUnavailableError: the repository does not answer.
    """
    digests = repository.digests()
    stored = stored_manifests(repository, digests)
    known = frozenset(digests)
    return {name: named_models(one.value, name, known) for name, one in stored.items() if one is not None}


def surroundings_facts(beside: ModelSurroundings) -> dict[str, Any]:
    """Return what is beside a model, as fields of one object."""
    return {
        "signatures": [one._asdict() for one in beside.signatures],
        "card": beside.card,
        "card_versions": len(beside.versions),
        "review": None if beside.review is None else beside.review._asdict(),
        "ancestors": [one._asdict() for one in beside.ancestors],
        "descendants": [one._asdict() for one in beside.descendants],
    }


def surroundings_lines(beside: ModelSurroundings) -> Iterator[tuple[str, str]]:
    """Yield lines about what is beside a model, each with its name."""
    for one in beside.ancestors:
        yield "descends from", relative_text(beside, one)
    for one in beside.descendants:
        yield "led to", relative_text(beside, one)
    for check in beside.signatures:
        yield "signature", f"key {check.key}, {check.problem or f'by {check.person}'}"
    if beside.card is not None:
        yield "owner", beside.card.owner
    if beside.review is not None:
        yield "review", beside.review.text


def relative_text(beside: ModelSurroundings, relative: Relative) -> str:
    """Return a related model in words: its name, and how it is related, of a nearer one if it is not the nearest."""
    nearer = "" if relative.steps == 1 else f" of {relative.of[:SHORT_DIGEST]}"
    return f"{beside.label(relative.digest)} ({relative.field}{nearer})"


def code_lines(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield lines about the code and the libraries that made a model."""
    made = manifest.provenance
    yield "code", f"fraudstream {manifest.code_version}"
    if made is not None:
        yield from () if made.commit is None else (("commit", made.commit),)
        yield "sources", made.code
        libraries = ", ".join(f"{name} {version}" for name, version in sorted(made.libraries.items()))
        yield "made with", f"Python {made.python}, {libraries}"
