"""What a guard's verdict stands on: counts, E and bound as plain JSON, small enough for a command, and in words."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from fraudstream_client.arms import WHOLE_BP
from guards.arm_report import ARMS, arm_evidence, arm_rows, arms_explained, e_of, recomputed_arms, rounded
from guards.evidence import (
    LARGEST_RATIO,
    BlockCounts,
    Counts,
    by_share,
    log_climb_evidence_of,
    log_evidence_of,
    log_fewer_evidence_of,
    log_more_evidence_of,
    log_ratio_evidence_of,
)
from guards.first_payments import (
    Training,
    recomputed_scores,
    recomputed_unseen,
    scores_evidence,
    scores_explained,
    unseen_evidence,
    unseen_explained,
)
from guards.row_time import disagreements as row_time_disagreements
from guards.row_time import explained as row_time_explained
from guards.specs import CLIMB, TWO_SIDED, Action, ClimbSpec, GuardKind, GuardSpec, total_alpha
from guards.state import GuardState

PROMOTION = "promotion"
"""What evidence has under `watched` where a promotion is: its counts are of pairs, half of them the new model's."""
LARGEST_EVIDENCE_BYTES = 16_000
"""A command's `evidence` is at most this long as JSON."""
MOST_SHARES = 20
"""Counts of at most so many shares are listed; a ladder has fewer, an operator's own changes may be more."""
_TOLERANCE = 1e-6
_FEW, _MANY = 10.0, 1e6
"""Below the one a likelihood has a decimal, from the other on it is not counted."""

_WORDS: Mapping[GuardKind, str] = {
    GuardKind.REVIEWED: "first reviews",
    GuardKind.DECLINED: "first declines",
    GuardKind.STOOD_IN: "first payments that another model or the rules decided",
    GuardKind.FRAUD_APPROVED: "first approved frauds",
    GuardKind.SAMPLE_RATIO: "cards",
}


_LEAST_LABELLED = 0.5
"""Where labels come for fewer of the payments that one model of a pair reviews, nothing is said of approved frauds."""
_BLOCKS, _BLOCKS_LEFT_OUT, _SHARES_LEFT_OUT = "blocks", "blocks_left_out", "shares_left_out"


def evidence(
    state: GuardState,
    about: Mapping[str, Any] | None = None,
    row_time: Mapping[str, Any] | None = None,
    training: Training | None = None,
    climb: ClimbSpec | None = None,
) -> dict[str, Any]:
    """Return the evidence of all guards as plain JSON, for `evidence` of a command: at most 16,000 bytes.

    What it has of a split in place of counts by share is in `guards.arm_report`, what it has of first payments in
    `guards.first_payments`.

    `alpha` is the sum over all guards. For each guard: `alpha`, `factor`, `action`, `bound` = 1/alpha, twice that where
    too few are a breach as well, `e` (at most 1e304), the higher of both sides, `breached` (whether e >= bound), and
    `counts`, the cards with a first bad event by share and arm. `blocks` has them by hour since the start as well (by
    day, of approved frauds): block, share, canary's, live's. `e_fewer` is E of too few; `follows` is what follows a
    breach where it is not `action`. `decided` are the payments by share and arm. `positions` are the offsets behind the
    last record that was read, a list by partition, so that it can be computed again from the topics. What does not fit
    is left out: first the blocks, of guards that are not breached before others, then the positions. `about` is what
    else it says, first; `row_time` is what `guards.row_time.row_time_evidence` says, if that is guarded; `training` is
    what the canary's training saw; `climb` adds the evidence that a rung asks for: `ratio`, `alpha`, `bound`, `from_bp`
    and `e`, by kind.
    """
    counted = {str(kind): _evidence_of(kind, spec, state, training) for kind, spec in state.guards.items()}
    found: dict[str, Any] = {
        **(about or {}),
        "alpha": rounded(total_alpha(state.guards)),
        "guards": counted if row_time is None else {**counted, str(GuardKind.ROW_TIME): row_time},
        **({} if climb is None else {CLIMB: _climb_evidence(climb, counted)}),
        "decided": _rows(state.decided()) if state.split is None else arm_rows(state.split, state.decided()),
        "positions": {"scores": _positions(state.partitions), "outcomes": _positions(state.outcomes)},
    }
    for guard in sorted(found["guards"].values(), key=lambda one: (one["breached"], -len(one.get(_BLOCKS, ())))):
        if len(msgspec.json.encode(found)) <= LARGEST_EVIDENCE_BYTES:
            return found
        if guard.get(_BLOCKS):
            guard[_BLOCKS_LEFT_OUT] = len(guard.pop(_BLOCKS))
    if len(msgspec.json.encode(found)) > LARGEST_EVIDENCE_BYTES:
        del found["positions"]
    return found


