"""Score each payment with the model of its arm; if that fails, row by row, then with others, and at last by rules.

Where the model of an arm, as of a canary, fails on a row, live stands in for it; where live fails, the model that was
live before.

The rule policy decides where no model can, so that every payment gets a decision. It is deliberately simple and mild:
it never declines, and sends to review what an analyst would check first.

The rules beside a model (`models.list_rules`) come after what it says. Where the model before stands in for the live
one, the live model's rules that block or review hold as well; where no model can decide, all of them do.
"""

import logging
from collections.abc import Iterator, Sequence
from time import thread_time_ns
from typing import NamedTuple, Protocol

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from features.errors import FormulaError
from fraudstream_client.arms import CANARY, LIVE
from fraudstream_client.outputs import DecidedBy, Decision, ModelName, Overruled
from models.errors import ScoringError
from models.list_rules import RuleMatcher, Ruling, rulings_of
from models.loading import Model
from models.policy import Payments, bands
from stream.control.model_cache import ServingModels
from stream.scoring.encode import UNDECIDABLE, Judgement

REVIEW_ABOVE = {
    "card_count_10m": 5.0,
    "card_amount_to_mean_30d": 10.0,
    "card_count_1h": 15.0,
}
"""The value of each feature above which a payment is reviewed; undefined and missing features are ignored."""
LIVE_MODEL_FAILED = "live_model_failed"
CANARY_MODEL_FAILED = "canary_model_failed"
ARM_MODEL_FAILED = "arm_model_failed"
"""That of an arm of a split; the score's `arm` says which."""
NO_MODEL = "no_model"

log = logging.getLogger(__name__)
_NO_SCORE = (ScoringError, FormulaError)
"""What is another model's turn after: of the features that only the model of an arm has, a formula may fail."""

Floats = NDArray[np.float64]


def decide_by_rules(names: Sequence[str], vector: NDArray[np.float64]) -> Decision:
    """Decide one payment by its features, of shape (len(names),)."""
    values = dict(zip(names, vector.tolist(), strict=True))
    if any(values.get(name, 0.0) > limit for name, limit in REVIEW_ABOVE.items()):
        return Decision.REVIEW
    return Decision.APPROVE


class VectorSource(Protocol):
    """The vectors of n payments, by the fingerprint of a feature set; implemented by `features.vector.sets`."""

    def of(self, fingerprint: str) -> Floats:
        """Return float64 of shape (n, features)."""
        ...

    def names(self, fingerprint: str) -> Sequence[str]:
        """Return the features' names."""
        ...

    def row_ns(self, fingerprint: str) -> float:
        """Return the processor time that one row took, in nanoseconds."""
        ...


class _Rung(NamedTuple):
    """A model that may decide for an arm, and what its decision says if those before it have failed."""

    model: Model
    decided_by: DecidedBy
    degraded: tuple[str, ...]


def judge_undecidable(
    names: Sequence[str], matrix: Floats, arm: str = LIVE, fingerprint: str | None = None
) -> list[Judgement]:
    """Judge n payments of an arm by the rule policy after an error; features that cannot be computed are NaN."""
    return [
        Judgement(None, None, decide_by_rules(names, vector), DecidedBy.RULES, None, (UNDECIDABLE,), arm, fingerprint)
        for vector in matrix
    ]


class _Batch(NamedTuple):
    """n payments that are judged together: their vectors, and their columns where a model reads them."""

    vectors: VectorSource
    payments: Payments | None

    def rows(self, fingerprint: str, rows: NDArray[np.intp]) -> tuple[Floats, Payments | None]:
        """Return the vectors and the columns of some of the payments."""
        matrix = self.vectors.of(fingerprint)
        if len(rows) == len(matrix):
            return matrix, self.payments
        return matrix[rows], None if self.payments is None else self.payments.of(rows)


def score(
    serving: ServingModels,
    vectors: VectorSource,
    arms: Sequence[str] | None = None,
    payments: Payments | None = None,
) -> list[Judgement]:
    """Judge n payments; each model uses the features that it was trained on.

    `arms` has the arm of each of them; None: the live model's. `payments` are needed if a model of `serving` reads
    them.
    """
    batch = _Batch(vectors, payments)
    if arms is None:
        count = len(vectors.of(serving.live.fingerprint))
        return _score_arm(serving, batch, LIVE, np.arange(count)) if count else []
    rows: dict[str, list[int]] = {}
    for at, arm in enumerate(arms):
        rows.setdefault(arm, []).append(at)
    found = {arm: iter(_score_arm(serving, batch, arm, np.array(which))) for arm, which in rows.items()}
    return [next(found[arm]) for arm in arms]


