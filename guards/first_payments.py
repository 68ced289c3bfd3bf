"""What each card's first payment tells of a canary without a label: its scores beside live's, and beside its training.

Cards are independent of each other, the payments of one card are not: so the first of each counts. Bands are counted
in classes of 50, in each of which the odds of fraud are about double those of the class before.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fraudstream_client.arms import WHOLE_BP
from guards.arm_report import e_of, rounded
from guards.evidence import Floats, log_evidence
from guards.specs import GuardSpec

BAND_WIDTH = 50
BAND_CLASSES = 1_000 // BAND_WIDTH
FIRST_HOURS = 3
"""For so many blocks a canary is compared with its training, which knows shares of payments. In so short a time hardly
a card pays twice, so the first payments of cards are like all payments; later the rarest payers are most of them."""
OUTSIDE = 0.001
"""Classes at either end that hold less than this part of the training's scores are outside what it saw."""
MARGIN = 0.02
"""Twice the share that training had is tolerated, and so much more: days differ, and a new shop fills no histories."""
SCORE = "score"
"""The quantity beside the features; no feature is named so."""
_RATES = np.arange(1, 11) / 10
_CERTAIN = 0.999
_REMEMBERED = 64
"""So many results are remembered: at most looks of a guard no first payment is new."""

ClassCounts = Mapping[int, Sequence[Sequence[int]]]
"""First payments by share of the canary, arm (the canary's, live's) and class of bands."""


class Training(NamedTuple):
    """What a canary's training saw: the share of rows in which each feature was undefined, and rows by band class."""

    undefined: Mapping[str, float]
    classes: tuple[int, ...]

    def outside(self) -> frozenset[int]:
        """Return the classes at both ends that hold nearly none of the rows."""
        allowed, found = OUTSIDE * sum(self.classes) / 2, set[int]()
        for order in (range(BAND_CLASSES), range(BAND_CLASSES - 1, -1, -1)):
            held = 0
            for at in order:
                held += self.classes[at]
                if held > allowed:
                    break
                found.add(at)
        return frozenset(found)


class Sampled(NamedTuple):
    """The canary's first payments in its first hours.

    `rows` had their features stated and were approved, and `undefined` says in how many of them a feature was not
    defined; `classes` counts the scores of all by class of bands.
    """

    rows: int
    undefined: Mapping[str, int]
    classes: Sequence[int]


class Quantity(NamedTuple):
    """A feature, or the score: in how many of some rows it was undefined or outside, and in which share it may be."""

    name: str
    events: int
    rows: int
    tolerated: float


# --- the scores of both arms


def log_scores_evidence(counts: ClassCounts, factor: float) -> float:
    """Return log E that the canary's scores are distributed otherwise than the live model's.

    For each border between classes the scores above it are one kind of event, and those below another: each is tested
    for more than `factor` times as many, and for fewer than that part. E is the mean of all these tests.
    """
    return _scores_evidence_of(tuple((at, tuple(map(tuple, arms))) for at, arms in sorted(counts.items())), factor)


@lru_cache(maxsize=_REMEMBERED)
def _scores_evidence_of(counts: tuple[tuple[int, tuple[tuple[int, ...], ...]], ...], factor: float) -> float:
    if not counts:
        return 0.0
    table = np.array([arms for _, arms in counts], float)  # of shape (shares, arms, classes)
    below = np.cumsum(table, axis=2)[:, :, :-1]
    events = np.concatenate([below, table.sum(axis=2, keepdims=True) - below], axis=2)
    canary, live = events[:, 0].T, events[:, 1].T
    shares = np.array([share_bp for share_bp, _ in counts]) / WHOLE_BP
    logs = np.concatenate([log_evidence(canary, live, shares, factor), log_evidence(live, canary, 1 - shares, factor)])
    return float(np.logaddexp.reduce(logs) - math.log(len(logs)))


def scores_evidence(spec: GuardSpec, counts: ClassCounts) -> dict[str, Any]:
    """Return what evidence says of the guard on scores; `classes` are rows by share, canary's first, live's below."""
    e = e_of(log_scores_evidence(counts, spec.factor))
    rows = [
        {"share_bp": share_bp, "canary": list(counts[share_bp][0]), "live": list(counts[share_bp][1])}
        for share_bp in sorted(counts)
    ]
    return {**_stated(spec, e), "classes": rows}


def recomputed_scores(guard: Mapping[str, Any], factor: float) -> float:
    """Compute the E of the guard on scores again from what evidence states."""
    return e_of(
        log_scores_evidence({row["share_bp"]: (row["canary"], row["live"]) for row in guard["classes"]}, factor)
    )


