"""The rule policy: what is decided where no model can, so that every payment still gets its answer.

It is meant to be mild and plain: it never declines, and sends to review what a person would look at first.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.policy import Decision

REVIEW_ABOVE = {
    "card_count_10m": 5.0,
    "card_amount_to_mean_30d": 10.0,
    "card_count_1h": 15.0,
}
"""Feature to the value above which a payment is reviewed; what is undefined or not computed says nothing."""


def decide_by_rules(names: Sequence[str], vector: NDArray[np.float64]) -> Decision:
    """Decide one payment by its features, of shape (len(names),)."""
    values = dict(zip(names, vector.tolist(), strict=True))
    if any(values.get(name, 0.0) > limit for name, limit in REVIEW_ABOVE.items()):
        return Decision.REVIEW
    return Decision.APPROVE
