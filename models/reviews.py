"""When a model is reviewed next, and what its reviews found: what its card says, without the card.

The judge reads it of every model that is to decide, so it needs no repository here.
"""

from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Review(NamedTuple):
    """When a model must have been reviewed, and how many whole days are left; negative once it is overdue."""

    by: date
    days: int

    @property
    def text(self) -> str:
        """When it is due, in words."""
        if self.days < 0:
            return f"overdue by {-self.days} {'day' if self.days == -1 else 'days'}, since {self.by}"
        when = {0: "today", 1: "tomorrow"}.get(self.days, f"in {self.days} days")
        return f"due by {self.by}, {when}"


def review_due(by: date | None, at_ms: int) -> Review | None:
    """Return when a review is due, seen from a time in epoch milliseconds (days are UTC's); None without a date."""
    return None if by is None else Review(by, (by - (_EPOCH + timedelta(milliseconds=at_ms)).date()).days)


class FailedReview(NamedTuple):
    """A version of a card that records a failed review: its name, when and by whom it was recorded."""

    name: str
    at: str
    by: str


class ReviewRecord(NamedTuple):
    """What the versions of a model's card say of its reviews.

    Attributes:
        version: the name of the newest version; empty if there is none.
        review_by: the day by which the model must have been reviewed, as the newest version states it.
        failed: the version that recorded the last outcome of a review, if that was a failure.
        unreadable: why a version cannot be read; else empty.
    """

    version: str = ""
    review_by: date | None = None
    failed: FailedReview | None = None
    unreadable: str = ""
