"""Why a decision made over again may differ from the one on record: one enumeration, also in docs/scoring.md."""

from enum import StrEnum


class Verdict(StrEnum):
    """What comparing a decision came to."""

    EQUAL = "equal"
    """Features, score, band and decision are equal to the last bit."""
    EXPLAINED = "explained"
    """Something differs, or cannot be compared, and each such thing has a reason that holds for it."""
    UNEXPLAINED = "unexplained"
    """Something differs, and nothing known explains it."""


class Reason(StrEnum):
    """What explains a difference; in the order in which they are looked for."""

    DEGRADED = "degraded"
    """The decision says `history_incomplete`: its features of histories are those of what was seen then."""
    HISTORY_EPOCH_CHANGED = "history_epoch_changed"
    """Histories had been lost, and its position says that fewer records were before it than the logs hold."""
    BEYOND_RETENTION = "beyond_retention"
    """The feature looks back to before what the topic still holds, or the transaction itself is gone from it."""
    ORDER_UNKNOWN = "order_unknown"
    """The feature looks at a transaction whose place in that log nobody knows: one that was decided without histories
    (another party's log), or that has no decision."""
    FEATURES_NOT_RECORDED = "features_not_recorded"
    """The record has no features to compare (`FRAUDSTREAM_SCORE_FEATURES`); its score and decision came out again."""
    ANOTHER_FINGERPRINT = "another_fingerprint"
    """It was decided by another table of features than those computed here; its score came out of its own features."""
    MODEL_MISSING = "model_missing"
    """The repository no longer has the model that it names; its features came out again."""
