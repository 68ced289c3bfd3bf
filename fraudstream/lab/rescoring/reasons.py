"""Verdicts on a rescored decision, and the reasons why it may differ from the recorded one.

docs/how-to/score-and-compare.md has the table of reasons, generated from the enumeration.
"""

from enum import StrEnum


class Verdict(StrEnum):
    """The result of comparing a decision with itself rescored."""

    EQUAL = "equal"
    """Features, score, band and decision are equal to the last bit."""
    EXPLAINED = "explained"
    """Something differs, or cannot be compared, and a reason explains each such thing."""
    UNEXPLAINED = "unexplained"
    """Something differs, and no reason explains it."""


class Reason(StrEnum):
    """Reasons for a difference, in the order in which they are checked."""

    ERASED = "erased"
    """Its card was erased afterwards, and it saw a record that is erased. Only its own record can be checked: its
    recorded features give its score."""
    DEGRADED = "degraded"
    """The decision says `history_incomplete`: its features are those of the histories as they were then."""
    UNDECIDABLE = "undecidable"
    """The decision says `undecidable`: an error of ours kept the model from deciding, so the rules decided from the
    features that could be computed, or from none. What the model would have decided cannot be proven."""
    HISTORY_EPOCH_CHANGED = "history_epoch_changed"
    """Histories were lost. The decision's position shows fewer records before it than the logs hold; or a repair
    displaced its record, and some prefix of the log gives its features exactly, or all but those that other reasons
    explain; or its position, from before the loss,
    counts a record that was answered only after it, and the feature looks at such a record; so for a prediction from
    storage."""
    BEYOND_RETENTION = "beyond_retention"
    """The feature looks back beyond what the topic still holds, or the transaction itself is no longer on it."""
    CARD_ON_TWO_PARTITIONS = "card_on_two_partitions"
    """The feature looks at a transaction of its card on another partition: producers use different partitioners, or the
    topic got more partitions. No partition has the order of both, and where positions do not tell it, it is unknown.
    Or, in any log, it looks at a transaction that came on two partitions: around a loss the log may have either."""
    ORDER_UNKNOWN = "order_unknown"
    """The feature looks at a transaction of unknown position in that log: one that was decided without histories
    (in a merchant's or device's log), or has no decision, or was backfilled while decisions were made, or was decided
    twice, once with incomplete histories; or at one whose label has no outcome yet, or, in a device's log, got one
    only after the decision or while the payment waited for it. Or such a transaction is so much newer that a late one
    sees less of the log behind it. Or the feature reads predictions from storage, and one about the card that had come
    has no outcome yet."""
    FEATURES_NOT_RECORDED = "features_not_recorded"
    """The record has no features to compare (`FRAUDSTREAM_SCORE_FEATURES`); its score and decision match."""
    ANOTHER_FINGERPRINT = "another_fingerprint"
    """It was decided with another feature set than those of `FRAUDSTREAM_FEATURES`; its recorded features give its
    score."""
    MODEL_MISSING = "model_missing"
    """The repository no longer has the model that it names; its features match."""
