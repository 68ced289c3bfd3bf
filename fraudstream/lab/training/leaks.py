"""Refuses features that know what nobody knew at the decision: the label, or what follows from it.

`train` computes its vectors point in time, so a leak comes in by labels whose times are wrong, or by a formula that
reads more than its arguments. A vectors file may have been changed after it was computed. Four checks find them; each
names the feature and says why. They look at the rows that trees are grown on, never at those of the test.

- **The label itself**, or a column that a tree of a few leaves turns into it: average precision of `GIVEN_AWAY` with
  one feature. The published models of the handbook's stream reach 0.71 with all of theirs (`docs/decisions/0042`).
- **Set where a label is known**, and hardly ever where none is.
- **Other values than at the decision**: a file of vectors carries histories as they were at some payments, and these
  give other values than the rows of the file.
- **Labels that are known at their payments**, counted by a feature without a delay.

Fields that are the same in all of a card's payments are told of, and never refused: some belong to the card.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.aggregates import OF_LABELS
from features.declaration import DAY_MS, MINUTE_MS, FeatureSet
from features.history.store import Ints
from features.own_fields import CARRIED, CONTRACT_FIELDS, FieldKind, OwnValue
from fraudstream.lab.dataset.errors import MissingExtraError
from fraudstream.lab.training.request import LeakError
from fraudstream.lab.training.vectors import Table
from metrics.weighted_ranking import WeightedRanking
from models.artifact import ProbeHistories, matrix_of
from models.policy import Floats

GIVEN_AWAY = 0.95
"""Average precision of one feature alone from which it gives the label away."""
FEWEST_FRAUDS = 30
"""With fewer, a feature may be that good by chance; that it is the label to the last row it is not."""
_MOST_ROWS = 100_000
_ENOUGH_FRAUDS = 1_000
"""The last rows are looked at, and as many more before them as have so many frauds."""
_LEAVES = 8
_LEAST_IN_LEAF = 5
_FEWEST_UNLABELLED = 100
_OFTEN, _HARDLY_EVER = 0.2, 0.002
"""Shares of the rows in which a column is set: of those with a label, and of those without one."""
_PROBES = 16
_FEWEST_PROBES = 3
_SAME_PAYMENT = 0.75
"""A row of which this share of the columns equals a probe's is the probe's payment."""
_BLOCK_ROWS = 65_536
_MOST_HISTORY_ROWS = 200_000
_FEWEST_PAYMENTS, _FEWEST_DAYS = 3, 3
"""Of a card that tells whether a field changes."""
_FEWEST_VARYING, _HARDLY_ANY = 20, 0.01
"""So many cards would have several values by chance; at most this part of them has some."""
_AT_ONCE_MS = MINUTE_MS
_ADVICE = "compute features from what was known at the decision, or accept one that is known then by --accept FEATURE"


class Leak(NamedTuple):
    """A feature that knows too much, and why that is thought."""

    feature: str
    reason: str

    @property
    def text(self) -> str:
        """The feature and the reason."""
        return f"{self.feature} {self.reason}"


def refuse_leaks(leaks: Iterable[Leak], accepted: Sequence[str]) -> tuple[str, ...]:
    """Return a warning for each leak that was accepted.

    Raises:
        LeakError: others were found; all of them are named.
    """
    found = list(leaks)
    refused = [leak.text for leak in found if leak.feature not in accepted]
    if refused:
        raise LeakError("\n".join([*refused, _ADVICE]))
    return tuple(f"{leak.text}: accepted" for leak in found)


def find_leaks(table: Table, rows: Ints, feature_set: FeatureSet) -> Iterator[Leak]:
    """Yield the features of a table that know too much, as far as some rows with labels show it.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    yield from _labels_at_once(table, rows, feature_set)
    recent, weights = _recent(rows, table.fraud[rows])
    frauds = table.fraud[recent]
    labelled, unlabelled = np.asarray(table.matrix[recent]), np.asarray(table.matrix[_unlabelled(table)])
    for column, name in enumerate(feature_set.names):
        reason = _given_away(labelled[:, column], frauds, weights)
        if reason := reason or _set_with_label(labelled[:, column], weights, unlabelled[:, column]):
            yield Leak(name, reason)


