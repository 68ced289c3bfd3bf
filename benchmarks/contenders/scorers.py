"""What every contender does with payments: ask Redis, compute features, predict, and write a score.

A contender queues the commands of one payment or of many into a pipeline of its own, sends it in its own way, and gets
the scores for the replies. So all of them compute the same, and differ in how they move records.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from benchmarks.contenders.simple_features import SimpleFeatures
from benchmarks.contenders.sorted_sets import SortedSetQueries
from benchmarks.contenders.task import ContenderTask, Line
from features.declaration import FeatureSet
from features.history.frames import Floats
from features.history.store import Transactions
from features.vector.sets import load_sets
from fraudstream.bench.keys import keys_of
from fraudstream_client.outputs import Decision
from models import tree_kernel
from models.loading import Model, load
from models.repository import Repository
from stream.clock import now_ms
from stream.control.probes import vectorise_probe
from stream.engine.unpacking import FetchedRecord
from stream.errors import MeasurementError
from stream.scoring.decode import decode

_SKEW_MS = 300_000
_CREATE_TIME = 0
_encode = msgspec.json.Encoder().encode


class Payment(NamedTuple):
    """One record of the input topic."""

    key: bytes
    value: bytes


class ContenderScore(msgspec.Struct, frozen=True):
    """A record of the output topic."""

    transaction_id: str
    card_id: str
    score: float
    decision: Decision
    model: str


class Features(Protocol):
    """Histories in Redis and the features of payments from them."""

    def ask(self, pipeline: Any, payments: Sequence[Payment]) -> Any:  # noqa: ANN401 - a pipeline of redis-py
        """Queue the commands of some payments; return what `read` needs."""
        ...

    def read(self, asked: Any, replies: Sequence[Any]) -> tuple[list[tuple[str, str]], Floats]:  # noqa: ANN401 - its own
        """Return transaction and card of each payment, and the matrix of the model's features."""
        ...


class SameFeatures:
    """All our features by our code, from a sorted set of records for each card, merchant and device."""

    def __init__(self, feature_set: FeatureSet, keys: str) -> None:
        self._sets = SortedSetQueries(keys, feature_set)

    def ask(self, pipeline: Any, payments: Sequence[Payment]) -> Any:  # noqa: ANN401 - as `Features`
        """Decode the payments and queue the commands for their histories."""
        return self._sets.ask(pipeline, decoded(payments))

    def read(self, asked: Any, replies: Sequence[Any]) -> tuple[list[tuple[str, str]], Floats]:  # noqa: ANN401 - as `Features`
        """Compute the features."""
        batch = asked.batch
        return list(zip(batch.transaction_ids, batch.card_ids, strict=True)), self._sets.read(asked, replies)


class Scorer:
    """Turns payments and what Redis answers into scores."""

    def __init__(self, features: Features, model: Model) -> None:
        self._features = features
        self._model = model

    def ask(self, pipeline: Any, payments: Sequence[Payment]) -> Any:  # noqa: ANN401 - as `Features`
        """Queue the commands of some payments, in their order."""
        return self._features.ask(pipeline, payments)

    def answer(self, asked: Any, replies: Sequence[Any]) -> list[bytes]:  # noqa: ANN401 - as `Features`
        """Return the score of each payment, as JSON."""
        return encoded(self._model, *self._features.read(asked, replies))


def encoded(model: Model, names: Sequence[tuple[str, str]], matrix: Floats) -> list[bytes]:
    """Score payments, of which there are transaction and card, by the rows of a matrix; return each score as JSON."""
    scores, name = model.score(matrix), f"{model.name}@{model.version}"
    return [
        _encode(ContenderScore(*ids, score, decision, name))
        for ids, score, decision in zip(names, scores.tolist(), model.decide(scores), strict=True)
    ]


def decoded(payments: Sequence[Payment]) -> Transactions:
    """Decode payments by our code, as columns.

    Raises:
        MeasurementError: one is refused.
    """
    now = now_ms()
    records = [FetchedRecord("", 0, 0, now, _CREATE_TIME, one.key, one.value, ()) for one in payments]
    found = decode(records, _SKEW_MS)
    if found.dead:
        raise MeasurementError(f"a payment of the measurement is refused: {found.dead[0].detail}")
    return found.columns


def load_model(models: str, digest: str) -> Model:
    """Load a model of a repository, verified as a worker does it.

    Raises:
        MeasurementError: it cannot be loaded.
    """
    computed = {name: vectorise_probe(one) for name, one in load_sets("").by_fingerprint.items()}
    model = load(Repository(models), digest, computed)
    if not isinstance(model, Model):
        raise MeasurementError(f"model {digest} cannot be used: {model[0].detail}")
    return model


def open_scorer(task: ContenderTask) -> Scorer:
    """Load the model of a task.

    Raises:
        MeasurementError: it cannot be loaded.
    """
    newest = load_sets("").newest
    if task.line is Line.SAME:
        return Scorer(SameFeatures(newest, task.keys), load_model(task.models, task.digest))
    tree_kernel.KERNEL = None  # an author calls LightGBM
    return Scorer(SimpleFeatures(newest.names, keys_of(task.keys)), load_model(task.models, task.digest))
