"""The state of guards: counts of first bad events by partition, with the position that they reach.

It is a fold over valid scores and outcomes of one deployment, since a rollout or a split began. A card counts once for
each kind, so records that are read twice after a restart change no evidence; only `decided`, the number of payments,
would count them twice.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from guards.evidence import Counts
from guards.hashes import HashSet, hash_of
from guards.records import APPROVED, DecidedScore, GuardedOutcome, bad_events, ruled
from guards.shares import CANARY, LIVE, WHOLE_BP, SplitArms
from guards.specs import GuardKind, Guards


class Exposure(NamedTuple):
    """Under which share of the canary a payment was decided, and by which arm: its place among the state's `arms`."""

    share_bp: int
    arm: int


class PartitionCounts:
    """What was counted of one partition of `scores`.

    Attributes:
        position: the offset behind the last record that was read, valid or not.
        standing: highest epoch and last place there, as `stream.consumer.Standing`, to go on telling valid scores.
        decided: payments by share: those of each of the state's `arms`.
        firsts: cards by kind and share, at their first bad event of that kind: those of each arm. For
            `sample_ratio`, at their first payment.
        cards: the cards in `firsts`, by kind.
        approved: the approved payments, by exposure; empty without a guard on approved fraud.
    """

    def __init__(self, arms: int = 2) -> None:
        self._arms = arms
        self.position = 0
        self.standing = (-1, -1)
        self.decided: dict[int, list[int]] = {}
        self.firsts: dict[GuardKind, dict[int, list[int]]] = {}
        self.cards: dict[GuardKind, HashSet] = {}
        self.approved: dict[Exposure, HashSet] = {}

    def count(self, kind: GuardKind, card: int, exposure: Exposure) -> None:
        """Count a card's bad event, if it is its first of that kind."""
        cards = self.cards.get(kind)
        if cards is None:
            cards = self.cards[kind] = HashSet()
        if cards.add(card):
            self._increment(self.firsts.setdefault(kind, {}), exposure)

    def count_decided(self, exposure: Exposure) -> None:
        """Count a payment."""
        self._increment(self.decided, exposure)

    def _increment(self, by_share: dict[int, list[int]], exposure: Exposure) -> None:
        arms = by_share.get(exposure.share_bp)
        if arms is None:
            arms = by_share[exposure.share_bp] = [0] * self._arms
        arms[exposure.arm] += 1


class OutcomePartition:
    """What was read of one partition of `outcomes`.

    Attributes:
        position: the offset behind the last record that was read.
        frauds: the card of each payment that was labelled as fraud, by payment, in the order of the labels.
    """

    def __init__(self) -> None:
        self.position = 0
        self.frauds: dict[int, int] = {}