def _recent(rows: Ints, frauds: NDArray[np.int8]) -> tuple[Ints, Floats]:
    """Return the last rows, with enough frauds among them if there are, and for how many rows each of them stands.

    Where frauds are rare, that is a long time. All frauds of it are taken, and of the genuine rows some that are spread
    over the same time, since a feature that moves with time would else tell one from the other.
    """
    of_frauds = np.flatnonzero(frauds)[-_ENOUGH_FRAUDS:]
    begin = max(0, min([len(rows) - _MOST_ROWS, *of_frauds[:1].tolist()]))
    genuine = begin + np.flatnonzero(frauds[begin:] == 0)
    if len(rows) - begin <= _MOST_ROWS:
        return rows[begin:], np.ones(len(rows) - begin)
    spread = genuine[np.linspace(0, len(genuine) - 1, min(_MOST_ROWS, len(genuine))).astype(np.int64)]
    kept = np.sort(np.concatenate((begin + np.flatnonzero(frauds[begin:]), spread)))
    return rows[kept], np.where(frauds[kept] == 1, 1.0, len(genuine) / max(1, len(spread)))


def _given_away(values: Floats, frauds: NDArray[np.int8], weights: Floats) -> str:
    """Return why a column alone gives the label away; empty if it does not."""
    if not 0 < frauds.sum() < len(frauds):
        return ""
    undefined = np.isnan(values)
    if np.array_equal(undefined, frauds == 1) or np.array_equal(undefined, frauds == 0):
        which = "genuine payments" if undefined[frauds == 0].all() else "frauds"
        return f"is undefined for all {which} and for no others: it is made from the label"
    if np.array_equal(values, frauds) or np.array_equal(values, 1 - frauds):
        return "is the label itself"
    found = 0.0 if frauds.sum() < FEWEST_FRAUDS else _alone(values, frauds, weights)
    if found < GIVEN_AWAY:
        return ""
    return (
        f"gives the label away: average precision {found:.3f} by this feature alone, with {int(frauds.sum()):,} "
        f"frauds; what is known at a decision stays far below {GIVEN_AWAY}"
    )


def _alone(values: Floats, frauds: NDArray[np.int8], weights: Floats) -> float:
    """Return the average precision of a tree of a few leaves on one column, in the rows that these stand for."""
    try:
        from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415 - of the extra `train`
    except ImportError as error:
        raise MissingExtraError("training", "scikit-learn", "train") from error
    places = np.unique(values, return_inverse=True)[1].astype(np.float32)  # trees read float32; NaN is the last place
    rows = places[:, np.newaxis]
    tree = DecisionTreeClassifier(max_leaf_nodes=_LEAVES, min_samples_leaf=_LEAST_IN_LEAF, random_state=0)
    scores: Floats = tree.fit(rows, frauds, sample_weight=weights).predict_proba(rows)[:, 1]
    return WeightedRanking(frauds, scores).measure(weights)[1]


def _unlabelled(table: Table) -> Ints:
    """Return the last rows without a label that was known by the table's end."""
    return np.flatnonzero(table.decided & ~table.known)[-_MOST_ROWS:]


def _set_with_label(labelled: Floats, weights: Floats, unlabelled: Floats) -> str:
    """Return why a column is known only with the label; empty if it is not."""
    if len(unlabelled) < _FEWEST_UNLABELLED:
        return ""
    with_label = float(1 - np.average(np.isnan(labelled), weights=weights))
    without = float(1 - np.isnan(unlabelled).mean())
    if with_label < _OFTEN or without > _HARDLY_EVER:
        return ""
    return (
        f"is known later than the decision: it is set in {with_label:.0%} of the payments with a label, and in "
        f"{without:.1%} of the {len(unlabelled):,} without one"
    )


def _labels_at_once(table: Table, rows: Ints, feature_set: FeatureSet) -> Iterator[Leak]:
    """Yield features that count labels without a delay, if most frauds are known as soon as they are paid."""
    frauds = rows[table.fraud[rows] == 1]
    at_once = table.labelled_ms[frauds] - table.occurred_ms[frauds] <= _AT_ONCE_MS
    if len(frauds) < FEWEST_FRAUDS or at_once.mean() <= 1 / 2:
        return
    for row in feature_set.rows:
        if row.aggregate in OF_LABELS and row.delay_ms < DAY_MS:
            yield Leak(
                row.name,
                f"counts labels as soon as they are known, and {at_once.mean():.0%} of the frauds are known at their "
                "payment: state in labelled_at when a label was really known, or give the feature a delay",
            )


