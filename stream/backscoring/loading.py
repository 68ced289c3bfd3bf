"""Models by digest for back-scoring: named by its user, or by a score that it made."""

from functools import lru_cache

from features.vector.sets import FeatureSets
from models.errors import ModelError
from models.loading import Model, load, reopen
from models.problems import Problem, ProblemCode
from models.repository import Repository
from stream.backscoring.errors import UnknownModelError
from stream.probing import probers


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
def model_of(url: str, digest: str, sets: FeatureSets) -> Model:
    """Return a model that computes here what it computed where it was made; remembered by each process.

    Raises:
        UnknownModelError: it is not there, or does not.
    """
    try:
        found = load(Repository(url), digest, probers(sets))
    except ModelError as error:
        raise UnknownModelError(str(error)) from error
    if isinstance(found, Model):
        return found
    raise UnknownModelError(
        f"model {digest[:12]} cannot be used here: {'; '.join(problem.detail for problem in found)}"
    )


@lru_cache(maxsize=64)
def maker_of(url: str, digest: str) -> Model | None:
    """Return the model that made a score, to be given the features that it was given; None: it cannot be had.

    A repository that does not answer is no reason to think that it is gone.

    Raises:
        UnknownModelError: the repository does not answer.
    """
    try:
        found = reopen(Repository(url), digest)
    except ModelError as error:
        raise UnknownModelError(str(error)) from error
    if isinstance(found, Model):
        return found
    if any(problem.code is ProblemCode.REPOSITORY_UNAVAILABLE for problem in found):
        raise UnknownModelError("; ".join(problem.detail for problem in found))
    return None
