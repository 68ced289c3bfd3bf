"""What a file's labels say before features are computed: which outcomes count, and whether enough are known.

Chargebacks come for frauds alone, so a payment without a label is genuine, once it is older than chargebacks take: its
*maturity*. Where labels are for both, and only some payments have one, which ones matters: of frauds and a few genuine
payments, a model learns that most payments are frauds.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from features.declaration import DAY_MS
from fraudstream.lab.dataset.file import FileLabels, TransactionsFile
from fraudstream.lab.training.request import ArtifactRequest, TrainingDataError
from fraudstream.lab.training.split import DELAY_QUANTILE, check_labels, label_delay_ms
from fraudstream.lab.training.vectors import Table
from models.policy import Floats

LEAST_SHARE = 0.5
"""Of the payments that are old enough to have a label, how many have one, if those without count for nothing."""
_FEWEST_ALERTS = 20
_LEAST_DIFFERENCE = 0.1
_LATE_SHARE = 1 - DELAY_QUANTILE


class LabelTerms(NamedTuple):
    """Which outcomes of a file count.

    Attributes:
        maturity_days: a payment without a label is genuine when it is so old, and no younger payment counts; None:
            payments without a label do not count.
        notes: what a reader should know of it.
        weaknesses: what speaks against the labels, and was accepted.
    """

    maturity_days: float | None = None
    notes: tuple[str, ...] = ()
    weaknesses: tuple[str, ...] = ()

    def apply(self, table: Table) -> Table:
        """Return a table with the outcomes that count; all other columns are shared."""
        if self.maturity_days is None:
            return table
        old_ms = round(self.maturity_days * DAY_MS)
        known = (table.fraud >= 0) & (table.labelled_ms <= table.last_ms)
        old = table.occurred_ms <= table.last_ms - old_ms
        fraud = np.where(old, np.where(known, table.fraud, 0), -1).astype(np.int8)
        labelled_ms = np.where(old & ~known, table.occurred_ms + old_ms, table.labelled_ms)
        return replace(table, fraud=fraud, labelled_ms=labelled_ms)


def table_of(labels: FileLabels) -> Table:
    """Return a table that has nothing but times and labels; all payments count as if the stream would decide them."""
    rows = len(labels.fraud)
    return Table(
        matrix=np.empty((rows, 0)),
        occurred_ms=labels.occurred_ms,
        labelled_ms=labels.labelled_ms,
        fraud=labels.fraud,
        card=np.zeros(rows, np.int64),
        decided=np.ones(rows, np.bool_),
        amount_minor=np.zeros(rows, np.int64),
        currency=np.full(rows, b""),
    )


def look_at_labels(source: TransactionsFile, request: ArtifactRequest) -> tuple[LabelTerms, Table]:
    """Return which outcomes of a file count, and a table of its times and these outcomes, before vectors are computed.

    Raises:
        TrainingDataError: no label is known, or as of `label_terms`.
    """
    facts = source.facts
    check_labels(facts.labelled, facts.usable, facts.last_ms)
    table = table_of(source.labels())
    terms = label_terms(table, request)
    return terms, terms.apply(table)


def label_terms(table: Table, request: ArtifactRequest) -> LabelTerms:
    """Return which outcomes count: as the request states, or, where only frauds have labels, as labels show.

    Raises:
        TrainingDataError: fewer than half of the payments have a label, and the request accepts no weak training.
    """
    known = table.known
    frauds = known & (table.fraud == 1)
    if request.maturity_days is not None:
        return LabelTerms(request.maturity_days, tuple(_late(table, request.maturity_days)))
    if frauds.any() and not (known & (table.fraud == 0)).any():
        days = float(max(1, math.ceil(label_delay_ms(replace(table, fraud=np.where(frauds, 1, -1))) / DAY_MS)))
        note = (
            f"no payment is labelled genuine, so one without a label counts as genuine when it is {days:g} days old, "
            "after which 19 of 20 frauds of the file were known: --maturity-days states another age"
        )
        return LabelTerms(days, (note,))
    return _shared(table, request)


def _shared(table: Table, request: ArtifactRequest) -> LabelTerms:
    """Return that only labels count; refuse it, or call it weak, if most payments have none."""
    rows = np.flatnonzero(table.known)
    if not len(rows):
        return LabelTerms()
    end_ms = min(int(table.occurred_ms[rows[-1]]), table.last_ms - label_delay_ms(table))
    old = table.decided & (table.occurred_ms >= table.occurred_ms[rows[0]]) & (table.occurred_ms <= end_ms)
    if not old.any() or (share := float(table.known[old].mean())) >= LEAST_SHARE:
        return LabelTerms()
    fraud_rate = float((table.fraud[old & table.known] == 1).mean())
    text = (
        f"{share:.1%} of the payments that are old enough have a label, and {fraud_rate:.1%} of these are frauds: if "
        f"frauds are labelled more often than genuine payments, probabilities and precision are up to {1 / share:.1f} "
        "times too high"
    )
    if not request.accept_weak:
        raise TrainingDataError(
            f"{text}. Say after how many days a payment without a label is genuine (--maturity-days), or label more "
            "genuine payments, or accept it (--accept-weak)"
        )
    return LabelTerms(weaknesses=(text,))


def _late(table: Table, days: float) -> list[str]:
    """Return a note if many frauds are known later than their payments count as genuine."""
    frauds = np.flatnonzero(table.decided & (table.fraud == 1))
    delays = table.labelled_ms[frauds] - table.occurred_ms[frauds]
    late = float((delays > days * DAY_MS).mean()) if len(frauds) else 0.0
    if late <= _LATE_SHARE:
        return []
    text = (
        f"{late:.0%} of the labelled frauds were known later than {days:g} days after their payment, until when they "
        "count as genuine: state more days by --maturity-days"
    )
    return [text]


def chosen_labels(table: Table, rows: np.ndarray, alerts: np.ndarray) -> list[str]:
    """Return a warning if alerts among some payments have a label more often than the others, or less often.

    Args:
        table: all payments.
        rows: numbers of payments that are old enough to have a label, shape (n,).
        alerts: which of them a model alerts.
    """
    known, raised = table.known[rows], alerts.astype(np.bool_)
    counts = int(raised.sum()), int((~raised).sum())
    if min(counts) < _FEWEST_ALERTS:
        return []
    shares: tuple[Floats, Floats] = known[raised].mean(), known[~raised].mean()
    first, second = map(float, shares)
    together = float(known.mean())
    error = math.sqrt(together * (1 - together) * (1 / counts[0] + 1 / counts[1]))
    if abs(first - second) < max(_LEAST_DIFFERENCE, 3 * error):
        return []
    text = (
        f"{first:.0%} of the alerts have a label and {second:.0%} of the other payments: precision, recall and "
        "probabilities are those of labelled payments alone; if payments without a label are genuine, state by "
        "--maturity-days after how many days"
    )
    return [text]
