"""What the evidence of guards has of a split: each arm beside live, with its share of the guard's alpha.

A guard compares each arm with live, and so with as many tests as there are arms beside it: each has its part of alpha
(Bonferroni), so that any of them raises a false alarm with a probability of at most alpha. The sample ratio is one test
of all arms.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fraudstream_client.arms import LIVE
from guards.evidence import Counts, log_arm_evidence, log_split_ratio_evidence
from guards.shares import SplitArms, share_text
from guards.specs import GuardKind, GuardSpec

ARMS = "arms"
"""The field of a guard's evidence that has the arms of a split."""
_LARGEST_LOG = 700.0


def arm_evidence(kind: GuardKind, spec: GuardSpec, split: SplitArms, counts: Counts) -> dict[str, Any]:
    """Return what `guards.report.evidence` says of one guard of a split.

    `bound` is that of each test, the number of tests divided by alpha, and `e` the highest E of any of them. `arms` has
    for each arm its share, the cards with a first bad event, and its E; live, and each arm of the sample ratio, which
    is one test, have none.
    """
    rows = arm_rows(split, counts)
    values = _values(kind, spec, rows)
    bound = rounded(len(values) / spec.alpha)
    if kind is not GuardKind.SAMPLE_RATIO:
        rows = [*(row | {"e": e} for row, e in zip(rows[:-1], values, strict=True)), rows[-1]]
    return {
        "alpha": rounded(spec.alpha),
        "factor": spec.factor,
        "action": str(spec.action),
        "bound": bound,
        "e": max(values),
        "breached": max(values) >= bound,
        ARMS: rows,
    }


def arm_rows(split: SplitArms, counts: Counts) -> list[dict[str, Any]]:
    """Return the counts of each arm as rows, live last."""
    counted = counts.get(split.taken_bp, (0,) * len(split.arms))
    return [
        {"arm": arm.name, "share_bp": arm.share_bp, "count": count}
        for arm, count in zip(split.arms, counted, strict=True)
    ]


def recomputed_arms(kind: GuardKind, spec: GuardSpec, rows: Sequence[Mapping[str, Any]]) -> float:
    """Compute the highest E of a guard of a split again from the rows that some evidence states."""
    return max(_values(kind, spec, rows))


def _values(kind: GuardKind, spec: GuardSpec, rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the E of each test of a guard."""
    counts, shares_bp = [int(row["count"]) for row in rows], [int(row["share_bp"]) for row in rows]
    if kind is GuardKind.SAMPLE_RATIO:
        return [e_of(log_split_ratio_evidence(counts, shares_bp))]
    return [e_of(log) for log in log_arm_evidence(counts, shares_bp, spec.factor)]


def arms_explained(kind: GuardKind, guard: Mapping[str, Any], words: str) -> str:
    """Say in words what the evidence states of one guard of a split; `words` name what it counts."""
    rows: Sequence[Mapping[str, Any]] = guard[ARMS]
    if not any(row["count"] for row in rows):
        return f"{kind}: no {words} yet"
    counted = ", ".join(
        f"{row['count']:,} of {row['arm']} ({share_text(row['share_bp'])}){_e_text(row)}" for row in rows
    )
    tolerated = f"; {guard['factor']:g} times as many as {LIVE}'s are tolerated" if guard["factor"] > 1 else ""
    bound = f"{guard['bound']:,.3g} (alpha {guard['alpha']:g})"
    verdict = f"breached: {guard['action']}" if guard["breached"] else "not breached"
    return f"{kind}: {words}: {counted}{tolerated}. E = {guard['e']:,.3g} against a bound of {bound}: {verdict}"


def _e_text(row: Mapping[str, Any]) -> str:
    return f", E {row['e']:,.3g}" if "e" in row else ""


def e_of(log: float) -> float:
    """Return E, at most 1e304, which JSON can state."""
    return math.exp(min(log, _LARGEST_LOG))


def rounded(value: float) -> float:
    """Return a figure as evidence states it."""
    return float(f"{value:.6g}")
