"""Models by digest for back-scoring: named by its user, or by a score that it made."""

from functools import lru_cache

from features.declaration import FeatureSet
from models.errors import ModelError
from models.loading import Model, load
from models.problems import Problem
from models.repository import Repository
from stream.backscoring.errors import UnknownModelError
from stream.probing import vectorise_probe


def resolve(url: str, name: str) -> str:
    """Return the digest that a user means.

    Raises:
        UnknownModelError: none or several begin so, or the repository does not answer.
    """
    try:
        found = Repository(url).resolve(name)
    except ModelError as error:
        raise UnknownModelError(str(error)) from error
    if isinstance(found, Problem):
        raise UnknownModelError(f"{found.detail}; `fraudstream model list` names those that there are")
    return found


@lru_cache(maxsize=16)
def model_of(url: str, digest: str, feature_set: FeatureSet) -> Model:
    """Return a model that computes here what it computed where it was made; remembered by each process.

    Raises:
        UnknownModelError: it is not there, or does not.
    """
    try:
        found = load(Repository(url), digest, feature_set.fingerprint, vectorise_probe(feature_set))
    except ModelError as error:
        raise UnknownModelError(str(error)) from error
    if isinstance(found, Model):
        return found
    raise UnknownModelError(
        f"model {digest[:12]} cannot be used here: {'; '.join(problem.detail for problem in found)}"
    )
