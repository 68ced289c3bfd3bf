"""The state of guards: counts of first bad events by partition, with the position that they reach.

It is a fold over valid scores and outcomes of one deployment, since a rollout or a split began. A card counts once for
each kind, so records that are read twice after a restart change no evidence; only `decided`, the number of payments,
would count them twice.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from fraudstream_client.arms import CANARY, LIVE, WHOLE_BP
from guards.evidence import BlockCounts, Counts, by_share
from guards.excluded import ExcludedCards
from guards.first_payments import BAND_CLASSES, BAND_WIDTH, FIRST_HOURS, ClassCounts, Sampled
from guards.hashes import HashSet, hash_of
from guards.records import (
    APPROVED,
    DECLINED,
    STALE,
    DecidedScore,
    LabelledPayment,
    bad_events,
    features_of,
    ruled,
)
from guards.shares import SplitArms
from guards.specs import GuardKind, Guards

HOUR_MS = 3_600_000
_HOURS_OF_DAY = 24
_HOUR_TEXT = len("2026-01-31T12")
_BY_MODEL = "model"
_OF_FIRST_PAYMENTS = frozenset({GuardKind.SAMPLE_RATIO, GuardKind.SCORES, GuardKind.UNSEEN})
_OF_LABELS = frozenset({GuardKind.FRAUD_APPROVED, GuardKind.DECLINED})


class Exposure(NamedTuple):
    """Under which share of the canary a payment was decided, by which arm, and in which block of time.

    The arm is its place among the state's `arms`. Blocks are hours of UTC since the start; days for approved payments,
    whose frauds come with days of delay, so that a month has few of them.
    """

    share_bp: int
    arm: int
    block: int = 0


@lru_cache(maxsize=4_096)
def _hour_of(text: str) -> int:
    """Return the hour of UTC, counted from 1970, of a time's first 13 characters; 0 if it is none."""
    try:
        return int(datetime.fromisoformat(f"{text}:00:00+00:00").timestamp()) // 3_600
    except ValueError:
        return 0


