"""The request handler of the challenger's process: load models, score vectors, encode comparisons.

`stream.challenger.process` brings the pipes and the clock.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from models.errors import ScoringError
from models.loading import Model
from models.policy import Floats, Payments, bands
from models.problems import Problem
from shadow.comparison import DecidedScore, Result, compare, encode_comparison, read_decided
from shadow.protocol import Compare, CompareResult, KeepOnly, Load, Loaded, Request

Score = Callable[[Model, Floats], Floats]
"""Scores a matrix with a model; `Model.score`, or a failing replacement in a test or benchmark."""

_MS = 1_000_000


class ChallengerServer:
    """Handles requests with the models that it was asked to load.

    Args:
        load: loads and verifies a model by its digest, or returns the problems.
        now_ns: the wall clock, in epoch nanoseconds.
        score: scores a matrix with a model.
    """

    def __init__(
        self, load: Callable[[str], Model | tuple[Problem, ...]], now_ns: Callable[[], int], score: Score = Model.score
    ) -> None:
        self._load = load
        self._now_ns = now_ns
        self._score = score
        self._models: dict[str, Model] = {}

    def answer(self, request: Request) -> Loaded | CompareResult | None:
        """Carry out a request and return the reply, None for a request that has none.

        Raises:
            KeyError: a comparison was requested of a model that is not loaded: a protocol error of the worker.
        """
        match request:
            case Load():
                return self._load_model(request.digest)
            case KeepOnly():
                for digest in self._models.keys() - set(request.digests):
                    del self._models[digest]
            case Compare():
                return self._compare(request)
        return None

    def _load_model(self, digest: str) -> Loaded:
        found = self._models.get(digest) or self._load(digest)
        if isinstance(found, Model):
            self._models[digest] = found
            return Loaded(found.probe_hash, found.fingerprint)
        return Loaded(None, problems=found)

    def _compare(self, request: Compare) -> CompareResult:
        start_ns = self._now_ns()
        model = self._models[request.digest]
        matrix = np.frombuffer(request.matrix, np.float64).reshape(len(request.scores), request.width)
        decided = [read_decided(record) for record in request.scores]
        payments = _payments_of(decided, request.countries) if model.reads_payments else None
        found, why = score_rows(model, matrix, payments, self._score)
        records = tuple(
            result and encode_comparison(compare(one, request.digest, result, self._now_ns() // _MS))
            for one, result in zip(decided, found, strict=True)
        )
        return CompareResult(
            records,
            tuple(result and result.score for result in found),
            tuple(result and result.decision for result in found),
            start_ns,
            self._now_ns(),
            why,
        )


def score_rows(
    model: Model, matrix: Floats, payments: Payments | None, score: Score
) -> tuple[list[Result | None], str | None]:
    """Score the vectors of n payments, row by row if the whole matrix cannot be scored.

    `payments` are None for a model that reads none. Also returns why the first row failed.
    """
    try:
        return list(_results(model, score(model, matrix), (matrix, payments))), None
    except ScoringError:
        rows = [_score_row(model, row[np.newaxis], _payment_at(payments, at), score) for at, row in enumerate(matrix)]
    return [row if isinstance(row, Result) else None for row in rows], _first_error(rows)


def _payment_at(payments: Payments | None, at: int) -> Payments | None:
    return None if payments is None else payments.of(np.array([at]))


def _score_row(model: Model, row: Floats, payment: Payments | None, score: Score) -> Result | str:
    try:
        return _results(model, score(model, row), (row, payment))[0]
    except ScoringError as error:
        return str(error)


def _first_error(rows: Iterable[Result | str]) -> str | None:
    return next((row for row in rows if isinstance(row, str)), None)


def _results(model: Model, scores: Floats, rows: tuple[Floats, Payments | None]) -> list[Result]:
    """Turn a model's scores of n payments, of shape (n,), into results, as the live path does: with its own rules.

    `rows` are the features, of shape (n, width), and the payments.
    """
    matrix, payments = rows
    said = model.decide(scores, payments)
    ruled = list(said)
    if model.rules is not None and payments is not None:
        for at, ruling in model.rules.rulings(said, payments, matrix).items():
            ruled[at] = ruling.decision
    return list(map(Result, scores.tolist(), bands(scores).tolist(), ruled, said))


def _payments_of(decided: Sequence[DecidedScore], countries: Sequence[str | None]) -> Payments:
    """Return what a policy and rules may look at of payments."""
    return Payments(
        [one.card_id for one in decided],
        [one.merchant_id for one in decided],
        countries or [None] * len(decided),
        np.array([one.amount_minor for one in decided], np.int64),
        [one.currency for one in decided],
    )
