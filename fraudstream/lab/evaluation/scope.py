"""Which payments of a file count: those that no model was trained on, with whole histories and an outcome.

A figure on payments of the training is too good, so it is never called held back; nor is one of a model that was
trained elsewhere and of which nobody said until when.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.declaration import DAY_MS
from features.history.store import Ints
from fraudstream.lab.evaluation.request import EvaluatedPeriod, NotHeldBackError, NothingToEvaluateError
from fraudstream.lab.training.split import warm_since_ms
from fraudstream.lab.training.vectors import Table
from metrics.columns import Bools
from models.artifact import Manifest
from models.commands import SHORT_DIGEST
from models.loading import Model
from models.times import format_time, stated_ms

LEAST_REFERENCE = 1_000
"""With fewer payments of the training in the file, drift is measured against the first week that counts."""
_WEEK_MS = 7 * DAY_MS


class EvaluationScope(NamedTuple):
    """What counts.

    Attributes:
        rows: numbers of the payments that count, by time.
        fraud: the outcome of each payment of the file, -1 where there is none.
        held_back: whether no model was trained on any of them, as far as that is known.
        trained_rows: how many of them some model was trained on.
        unlabelled: payments of the period that do not count because they have no outcome.
        young: payments of the period that do not count because they are younger than the maturity, labelled or not.
        reference: numbers of the payments that drift is measured against.
        reference_is_training: whether these are of the model's training; else they are the first week that counts.
        seen_until_ms: the last payment that each model has seen, itself or by its teachers; None if nobody knows.
        warnings: what a reader must know.
    """

    rows: Ints
    fraud: NDArray[np.int8]
    held_back: bool
    trained_rows: int
    unlabelled: int
    young: int
    reference: Ints
    reference_is_training: bool
    seen_until_ms: tuple[int | None, ...]
    warnings: tuple[str, ...]


def choose_scope(
    models: Sequence[Model],
    seen_until_ms: tuple[int | None, ...],
    table: Table,
    period: EvaluatedPeriod,
    reach_ms: int,
) -> EvaluationScope:
    """Return what counts for all of the models.

    Args:
        models: the model first, then the one it is compared with.
        seen_until_ms: the last payment that each has seen, itself or by its teachers; None if nobody knows.
        table: the file.
        period: what was asked for.
        reach_ms: how far back the features look.

    Raises:
        NotHeldBackError: payments were asked for that a model was trained on.
        NothingToEvaluateError: no payment counts, or all have one outcome.
    """
    ends = dict(zip(map(_named, models), seen_until_ms, strict=True))
    latest = max((end for end in ends.values() if end is not None), default=None)
    complete_ms = int(table.occurred_ms[0]) + reach_ms
    since_ms = _since(period, table, latest, complete_ms)
    if latest is not None and since_ms <= latest and not period.use_training_rows:
        raise NotHeldBackError(
            f"{format_time(since_ms)} is not later than {format_time(latest)}, until when a model was trained: these "
            "payments are not held back; ask for later ones, or say that they may count (--use-training-rows)"
        )
    matured = _matured(table, period)
    fraud = table.fraud if period.maturity_days is None else _genuine_from(matured, table)
    inside = (table.occurred_ms >= since_ms) & table.decided
    if period.until_ms is not None:
        inside &= table.occurred_ms < period.until_ms
    young, inside = int((inside & ~matured).sum()), inside & matured
    rows = np.flatnonzero(inside & (fraud >= 0))
    _check(table, rows, fraud, latest)
    trained = 0 if latest is None else int((table.occurred_ms[rows] <= latest).sum())
    reference, is_training = _reference(models[0].manifest, table, rows, complete_ms)
    warnings = (
        *_training_warnings(ends, trained),
        *_threshold_warnings(models, table.occurred_ms[rows]),
        *_rule_warnings(models),
        *_history_warnings(table, rows, complete_ms),
    )
    held_back = trained == 0 and None not in ends.values()
    unlabelled = int((inside & (fraud < 0)).sum())
    return EvaluationScope(
        rows, fraud, held_back, trained, unlabelled, young, reference, is_training, seen_until_ms, warnings
    )


def _since(period: EvaluatedPeriod, table: Table, latest: int | None, complete_ms: int) -> int:
    if period.since_ms is not None:
        return period.since_ms
    first, last = int(table.occurred_ms[0]), table.last_ms
    warm_ms = warm_since_ms(first, last, complete_ms)
    if latest is None or period.use_training_rows:
        return warm_ms
    return max(warm_ms, latest + 1)


def _genuine_from(matured: Bools, table: Table) -> NDArray[np.int8]:
    """Return the outcomes, where a payment without a label is genuine from its maturity on."""
    return np.where((table.fraud < 0) & matured, 0, table.fraud).astype(np.int8)


def _matured(table: Table, period: EvaluatedPeriod) -> Bools:
    """Tell which payments are old enough: of younger ones, those with a label are mostly frauds; so none counts."""
    matured: Bools = table.occurred_ms <= table.last_ms - round((period.maturity_days or 0) * DAY_MS)
    return matured


def _check(table: Table, rows: Ints, fraud: NDArray[np.int8], latest: int | None) -> None:
    frauds = int(fraud[rows].sum())
    if 0 < frauds < len(rows):
        return
    end = format_time(table.last_ms)
    if not len(rows):
        after = "" if latest is None else f" after {format_time(latest)}, until when a model was trained"
        raise NothingToEvaluateError(
            f"no payment with a label occurred in the period{after}; the file ends at {end}: add later days, or labels"
        )
    if frauds:
        raise NothingToEvaluateError(
            f"all {frauds:,} payments with a label are frauds: label genuine ones too, or let payments without a label "
            "count as genuine after some days (--maturity-days)"
        )
    raise NothingToEvaluateError(f"none of the {len(rows):,} payments with a label is a fraud: add days, or labels")


def _reference(manifest: Manifest, table: Table, rows: Ints, complete_ms: int) -> tuple[Ints, bool]:
    """Return the payments of the training that have whole histories, or those of the first week that counts."""
    training = manifest.training
    if training is not None:
        since = max(stated_ms(training.since), min(complete_ms, stated_ms(training.until)))
        times = table.occurred_ms
        of_training = np.flatnonzero((times >= since) & (times <= stated_ms(training.until)) & table.decided)
        if len(of_training) >= LEAST_REFERENCE:
            return of_training, True
    times = table.occurred_ms[rows]
    return rows[times < times[0] + _WEEK_MS], False


def _training_warnings(ends: dict[str, int | None], trained: int) -> Iterator[str]:
    for name, end in ends.items():
        if end is None:
            yield (
                f"nothing says until when {name} was trained: if it has seen these payments its figures are too good, "
                "so they are not called held back"
            )
    if trained:
        yield f"{trained:,} of the payments were trained on: the figures are too good, and not held back"


def _threshold_warnings(models: Sequence[Model], times_ms: Ints) -> Iterator[str]:
    """Warn of thresholds that `model policy` chose on payments of this time; training chooses them on earlier ones."""
    for model in models:
        volume = model.manifest.volume
        if model.manifest.parent is None or volume is None or volume.budget is None:
            continue
        since, until = stated_ms(volume.since), stated_ms(volume.until)
        if ((times_ms >= since) & (times_ms <= until)).any():
            yield (
                f"the thresholds of {_named(model)} were chosen on payments from {volume.since} to {volume.until} "
                "that count here: its ranking and its probabilities are held back, its number of alerts is not"
            )


def _rule_warnings(models: Sequence[Model]) -> Iterator[str]:
    for model in models:
        if model.manifest.rules is not None:
            yield f"the rules of {_named(model)} are not applied: decisions are those of its scores, as without rules"


def _history_warnings(table: Table, rows: Ints, complete_ms: int) -> Iterator[str]:
    if int(table.occurred_ms[rows[0]]) < complete_ms:
        yield (
            f"histories are whole from {format_time(complete_ms)} on, and payments before it count: features are lower "
            "there than in the stream; give the file earlier days"
        )


def _named(model: Model) -> str:
    return f"{model.name} {model.version} {model.digest[:SHORT_DIGEST]}"