class PartitionCounts:
    """What was counted of one partition of `scores`.

    Attributes:
        position: the offset behind the last record that was read, valid or not.
        standing: highest epoch and last place there, as `fraudstream_client.Standing`, to go on telling valid scores.
        decided: payments by share: those of each of the state's `arms`.
        firsts: cards by kind, block and share, at their first bad event of that kind: those of each arm. For
            `sample_ratio`, at their first payment, whose block does not matter.
        cards: the cards in `firsts`, by kind.
        approved: the approved payments, by exposure; empty without a guard on approved fraud.
        declined: the payments that a canary's model declined.
        classes: cards at their first payment, by share: of each arm, by class of bands.
        rows, undefined, early: of the canary's first payments in its first hours the approved ones with features, how
            often each feature was undefined in them, and the scores of all by class of bands.
    """

    def __init__(self, arms: int = 2) -> None:
        self._arms = arms
        self.position = 0
        self.standing = (-1, -1)
        self.decided: dict[int, list[int]] = {}
        self.firsts: dict[GuardKind, dict[tuple[int, int], list[int]]] = {}
        self.cards: dict[GuardKind, HashSet] = {}
        self.approved: dict[Exposure, HashSet] = {}
        self.declined = HashSet()
        self.classes: dict[int, list[list[int]]] = {}
        self.rows = 0
        self.undefined: dict[str, int] = {}
        self.early = [0] * BAND_CLASSES

    def count(self, kind: GuardKind, card: int, exposure: Exposure) -> bool:
        """Count a card's bad event, if it is its first of that kind; return whether it is."""
        cards = self.cards.get(kind)
        if cards is None:
            cards = self.cards[kind] = HashSet()
        if not cards.add(card):
            return False
        key, firsts = (exposure.block, exposure.share_bp), self.firsts.setdefault(kind, {})
        firsts.setdefault(key, [0] * self._arms)[exposure.arm] += 1
        return True

    def count_decided(self, exposure: Exposure) -> None:
        """Count a payment."""
        arms = self.decided.get(exposure.share_bp)
        if arms is None:
            arms = self.decided[exposure.share_bp] = [0] * self._arms
        arms[exposure.arm] += 1

    def count_first_payment(self, score: DecidedScore, exposure: Exposure) -> None:
        """Count what a card's first payment tells of the model that decided it."""
        band: Any = getattr(score, "band", None)
        if score.decided_by != _BY_MODEL or not isinstance(band, int) or not 0 <= band < BAND_CLASSES * BAND_WIDTH:
            return
        arms = self.classes.setdefault(exposure.share_bp, [[0] * BAND_CLASSES for _ in range(self._arms)])
        arms[exposure.arm][band // BAND_WIDTH] += 1
        if exposure.arm or exposure.block >= FIRST_HOURS:
            return
        self.early[band // BAND_WIDTH] += 1
        features = features_of(score) if ruled(score) == APPROVED else None  # a worker may state those of alerts alone
        if features is not None:
            self.rows += 1
            for name, value in features.items():
                if value is None:
                    self.undefined[name] = self.undefined.get(name, 0) + 1


class OutcomePartition:
    """What was read of one partition of `outcomes`.

    Attributes:
        position: the offset behind the last record that was read.
        frauds: the card of each payment that was labelled as fraud, by payment, in the order of the labels.
        genuine: the payments that a label called genuine.
    """

    def __init__(self) -> None:
        self.position = 0
        self.frauds: dict[int, int] = {}
        self.genuine = HashSet()


class GuardState:
    """The counts of all guards of one rollout, or of one split.

    Feed it the valid scores of each partition in order, and the outcomes if approved fraud is guarded. Before scores
    are counted, `shares` must have the canary's share at each revision of the rollout that they may carry: read the
    scores, then `model-events` to its end, then count. A score of any other revision is not of this rollout.

    Attributes:
        guards: what is guarded.
        deployment: whose rollout it is; revisions are its own, so scores and outcomes of another are passed over.
        split: the arms of a split, whose cards that are excluded are not counted; None for a rollout.
        since_ms: when it began: blocks of time are counted from its hour of UTC.
        is_paired: whether it is of a promotion that is watched by pairs.
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
        *,
        since_ms: int = 0,
        is_paired: bool = False,
    ) -> None:
        self.guards = guards
        self.since_ms = since_ms
        self.is_paired = is_paired
        self._keeps_declined = GuardKind.DECLINED in guards and split is None and not is_paired
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
            standing: `fraudstream_client.Standing` there, kept for whoever reads on.

        Raises:
            OtherHashKeyError: cards of the split are excluded by hashes of another key than this process has.
        """
        counts = self.partitions.setdefault(partition, PartitionCounts(len(self.arms)))
        shares, places = self.shares, {arm: at for at, arm in enumerate(self.arms)}
        exclude = ExcludedCards() if self.split is None else self.split.exclude
        whole = not self.is_paired and not _OF_FIRST_PAYMENTS.isdisjoint(self.guards)
        for score in scores:
            arm, share_bp = places.get(score.arm or ""), shares.get(score.revision)
            if share_bp is None or arm is None or score.deployment != self.deployment or score.card_id in exclude:
                continue
            exposure = Exposure(share_bp, arm)
            counts.count_decided(exposure)
            card = hash_of(score.card_id)
            if whole and counts.count(GuardKind.SAMPLE_RATIO, card, exposure) and self.split is None:
                counts.count_first_payment(score, Exposure(exposure.share_bp, exposure.arm, self._block(score)))
            self._count_decision(counts, score, card, exposure)
        counts.position, counts.standing = position, standing

    def _count_decision(self, counts: PartitionCounts, score: DecidedScore, card: int, exposure: Exposure) -> None:
        """Count what a decision is, and remember what labels will tell of it."""
        kinds, decision = self.guards, ruled(score)
        for kind in bad_events(score):
            if kind in kinds:
                counts.count(kind, card, Exposure(exposure.share_bp, exposure.arm, self._block(score)))
        if decision == APPROVED:
            if GuardKind.FRAUD_APPROVED in kinds and not (self.is_paired and not getattr(score, "is_labelled", True)):
                day = self._block(score) // _HOURS_OF_DAY
                self._keep_approved(
                    counts, hash_of(score.transaction_id), Exposure(exposure.share_bp, exposure.arm, day)
                )
        elif decision == DECLINED and exposure.arm == 0 and self._keeps_declined:
            counts.declined.add(hash_of(score.transaction_id))

    def _block(self, score: DecidedScore) -> int:
        """Return the hour of UTC in which a payment was decided, counted from that of the start."""
        text: str = getattr(score, "scored_at", "")
        return max(0, _hour_of(text[:_HOUR_TEXT]) - self.since_ms // HOUR_MS) if text else 0

    def _keep_approved(self, counts: PartitionCounts, transaction: int, exposure: Exposure) -> None:
        approved = counts.approved.get(exposure)
        if approved is None:
            approved = counts.approved[exposure] = HashSet()
        approved.add(transaction)
        if transaction in self._sought:  # its label came first
            self._sought.remove(transaction)
            self._found[transaction] = exposure

    def count_outcomes(self, partition: int, outcomes: Iterable[LabelledPayment], position: int) -> None:
        """Count the frauds among a partition's outcomes, in order; once confirmed, a fraud stays counted.

        Args:
            partition: the partition of `outcomes`.
            outcomes: its records up to `position`; those of other deployments are passed over.
            position: the offset behind the last record read there.
        """
        counts = self.outcomes.setdefault(partition, OutcomePartition())
        for outcome in outcomes:
            if outcome.status == STALE or outcome.deployment != self.deployment:
                continue
            if outcome.fraud:
                transaction = hash_of(outcome.transaction_id)
                counts.frauds.setdefault(transaction, hash_of(outcome.card_id))
                self._seek(transaction)
            else:
                counts.genuine.add(hash_of(outcome.transaction_id))
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
        return by_share(self.blocks_of(kind))

    def blocks_of(self, kind: GuardKind) -> BlockCounts:
        """Return the first bad events of a kind over all partitions, by block of time and share."""
        if kind is GuardKind.FRAUD_APPROVED:
            return self._approved_frauds()
        return _summed(counts.firsts.get(kind, {}) for counts in self.partitions.values())

    def decided(self) -> Counts:
        """Return the payments decided over all partitions, by share: those of each of `arms`."""
        return _summed(counts.decided for counts in self.partitions.values())

    def _approved_frauds(self) -> BlockCounts:
        """Count each card's first approved fraud, in the order of the labels: how scores came between has no effect."""
        firsts: dict[tuple[int, int], list[int]] = {}
        for _, counts in sorted(self.outcomes.items()):
            cards: set[int] = set()
            for transaction, card in counts.frauds.items():
                if transaction in self._found and card not in cards:
                    cards.add(card)
                    found = self._found[transaction]
                    arms = firsts.setdefault((found.block, found.share_bp), [0] * len(self.arms))
                    arms[found.arm] += 1
        return _summed([firsts])

    def classes(self) -> ClassCounts:
        """Return the scores of cards' first payments over all partitions: by share, arm and class of bands."""
        sums: dict[int, list[list[int]]] = {}
        for counts in self.partitions.values():
            for share_bp, arms in counts.classes.items():
                before = sums.get(share_bp, [[0] * BAND_CLASSES for _ in arms])
                sums[share_bp] = [_added(one, other) for one, other in zip(before, arms, strict=True)]
        return sums

    def sampled(self) -> Sampled:
        """Return what the canary's first payments in its first hours were, over all partitions."""
        rows, undefined, classes = 0, dict[str, int](), [0] * BAND_CLASSES
        for counts in self.partitions.values():
            rows, classes = rows + counts.rows, _added(classes, counts.early)
            for name, count in counts.undefined.items():
                undefined[name] = undefined.get(name, 0) + count
        return Sampled(rows, undefined, classes)

    def labelled_declines(self) -> tuple[int, int]:
        """Return of how many payments that a canary declined a label says that they are fraud, and that they are not.

        Labels of declined payments come from lots that let them through, from analysts, and from cardholders.
        """
        frauds, genuine = self._labels()
        declined = set[int]().union(*(counts.declined for counts in self.partitions.values()))
        return len(declined & frauds), len((declined & genuine) - frauds)

    def labelled_reviews(self) -> tuple[int, int]:
        """Return of how many payments that only the new model of a pair reviews labels came, and how many there are."""
        approved = (counts.approved.items() for counts in self.partitions.values())
        live = self.arms.index(LIVE)
        reviewed = set[int]().union(*(hashes for each in approved for at, hashes in each if at.arm == live))
        frauds, genuine = self._labels()
        return len(reviewed & (frauds | genuine)), len(reviewed)

    def _labels(self) -> tuple[set[int], set[int]]:
        frauds = set[int]().union(*(counts.frauds for counts in self.outcomes.values()))
        return frauds, set[int]().union(*(counts.genuine for counts in self.outcomes.values()))

    @property
    def reads_labels(self) -> bool:
        """Whether a guard needs outcomes."""
        return not _OF_LABELS.isdisjoint(self.guards)

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


Key = TypeVar("Key", int, tuple[int, int])


def _summed(parts: Iterable[Mapping[Key, list[int]]]) -> dict[Key, tuple[int, ...]]:
    sums: dict[Key, list[int]] = {}
    for part in parts:
        for key, arms in part.items():
            sums[key] = _added(sums.get(key, [0] * len(arms)), arms)
    return {key: tuple(arms) for key, arms in sorted(sums.items())}


def _added(one: list[int], other: list[int]) -> list[int]:
    return [left + right for left, right in zip(one, other, strict=True)]