def _climb_evidence(climb: ClimbSpec, guards: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    fields = {"ratio": climb.ratio, "alpha": climb.alpha, "bound": rounded(climb.bound), "from_bp": climb.from_bp}
    return {**fields, "e": {str(kind): _climb_e(guards[kind], climb.ratio) for kind in climb.kinds if kind in guards}}


def _climb_e(guard: Mapping[str, Any], ratio: float) -> float:
    return e_of(log_climb_evidence_of(_counts(guard), ratio))


def _counts(guard: Mapping[str, Any]) -> Counts:
    return {row["share_bp"]: (row["canary"], row["live"]) for row in guard["counts"]}


def likelihood_text(e: float) -> str:
    """Say an E in words: how many times likelier the counts are if the model does harm than if it does none."""
    if e < 1:
        return "no likelier if it does harm than if it does none"
    if e >= _MANY:
        return "more than a million times as likely if it does harm as if it does none"
    times = f"{e:.1f}" if e < _FEW else f"{float(f'{e:.2g}'):,.0f}"
    return f"{times} times as likely if it does harm as if it does none"


def lacking(found: Mapping[str, Any], accepted: Collection[GuardKind] = ()) -> Iterator[str]:
    """Say in words what evidence to climb is lacking by some evidence; nothing if it suffices, or none is asked for.

    `accepted` are kinds whose breach a person accepted: of those nothing is asked any more.
    """
    climb = found.get(CLIMB) or {"e": {}}
    for kind, e in climb["e"].items():
        if e < climb["bound"] and kind not in accepted:
            counts = _counts(found["guards"][kind]).values()
            yield (
                f"evidence that it has fewer than {climb['ratio']:g} times as many {_WORDS[GuardKind(kind)]} as live: "
                f"E = {e:,.3g} of {climb['bound']:,.3g}, by {sum(own for own, _ in counts):,} of the canary's and "
                f"{sum(live for _, live in counts):,} of live's"
            )


def _evidence_of(kind: GuardKind, spec: GuardSpec, state: GuardState, training: Training | None) -> dict[str, Any]:
    if kind is GuardKind.SCORES:
        return scores_evidence(spec, state.classes())
    if kind is GuardKind.UNSEEN:
        return unseen_evidence(spec, state.sampled(), training)
    if state.split is not None:
        return arm_evidence(kind, spec, state.split, state.counts_of(kind))
    return _guard_evidence(kind, spec, state)


def breaches(found: Mapping[str, Any]) -> dict[GuardKind, Action]:
    """Return the guards that are breached by some evidence, with the action of each."""
    return {GuardKind(kind): _action_of(guard) for kind, guard in found["guards"].items() if guard["breached"]}


def _action_of(guard: Mapping[str, Any]) -> Action:
    """Return what follows a breach: too few events hold, whatever the guard does about too many."""
    return Action(guard.get("follows") or guard["action"])


def declines_too_much(found: object) -> bool:
    """Tell whether the guard on declines is breached by too many, by some command's evidence, which may be any JSON."""
    if GuardKind.DECLINED not in breached_kinds(found) or not isinstance(found, dict):
        return False
    guard = found["guards"][GuardKind.DECLINED]
    return guard.get("follows") in (None, guard.get("action"))


def rate_ratio(guard: Mapping[str, Any]) -> float:
    """Return how many times as many bad events the canary has had as live would have had in its place, by evidence."""
    rows: Sequence[Mapping[str, int]] = guard["counts"]
    fair = sum(row["live"] * row["share_bp"] / (WHOLE_BP - row["share_bp"]) for row in rows)
    canary = sum(row["canary"] for row in rows)
    return canary / fair if fair else math.inf if canary else 0.0


def breached_kinds(evidence: object) -> tuple[GuardKind, ...]:
    """Return the guards that are breached by some command's evidence, which may be any JSON, in the order of kinds."""
    guards = evidence.get("guards") if isinstance(evidence, dict) else None
    if not isinstance(guards, dict):
        return ()
    return tuple(
        kind for kind in GuardKind if isinstance(guards.get(kind), dict) and guards[kind].get("breached") is True
    )


def recomputed(found: Mapping[str, Any]) -> dict[GuardKind, float]:
    """Compute the E of each guard that counts events again from the counts that some evidence states.

    Evidence of versions that knew no blocks is computed as they did, from the counts by share.
    """
    values = {}
    for name, guard in found["guards"].items():
        if name != GuardKind.ROW_TIME:
            kind = GuardKind(name)
            values[kind] = _recomputed(kind, guard)
    return values


def _recomputed(kind: GuardKind, guard: Mapping[str, Any]) -> float:
    if kind is GuardKind.SCORES:
        return recomputed_scores(guard, guard["factor"])
    if kind is GuardKind.UNSEEN:
        return recomputed_unseen(guard)
    if ARMS in guard:
        return recomputed_arms(kind, GuardSpec(guard["alpha"], Action(guard["action"]), guard["factor"]), guard[ARMS])
    counts = _counts(guard)
    if kind is GuardKind.SAMPLE_RATIO:
        return e_of(log_ratio_evidence_of(counts))
    if _BLOCKS not in guard:
        return e_of(log_evidence_of(counts, guard["factor"]))
    blocks = {(block, share_bp): (canary, live) for block, share_bp, canary, live in guard[_BLOCKS]}
    more, fewer = _sides(kind, blocks, guard["factor"], guard.get("reviews"))
    return max(more, fewer) if "e_fewer" in guard else more


def _sides(
    kind: GuardKind, counts: BlockCounts, factor: float, reviews: Mapping[str, int] | None
) -> tuple[float, float]:
    """Return E that the canary has too many bad events, and that it has too few, which only some kinds test.

    `reviews` are the payments of a pair that only the new model reviews, and how many of them have a label: as many
    times as labels are missing there, the new model's frauds would be too many if both models were alike.
    """
    if reviews is not None and reviews["decided"]:
        labelled = reviews["labelled"] / reviews["decided"]
        if labelled < _LEAST_LABELLED:
            return 1.0, 0.0
        factor = min(factor / labelled, LARGEST_RATIO - 1)
    fewer = e_of(log_fewer_evidence_of(counts, factor)) if kind in TWO_SIDED else 0.0
    return e_of(log_more_evidence_of(counts, factor)), fewer


def disagreements(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what is wrong with some evidence: an E or a verdict that its own figures do not give."""
    problems = []
    for kind, value in recomputed(found).items():
        guard = found["guards"][kind]
        if not {_SHARES_LEFT_OUT, _BLOCKS_LEFT_OUT} & guard.keys() and not math.isclose(
            value, guard["e"], rel_tol=_TOLERANCE
        ):
            problems.append(f"{kind}: its counts give E = {value:g}, but it states {guard['e']:g}")
        if guard["breached"] != (guard["e"] >= guard["bound"]):
            problems.append(f"{kind}: E = {guard['e']:g} against {guard['bound']:g} is not what `breached` says")
    climb = found.get(CLIMB) or {"e": {}}
    for kind, e in climb["e"].items():
        value = _climb_e(found["guards"][kind], climb["ratio"])
        if _SHARES_LEFT_OUT not in found["guards"][kind] and not math.isclose(value, e, rel_tol=_TOLERANCE):
            problems.append(f"climb.{kind}: its counts give E = {value:g}, but it states {e:g}")
    row_time = found["guards"].get(GuardKind.ROW_TIME)
    return (*problems, *(() if row_time is None else row_time_disagreements(row_time)))


def explain(found: Mapping[str, Any]) -> list[str]:
    """Say in words what some evidence states, one line for each guard."""
    lines = list(explain_each(found).values())
    climb = found.get(CLIMB)
    if climb and climb["e"] and not list(lacking(found)):
        known = " and ".join(_WORDS[GuardKind(kind)] for kind in climb["e"])
        lines.append(f"climb: fewer than {climb['ratio']:g} times as many {known} as live, at {climb['alpha']:g}")
    return [*lines, *(f"climb: lacks {line}" for line in lacking(found))]


def explain_each(found: Mapping[str, Any]) -> dict[GuardKind, str]:
    """Say in words what some evidence states of each guard."""
    is_promotion = found.get("watched") == PROMOTION
    return {
        GuardKind(kind): _explained(GuardKind(kind), guard, is_promotion) for kind, guard in found["guards"].items()
    }


def _explained(kind: GuardKind, guard: Mapping[str, Any], is_promotion: bool) -> str:  # noqa: FBT001 - one of two texts
    if kind is GuardKind.ROW_TIME:
        return row_time_explained(guard)
    if kind is GuardKind.SCORES:
        return scores_explained(guard)
    if kind is GuardKind.UNSEEN:
        return unseen_explained(guard)
    if ARMS in guard:
        return arms_explained(kind, guard, _WORDS[kind])
    rows: Sequence[Mapping[str, int]] = guard["counts"]
    canary, total = sum(row["canary"] for row in rows), sum(row["canary"] + row["live"] for row in rows)
    if not total:
        return f"{kind}: no {_WORDS[kind]} yet"
    fair = sum((row["canary"] + row["live"]) * row["share_bp"] / WHOLE_BP for row in rows)
    tolerated = f", {guard['factor']:g} times as many are tolerated" if guard["factor"] > 1 else ""
    bound = f"{guard['bound']:,.3g} (alpha {guard['alpha']:g})"
    fewer = f", {guard['e_fewer']:,.3g} that they are too few," if "e_fewer" in guard else ""
    verdict = f"breached: {_action_of(guard)}" if guard["breached"] else "not breached"
    whose = "the new model's; if both models were alike" if is_promotion else "the canary's; by its share of cards"
    return (
        f"{kind}: {canary:,} of {total:,} {_WORDS[kind]} are {whose}, {fair:,.1f} would be"
        f"{tolerated}. {_labels_explained(guard)}"
        f"E = {guard['e_more' if fewer else 'e']:,.3g}{fewer} against a bound of {bound}: {verdict}"
    )


def _labels_explained(guard: Mapping[str, Any]) -> str:
    """Say what labels tell of a guard's events, and what they cannot."""
    reviews, labelled = guard.get("reviews"), guard.get("labelled")
    if reviews is not None and reviews["labelled"] < _LEAST_LABELLED * reviews["decided"]:
        return (
            f"Labels came for {reviews['labelled']:,} of {reviews['decided']:,} payments that only the new model "
            "reviews, so nothing can be said. "
        )
    if labelled is not None:
        return f"Of its declines {labelled['fraud']:,} are fraud by their labels, {labelled['genuine']:,} genuine. "
    return ""


def _guard_evidence(kind: GuardKind, spec: GuardSpec, state: GuardState) -> dict[str, Any]:
    blocks = state.blocks_of(kind)
    counts = by_share(blocks)
    fields = {"alpha": rounded(spec.alpha), "factor": spec.factor, "action": str(spec.action)}
    left_out = {_SHARES_LEFT_OUT: len(counts) - MOST_SHARES} if len(counts) > MOST_SHARES else {}
    if kind is GuardKind.SAMPLE_RATIO:
        e, bound = e_of(log_ratio_evidence_of(counts)), rounded(spec.bound())
        return fields | {"bound": bound, "e": e, "breached": e >= bound, "counts": _rows(counts)} | left_out
    reviews = None
    if state.is_paired and kind is GuardKind.FRAUD_APPROVED:
        reviews = dict(zip(("labelled", "decided"), state.labelled_reviews(), strict=True))
    more, fewer = _sides(kind, blocks, spec.factor, reviews)
    bound = rounded(spec.bound(2 if kind in TWO_SIDED else 1))
    fields |= {"bound": bound, "e": max(more, fewer), "breached": max(more, fewer) >= bound, "counts": _rows(counts)}
    if kind in TWO_SIDED:
        fields |= {"e_more": more, "e_fewer": fewer}
    if fields["breached"] and more < bound and spec.action is not Action.HOLD:
        fields["follows"] = str(Action.HOLD)
    if reviews is not None:
        fields["reviews"] = reviews
    if kind is GuardKind.DECLINED and more >= bound and not state.is_paired:
        fields["labelled"] = dict(zip(("fraud", "genuine"), state.labelled_declines(), strict=True))
    return fields | {_BLOCKS: [[*at, *arms] for at, arms in blocks.items()]} | left_out


def _rows(counts: Counts) -> list[dict[str, int]]:
    """Return the counts as rows, at most 20, those with the most events."""
    largest = sorted(counts, key=lambda share_bp: -sum(counts[share_bp]))[:MOST_SHARES]
    return [
        {"share_bp": share_bp, "canary": counts[share_bp][0], "live": counts[share_bp][1]}
        for share_bp in sorted(largest)
    ]


def _positions(partitions: Mapping[int, Any]) -> list[int]:
    return [partitions[at].position if at in partitions else 0 for at in range(max(partitions, default=-1) + 1)]
