"""A promotion watched by pairs: the model before it scores the same payments unseen, and where they differ is counted.

Each comparison in which the two models decide differently becomes two scores at a share of one half: the new model's as
`canary`, the previous one's as `live`. A card's first difference of a kind is then the new model's with probability 1/2
if the models do not differ, which is McNemar's test of swaps, so the evidence of a canary serves for it too.

A fraud is counted only where its label comes whichever of the two models decides: where one approves and the other
reviews. What the live model declines has no label, so a fraud that the previous model would have declined is seen, and
one that only the live model declines is not: equal models would look as if all harm was the new one's.
"""

from collections.abc import Iterable, Iterator
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from fraudstream_client.arms import CANARY, LIVE, WHOLE_BP
from guards.errors import GuardSpecError
from guards.records import APPROVED, REVIEWED
from guards.specs import GuardKind, Guards

PAIRED_SHARE_BP = WHOLE_BP // 2
"""State it with `GuardState.set_share` for each revision of the watch."""
PAIRED_KINDS = (GuardKind.REVIEWED, GuardKind.DECLINED, GuardKind.FRAUD_APPROVED)
"""What pairs can tell: not who stood in for a model, since then there is no pair, nor how cards are divided."""
_BY_MODEL = "model"
_LABELLED = {APPROVED, REVIEWED}


class PairedSide(msgspec.Struct, frozen=True):
    """One model's decision; the digest is None where rules decided."""

    decision: str
    digest: str | None = None


class GuardedComparison(msgspec.Struct, frozen=True):
    """A `comparison/1`, as far as a guard reads it."""

    transaction_id: str
    card_id: str
    live: PairedSide
    challenger: PairedSide
    revision: int
    deployment: str = ""
    compared_at: str = ""


class Pair(NamedTuple):
    """The digests of the promoted model, and of the one that was live before it."""

    new: str
    previous: str


class PairedScore(NamedTuple):
    """One model's decision of a comparison as a `guards.records.DecidedScore`."""

    transaction_id: str
    card_id: str
    decision: str
    revision: int
    deployment: str
    arm: str
    scored_at: str
    is_labelled: bool
    """Whether a label would come under either of the two decisions."""
    decided_by: str = _BY_MODEL


read_comparison = msgspec.json.Decoder(GuardedComparison).decode
"""Decode the value of a record of `shadow-scores`; raises msgspec.DecodeError."""


def paired_scores(comparisons: Iterable[GuardedComparison], pair: Pair) -> Iterator[PairedScore]:
    """Yield two scores for each comparison of the pair whose decisions differ, for `GuardState.count`.

    Comparisons of other models are passed over, and those in which the rules or a fallback decided. A comparison that
    is delivered twice changes no evidence, since a card's first difference counts; `GuardState.decided` counts
    differences, twice if they are delivered twice.
    """
    for one in comparisons:
        if one.live.decision != one.challenger.decision and (one.live.digest, one.challenger.digest) == pair:
            about, known = (one.transaction_id, one.card_id), {one.live.decision, one.challenger.decision} == _LABELLED
            rest = one.compared_at, known
            yield PairedScore(*about, one.live.decision, one.revision, one.deployment, CANARY, *rest)
            yield PairedScore(*about, one.challenger.decision, one.revision, one.deployment, LIVE, *rest)


def paired_guards(guards: Guards) -> Guards:
    """Return those of some guards that pairs can tell something of, each with its alpha, factor and action.

    Raises:
        GuardSpecError: there is none among them.
    """
    found = {kind: guard for kind, guard in guards.items() if kind in PAIRED_KINDS}
    if not found:
        raise GuardSpecError(
            f"guards: {', '.join(guards) or 'none'}; but a promotion is watched by pairs of decisions, which need one "
            f"of {', '.join(PAIRED_KINDS)}"
        )
    return MappingProxyType(found)