def constant_on_cards(table: Table, feature_set: FeatureSet) -> Iterator[str]:
    """Yield what to know of fields of which each card has one value in all of its payments.

    A number that does not change over a card's days is probably today's value, exported with old payments. A category
    or a flag may be a property of the card. A field is told of only if chance would let many cards have several values.
    """
    rows = np.flatnonzero(table.decided)[-_MOST_HISTORY_ROWS:]
    fields = {at: one.aggregate.field for at, one in enumerate(feature_set.rows) if isinstance(one.aggregate, OwnValue)}
    named = {at: one for at, one in fields.items() if one is not None and _is_of_producer(one.name)}
    constant = {at: one for at, one in named.items() if _is_constant(table, rows, at)}
    numbers = [feature_set.names[at] for at, one in constant.items() if one.kind is FieldKind.NUMBER]
    others = [feature_set.names[at] for at, one in constant.items() if one.kind is not FieldKind.NUMBER]
    for name in numbers:
        yield (
            f"{name} has one value for each card in all of its payments, over days: probably a leak, today's value in "
            "old rows, which tells the future; export what was known at each payment"
        )
    if others:
        yield (
            f"{', '.join(others)}: one value for each card in all of its payments, over days; that is right for what "
            "belongs to the card, such as its BIN; of anything else, export what was known at each payment"
        )


def _is_of_producer(name: str) -> bool:
    """Tell whether a field is a declared one, or the card's country, which comes in no history."""
    return name not in CONTRACT_FIELDS or name in CARRIED


def _is_constant(table: Table, rows: Ints, column: int) -> bool:
    """Tell whether hardly any card has two values of a column, though by chance many would."""
    values, cards, times = table.matrix[rows, column], table.card[rows], table.occurred_ms[rows]
    known = ~np.isnan(values)
    order = np.lexsort((times[known], cards[known]))
    values, cards, times = values[known][order], cards[known][order], times[known][order]
    if not len(values):
        return False
    first = np.flatnonzero(np.r_[True, cards[1:] != cards[:-1]])
    counts = np.diff(np.r_[first, len(cards)])
    lasts = times[first + counts - 1] - times[first] >= _FEWEST_DAYS * DAY_MS
    chosen = np.flatnonzero((counts >= _FEWEST_PAYMENTS) & lasts)
    changes = np.r_[0, np.cumsum(values[1:] != values[:-1])]
    varying = int((changes[first + counts - 1] > changes[first])[chosen].sum())
    shares = np.unique(values, return_counts=True)[1] / len(values)
    lengths, cards_of_length = np.unique(counts[chosen], return_counts=True)
    alike = np.array([(shares**length).sum() for length in lengths.tolist()])
    expected = float((cards_of_length * (1 - alike)).sum())
    return expected >= _FEWEST_VARYING and varying <= _HARDLY_ANY * expected


def find_changed(table: Table, probes: ProbeHistories, names: tuple[str, ...]) -> Iterator[Leak]:
    """Yield columns whose values differ from those at the decision, by the histories that a vectors file carries.

    A gap that was filled is no leak. A payment that is not in the file is not compared.
    """
    vectors = matrix_of(probes.vectors, len(names))
    chosen = vectors[np.linspace(0, len(vectors) - 1, min(_PROBES, len(vectors))).astype(int)]
    nearest = _nearest(table.matrix, chosen)
    compared = nearest[:, 0] >= _SAME_PAYMENT * len(names)
    if not compared.any():
        return
    expected, found = chosen[compared], np.asarray(table.matrix[nearest[compared, 1]])
    differs = (expected != found) & ~np.isnan(expected)
    for column in np.flatnonzero(differs.sum(axis=0) >= min(_FEWEST_PROBES, len(expected))).tolist():
        yield Leak(
            names[column],
            f"has other values than at the decision: in {int(differs[:, column].sum())} of {len(expected)} payments, "
            "whose histories the file carries, it is not what follows from them",
        )


def _nearest(matrix: Floats, vectors: Floats) -> Ints:
    """Return for each vector in how many columns the most similar row equals it, and which row that is.

    A column that is undefined in the vector counts as equal: it may have been filled.
    """
    best = np.zeros((len(vectors), 2), np.int64)
    for start in range(0, len(matrix), _BLOCK_ROWS):
        block = np.asarray(matrix[start : start + _BLOCK_ROWS])
        for at, vector in enumerate(vectors):
            equal = ((block == vector) | np.isnan(vector)).sum(axis=1)
            row = int(np.argmax(equal))
            if equal[row] > best[at, 0]:
                best[at] = equal[row], start + row
    return best
