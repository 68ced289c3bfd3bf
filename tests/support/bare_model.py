"""The part of a model that decides, for models of tests that only give scores."""

from typing import Any

from features.vector.sets import load_sets
from fraudstream_client.outputs import Decision
from models.loading import RowTimes
from models.policy import Policy

DEFAULT = load_sets("").newest


class BareModel:
    """Decides by thresholds alone, without costs and rules."""

    policy = Policy(review_at=0.3, decline_at=0.5)
    digest = "0" * 64
    reads_payments = False
    rules = None

    def decide(self, scores: Any, _payments: Any = None) -> list[Decision]:
        """Return the decisions on these scores."""
        return self.policy.decide(scores)


class CountingModel(BareModel):
    """A live model whose score is a tenth of the card's payments within a day."""

    fingerprint, name, version, digest = DEFAULT.fingerprint, "card", "1", "d" * 64
    row_times = RowTimes()

    def score(self, matrix: Any) -> Any:
        """Return the scores of some rows of features."""
        return matrix[:, DEFAULT.names.index("card_count_1d")] / 10
