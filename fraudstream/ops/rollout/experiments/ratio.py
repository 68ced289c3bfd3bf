"""Whether cards were divided among arms as their shares say: the test of the sample ratio."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fraudstream.ops.rollout.outcomes.columns import PaymentRows
from fraudstream_client.arms import LIVE
from guards.evidence import log_split_ratio_evidence
from guards.shares import ArmShare

_LARGEST_LOG = 700.0


class SampleRatio(NamedTuple):
    """The cards of each arm, and the evidence that they are not divided as the shares say.

    Attributes:
        cards: by arm.
        expected: by the shares.
        e: the evidence; a division as stated ever makes it as large as 1/alpha with a probability of at most alpha.
        alpha: of this test.
    """

    cards: dict[str, int]
    expected: dict[str, float]
    e: float
    alpha: float

    @property
    def breached(self) -> bool:
        """Whether the cards are divided otherwise, so that figures by arm compare different cards."""
        return self.e >= 1 / self.alpha


def sample_ratio(rows: PaymentRows, arms: Sequence[ArmShare], alpha: float) -> SampleRatio:
    """Test the division of all cards that paid, excluded ones left out."""
    _, first = np.unique(rows["card"], return_index=True)
    counts = np.bincount(rows["arm"][first], minlength=len(arms)).tolist()
    shares = [arm.share_bp for arm in arms]
    whole = (counts, shares) if arms[-1].name == LIVE else ([*counts, 0], [*shares, 0])
    log = log_split_ratio_evidence(*whole)
    names = [arm.name for arm in arms]
    expected = [sum(counts) * share / sum(shares) for share in shares]
    return SampleRatio(
        dict(zip(names, counts, strict=True)),
        dict(zip(names, expected, strict=True)),
        math.exp(min(log, _LARGEST_LOG)),
        alpha,
    )
