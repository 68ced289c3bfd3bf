"""What the challenger's process does with what it is asked: load models, score vectors, write comparisons.

Here are no pipes and no clock; `stream.challenger.process` brings them.
"""

from collections.abc import Callable, Iterable

import numpy as np

from models.errors import ScoringError
from models.loading import Model
from models.policy import Floats
from models.problems import Problem
from shadow.comparison import Result, compare, encode_comparison, read_decided, results
from shadow.protocol import Compare, CompareResult, KeepOnly, Load, Loaded, Request

Score = Callable[[Model, Floats], Floats]
"""Scores a matrix with a model; `Model.score`, or one that a test or a bench makes fail."""

_MS = 1_000_000


class ChallengerServer:
    """Holds the models that it was asked to load.

    Args:
        load: from a digest to a model that is known to compute the same here, or why there is none.
        now_ns: the wall clock, in nanoseconds of the Unix epoch.
        score: how a model scores.
    """

    def __init__(
        self, load: Callable[[str], Model | tuple[Problem, ...]], now_ns: Callable[[], int], score: Score = Model.score
    ) -> None:
        self._load = load
        self._now_ns = now_ns
        self._score = score
        self._models: dict[str, Model] = {}

    def answer(self, request: Request) -> Loaded | CompareResult | None:
        """Do what is asked and return the answer, None where there is none.

        Raises:
            KeyError: a model was not loaded before it was to compare; the other side is out of step.
        """
        match request:
            case Load():
                return self._take_in(request.digest)
            case KeepOnly():
                for digest in self._models.keys() - set(request.digests):
                    del self._models[digest]
            case Compare():
                return self._compare(request)
        return None

    def _take_in(self, digest: str) -> Loaded:
        found = self._models.get(digest) or self._load(digest)
        if isinstance(found, Model):
            self._models[digest] = found
            return Loaded(found.probe_hash, found.fingerprint)
        return Loaded(None, problems=found)

    def _compare(self, request: Compare) -> CompareResult:
        start_ns = self._now_ns()
        model = self._models[request.digest]
        matrix = np.frombuffer(request.matrix, np.float64).reshape(len(request.scores), request.width)
        found, why = score_rows(model, matrix, self._score)
        records = tuple(
            result and encode_comparison(compare(read_decided(record), request.digest, result, self._now_ns() // _MS))
            for record, result in zip(request.scores, found, strict=True)
        )
        return CompareResult(
            records,
            tuple(result and result.score for result in found),
            tuple(result and result.decision for result in found),
            start_ns,
            self._now_ns(),
            why,
        )


def score_rows(model: Model, matrix: Floats, score: Score) -> tuple[list[Result | None], str | None]:
    """Judge n vectors, row by row where the matrix as a whole cannot be scored; say why the first row failed."""
    try:
        return list(results(score(model, matrix), model.policy)), None
    except ScoringError:
        rows = [_one(model, row[np.newaxis], score) for row in matrix]
    return [row if isinstance(row, Result) else None for row in rows], _first(rows)


def _one(model: Model, row: Floats, score: Score) -> Result | str:
    try:
        return results(score(model, row), model.policy)[0]
    except ScoringError as error:
        return str(error)


def _first(rows: Iterable[Result | str]) -> str | None:
    return next((row for row in rows if isinstance(row, str)), None)