def scores_explained(guard: Mapping[str, Any]) -> str:
    """Say in words what evidence states of the guard on scores."""
    canary, live = (_sum_of([row[arm] for row in guard["classes"]]) for arm in ("canary", "live"))
    if not sum(canary):
        return "scores: no first payments of the canary yet"
    return (
        f"scores: the middle one of {sum(canary):,} cards' first payments has a band from {_median(canary)} with the "
        f"canary, of {sum(live):,} from {_median(live)} with live; {guard['factor']:g} times as many beyond any band "
        f"are tolerated. {_verdict(guard)}"
    )


def _median(classes: Sequence[int]) -> str:
    if not sum(classes):
        return "none"
    at = int(np.searchsorted(np.cumsum(classes), sum(classes) / 2))
    return f"{at * BAND_WIDTH} to {at * BAND_WIDTH + BAND_WIDTH - 1}"


# --- the canary beside its training


def tolerated(share: float) -> float:
    """Return the share that may be undefined, where it was so much in training: at most half-way from it to all."""
    return min(2 * share + MARGIN, (1 + share) / 2)


def log_rate_evidence(count: int, rows: int, allowed: float) -> float:
    """Return log E that more than a part `allowed` of all rows are of a kind, of which `count` of `rows` are.

    E is the mean over ten rates up to 1 of the product over rows of Bernoulli(rate) / Bernoulli(allowed).
    """
    rates: Floats = np.minimum(allowed + (1 - allowed) * _RATES, max(_CERTAIN, (1 + allowed) / 2))
    logs = count * np.log(rates / allowed) + (rows - count) * np.log((1 - rates) / (1 - allowed))
    return float(np.logaddexp.reduce(logs) - math.log(len(rates)))


def quantities(sampled: Sampled, training: Training) -> list[Quantity]:
    """Return the score and each feature that training knew, with what was seen of them; nothing where nothing was."""
    outside, scored = training.outside(), sum(sampled.classes)
    found = [Quantity(SCORE, sum(sampled.classes[at] for at in outside), scored, tolerated(OUTSIDE))]
    found += [
        Quantity(name, sampled.undefined.get(name, 0), sampled.rows, tolerated(share))
        for name, share in sorted(training.undefined.items())
        if share < 1
    ]
    return found


@lru_cache(maxsize=_REMEMBERED)
def _worst(tested: tuple[Quantity, ...]) -> Quantity:
    """Return the quantity with the highest E, of equal ones the score."""
    return max(tested, key=lambda one: (log_rate_evidence(one.events, one.rows, one.tolerated), one.name == SCORE))


def unseen_evidence(spec: GuardSpec, sampled: Sampled, training: Training | None) -> dict[str, Any]:
    """Return what evidence says of the guard on what training did not see: the quantity with the highest E.

    Each of the quantities is tested with its part of alpha, so E is theirs divided by their number. Without a
    `training` nothing is tested.
    """
    if training is None:
        return {**_stated(spec, 1.0), "quantity": None, "tests": 0, "rows": sum(sampled.classes)}
    tested = quantities(sampled, training)
    worst = _worst(tuple(tested))
    stated = {
        "quantity": worst.name,
        "count": worst.events,
        "rows": worst.rows,
        "tolerated": rounded(worst.tolerated),
        "tests": len(tested),
    }
    return {**_stated(spec, recomputed_unseen(stated)), **stated}


def recomputed_unseen(guard: Mapping[str, Any]) -> float:
    """Compute the E of the guard on what training did not see again from what evidence states."""
    if guard["quantity"] is None:
        return 1.0
    log = log_rate_evidence(guard["count"], guard["rows"], guard["tolerated"])
    return e_of(log - math.log(guard["tests"]))


def unseen_explained(guard: Mapping[str, Any]) -> str:
    """Say in words what evidence states of the guard on what training did not see."""
    if guard["quantity"] is None:
        return "unseen: the model's manifest does not say what its training saw, so nothing is tested"
    if not guard["rows"]:
        return "unseen: no first payments of the canary yet"
    what = "scores outside of what training saw" if guard["quantity"] == SCORE else f"{guard['quantity']} undefined"
    return (
        f"unseen: {what} in {guard['count']:,} of the canary's {guard['rows']:,} first payments, the worst of "
        f"{guard['tests']} quantities; {guard['tolerated']:.1%} are tolerated. {_verdict(guard)}"
    )


def _stated(spec: GuardSpec, e: float) -> dict[str, Any]:
    return {
        "alpha": rounded(spec.alpha),
        "factor": spec.factor,
        "action": str(spec.action),
        "bound": rounded(spec.bound()),
        "e": e,
        "breached": e >= rounded(spec.bound()),
    }


def _verdict(guard: Mapping[str, Any]) -> str:
    breached = f"breached: {guard['action']}" if guard["breached"] else "not breached"
    return f"E = {guard['e']:,.3g} against a bound of {guard['bound']:,.3g} (alpha {guard['alpha']:g}): {breached}"


def _sum_of(rows: Sequence[Sequence[int]]) -> list[int]:
    return [sum(column) for column in zip(*rows, strict=True)] if rows else [0] * BAND_CLASSES
