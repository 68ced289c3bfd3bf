"""A model's policy, rules and expected volume in words, for tables."""

from collections.abc import Iterator

from fraudstream.lab.training.policy_facts import PolicyFacts
from fraudstream.ops.rollout.outcomes.costs import costs_text
from models.volume import ExpectedVolume


def policy_lines(facts: PolicyFacts) -> Iterator[tuple[str, str]]:
    """Yield what is known of how a model decides, each with its name."""
    if facts.calibration is not None:
        yield "calibration", facts.calibration.value
    thresholds = f"review from {facts.review_at:.4f}, decline from {facts.decline_at:.4f}"
    if facts.costs is None:
        yield "policy", thresholds
    else:
        for code, costs in facts.costs.costs.items():
            yield "policy", f"least expected cost in {code}: {costs_text(costs, code)}"
        yield "", f"other currencies, and amounts of 0: {thresholds}"
    if facts.rules:
        yield "rules", ", ".join(f"{count} {action.value}" for action, count in facts.rules.items() if count)
    if facts.volume is not None:
        yield "volume", volume_text(facts.volume)


def volume_text(volume: ExpectedVolume) -> str:
    """Return an expected volume for people."""
    budget = volume.budget
    of = "" if budget is None else f"; budget {budget.alerts.text()} alerts, {budget.declines.text()} declines"
    return (
        f"review {volume.review_share:.3%}, decline {volume.decline_share:.3%} of {volume.payments:,} payments; "
        f"{volume.alerts_a_day:.1f} alerts a day, {volume.busiest_day:,} on the busiest{of}"
    )