class GuardState:
    """The counts of all guards of one rollout, or of one split.

    Feed it the valid scores of each partition in order, and the outcomes if approved fraud is guarded. Before scores
    are counted, `shares` must have the canary's share at each revision of the rollout that they may carry: read the
    scores, then `model-events` to its end, then count. A score of any other revision is not of this rollout.

    Attributes:
        guards: what is guarded.
        deployment: whose rollout it is; revisions are its own, so scores and outcomes of another are passed over.
        split: the arms of a split, whose cards that are excluded are not counted; None for a rollout.
        arms: the names of the arms, live's last: those of the split, or `canary` and `live`.
        shares: the canary's share, in units of 0.01 %, by revision; of a split, that of all its arms.
        partitions: the counts by partition of `scores`.
        outcomes: the confirmed frauds by partition of `outcomes`.
    """

    def __init__(
        self,
        guards: Guards,
        deployment: str,
        shares: Mapping[int, int] | None = None,
        split: SplitArms | None = None,
    ) -> None:
        self.guards = guards
        self.deployment = deployment
        self.split = split
        self.arms = (CANARY, LIVE) if split is None else tuple(arm.name for arm in split.arms)
        self.shares: dict[int, int] = {}
        self.partitions: dict[int, PartitionCounts] = {}
        self.outcomes: dict[int, OutcomePartition] = {}
        self._found: dict[int, Exposure] = {}
        self._sought: set[int] = set()
        for revision, share_bp in (shares or {}).items():
            self.set_share(revision, share_bp)

    def set_share(self, revision: int, share_bp: int) -> None:
        """State the canary's share at a revision of the rollout; or that this is a revision of the split.

        Raises:
            ValueError: the share is not a canary's, which is 0.01 % to 99.99 %.
        """
        if self.split is None and not 0 < share_bp < WHOLE_BP:
            raise ValueError(f"share of revision {revision}: {share_bp} is not from 1 to {WHOLE_BP - 1} (0.01 % each)")
        self.shares[revision] = share_bp

    def count(
        self, partition: int, scores: Iterable[DecidedScore], position: int, standing: tuple[int, int] = (-1, -1)
    ) -> None:
        """Count valid scores of a partition, in order.

        Args:
            partition: the partition of `scores`.
            scores: its valid scores up to `position`; those of other deployments, revisions or arms are passed over.
            position: the offset behind the last record read there, valid or not.
            standing: `stream.consumer.Standing` there, kept for whoever reads on.
        """
        counts = self.partitions.setdefault(partition, PartitionCounts(len(self.arms)))
        kinds, shares, places = self.guards, self.shares, {arm: at for at, arm in enumerate(self.arms)}
        exclude = frozenset[str]() if self.split is None else self.split.exclude
        whole, keeps_approved = GuardKind.SAMPLE_RATIO in kinds, GuardKind.FRAUD_APPROVED in kinds
        for score in scores:
            arm, share_bp = places.get(score.arm or ""), shares.get(score.revision)
            if share_bp is None or arm is None or score.deployment != self.deployment or score.card_id in exclude:
                continue
            exposure = Exposure(share_bp, arm)
            counts.count_decided(exposure)
            card = hash_of(score.card_id)
            if whole:
                counts.count(GuardKind.SAMPLE_RATIO, card, exposure)
            for kind in bad_events(score):
                if kind in kinds:
                    counts.count(kind, card, exposure)
            if keeps_approved and ruled(score) == APPROVED:
                self._keep_approved(counts, hash_of(score.transaction_id), exposure)
        counts.position, counts.standing = position, standing

    def _keep_approved(self, counts: PartitionCounts, transaction: int, exposure: Exposure) -> None:
        approved = counts.approved.get(exposure)
        if approved is None:
            approved = counts.approved[exposure] = HashSet()
        approved.add(transaction)
        if transaction in self._sought:  # its label came first
            self._sought.remove(transaction)
            self._found[transaction] = exposure

    def count_outcomes(self, partition: int, outcomes: Iterable[GuardedOutcome], position: int) -> None:
        """Count the frauds among a partition's outcomes, in order; once confirmed, a fraud stays counted.

        Args:
            partition: the partition of `outcomes`.
            outcomes: its records up to `position`; those of other deployments are passed over.
            position: the offset behind the last record read there.
        """
        counts = self.outcomes.setdefault(partition, OutcomePartition())
        for outcome in outcomes:
            if outcome.confirms_fraud and outcome.deployment == self.deployment:
                transaction = hash_of(outcome.transaction_id)
                counts.frauds.setdefault(transaction, hash_of(outcome.card_id))
                self._seek(transaction)
        counts.position = position

    def _seek(self, transaction: int) -> None:
        """Look for the approval of a fraud; if there is none yet, `_keep_approved` will find it."""
        if transaction in self._found:
            return
        for counts in self.partitions.values():
            for exposure, approved in counts.approved.items():
                if transaction in approved:
                    self._found[transaction] = exposure
                    return
        self._sought.add(transaction)

    def counts_of(self, kind: GuardKind) -> Counts:
        """Return the first bad events of a kind over all partitions, by share: those of each of `arms`.

        A card whose payments lie on two partitions, which a producer's wrong partitioner causes, counts once in each.
        """
        if kind is GuardKind.FRAUD_APPROVED:
            return self._approved_frauds()
        return _summed(counts.firsts.get(kind, {}) for counts in self.partitions.values())

    def decided(self) -> Counts:
        """Return the payments decided over all partitions, by share: those of each of `arms`."""
        return _summed(counts.decided for counts in self.partitions.values())

    def _approved_frauds(self) -> Counts:
        """Count each card's first approved fraud, in the order of the labels: how scores came between has no effect."""
        firsts = PartitionCounts(len(self.arms))
        for _, counts in sorted(self.outcomes.items()):
            cards: set[int] = set()
            for transaction, card in counts.frauds.items():
                if transaction in self._found and card not in cards:
                    cards.add(card)
                    firsts.count_decided(self._found[transaction])
        return _summed([firsts.decided])

    def forget(self, partition: int) -> None:
        """Forget what was counted of a partition of `scores`, so that it can be counted again from its beginning."""
        self.partitions.pop(partition, None)
        self._found.clear()
        self._sought.clear()
        self.seek_all()

    def forget_outcomes(self, partition: int) -> None:
        """Forget what was read of a partition of `outcomes`, so that it can be read again from its beginning."""
        self.outcomes.pop(partition, None)
        self._found.clear()
        self._sought.clear()
        self.seek_all()

    def seek_all(self) -> None:
        """Look for the approvals of all frauds again, after partitions were put in or taken out."""
        for counts in self.outcomes.values():
            for transaction in counts.frauds:
                self._seek(transaction)

    @property
    def remembered(self) -> int:
        """The number of remembered cards and approved payments; each takes 12 to 19 bytes of memory."""
        groups = (group for counts in self.partitions.values() for group in (counts.cards, counts.approved))
        return sum(len(hashes) for group in groups for hashes in group.values())


def _summed(parts: Iterable[Mapping[int, list[int]]]) -> dict[int, tuple[int, ...]]:
    sums: dict[int, list[int]] = {}
    for part in parts:
        for share_bp, arms in part.items():
            before = sums.get(share_bp, [0] * len(arms))
            sums[share_bp] = [one + other for one, other in zip(before, arms, strict=True)]
    return {share_bp: tuple(arms) for share_bp, arms in sorted(sums.items())}
