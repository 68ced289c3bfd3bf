"""The part of a model that decides, for models of tests that only give scores."""

from typing import Any

from models.policy import Decision, Policy


class BareModel:
    """Decides by thresholds alone, without costs and rules."""

    policy = Policy(review_at=0.3, decline_at=0.5)
    digest = "0" * 64
    reads_payments = False
    rules = None

    def decide(self, scores: Any, _payments: Any = None) -> list[Decision]:
        """Return the decisions on these scores."""
        return self.policy.decide(scores)