def _score_arm(serving: ServingModels, batch: _Batch, arm: str, rows: NDArray[np.intp]) -> list[Judgement]:
    """Judge the payments of one arm, at some rows of the vectors, at least one."""
    ladder = _ladder(serving, arm)
    first = next(ladder)
    try:
        return _by_model(first, batch, rows, arm)
    except _NO_SCORE as error:
        _log_no_score(first.model, error)
        rungs = (first, *ladder)
        return [_score_row((serving, rungs), batch, arm, rows[at : at + 1]) for at in range(len(rows))]


def _log_no_score(model: Model, error: Exception) -> None:
    """Log why a model gives no score; the text of a formula's error may quote a payment."""
    why = f"the formula of {error.feature} raised" if isinstance(error, FormulaError) else str(error)
    log.error(
        "model %s gives no score for some payments: %s",
        model.digest[:12],
        why,
        extra={"burst": f"score {model.digest}"},
    )


def _ladder(serving: ServingModels, arm: str) -> Iterator[_Rung]:
    """Yield the models that may decide for an arm, in the order in which they are tried."""
    models: tuple[tuple[Model | None, str], ...] = (
        *((serving.of_arm(arm), failure) for failure in _arm_failed(arm)),
        (serving.live, LIVE_MODEL_FAILED),
        (serving.fallback, NO_MODEL),
    )
    failed: tuple[str, ...] = ()
    for model, failure in models:
        if model is not None:
            yield _Rung(model, DecidedBy.FALLBACK if failed else DecidedBy.MODEL, failed)
            failed = (*failed, failure)


def _arm_failed(arm: str) -> tuple[str, ...]:
    """Return what `degraded` says where the model of an arm beside the live one fails; nothing for `live`."""
    if arm == LIVE:
        return ()
    return (CANARY_MODEL_FAILED,) if arm == CANARY else (ARM_MODEL_FAILED,)


def _score_row(
    models: tuple[ServingModels, Sequence[_Rung]], batch: _Batch, arm: str, row: NDArray[np.intp]
) -> Judgement:
    """Judge one payment with the first model that can score it, else by rules, from the live model's features."""
    serving, ladder = models
    live = serving.live
    matrix, payments = batch.rows(live.fingerprint, row)
    for rung in ladder:
        live_rules = (live.rules, matrix) if live.rules is not None and LIVE_MODEL_FAILED in rung.degraded else None
        try:
            return _by_model(rung, batch, row, arm, live_rules)[0]
        except _NO_SCORE:
            continue
    decision = decide_by_rules(batch.vectors.names(live.fingerprint), matrix[0])
    failed = (*_arm_failed(arm), LIVE_MODEL_FAILED, NO_MODEL)
    return ruled(live, [Judgement(None, None, decision, DecidedBy.RULES, None, failed, arm)], (matrix, payments))[0]


def _by_model(
    rung: _Rung,
    batch: _Batch,
    which: NDArray[np.intp],
    arm: str,
    live: tuple[RuleMatcher, Floats] | None = None,
) -> list[Judgement]:
    """Judge payments by a model; `live` are the rules of the live one if that has failed, and its features."""
    model, rows = rung.model, batch.rows(rung.model.fingerprint, which)
    (matrix, payments), began = rows, thread_time_ns()
    scores = model.score(matrix)
    model.row_times.add(thread_time_ns() - began, len(matrix), batch.vectors.row_ns(model.fingerprint))
    name = ModelName(model.name, model.version, model.digest)
    said = [
        Judgement(value, band, decision, rung.decided_by, name, rung.degraded, arm, model.fingerprint)
        for value, band, decision in zip(
            scores.tolist(), bands(scores).tolist(), model.decide(scores, payments), strict=True
        )
    ]
    return ruled(model, said, rows, live)


def ruled(
    model: Model,
    judgements: list[Judgement],
    rows: tuple[Floats, Payments | None],
    live: tuple[RuleMatcher, Floats] | None = None,
) -> list[Judgement]:
    """Return judgements of n payments as the rules beside a model leave them.

    `rows` are the features of the model, of shape (n, features), and the payments. `live` are the rules of the live
    model, and its features, where the model stands in for it.
    """
    matrix, payments = rows
    own = () if model.rules is None else ((model.rules, matrix),)
    lent = () if live is None else (live,)
    if not (own or lent) or payments is None or not judgements:
        return judgements
    said, found = [one.decision for one in judgements], list(judgements)
    for at, ruling in rulings_of(own, lent, said, payments).items():
        found[at] = _by_rule(found[at], ruling)
    if any(rules.reads_countries for rules, _ in (*own, *lent)):
        countries = payments.countries
        found = [one if at is None else replace(one, country=at) for one, at in zip(found, countries, strict=True)]
    return found


def _by_rule(judgement: Judgement, ruling: Ruling) -> Judgement:
    if ruling.by is None:
        return replace(judgement, is_bound=True)
    return replace(
        judgement, decision=ruling.decision, overruled=Overruled.of(ruling.by, judgement.decision, ruling.decision)
    )
