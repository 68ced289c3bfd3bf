"""Limits in words, as commands, logs and histories show them."""

from fraudstream_client.arms import WHOLE_BP
from guards.shares import share_text
from models.let_through import LetThrough
from models.limits import Limits
from models.volume import VolumeBudget
from stream.contract.money import money_text

NEEDS_VERDICT = "promotions need a verdict"


def limits_text(limits: Limits | None) -> str:
    """Return limits for people."""
    found = limits or Limits()
    parts = ["no cap on declines" if found.cap is None else f"declines capped at {_share(found.cap.share)}"]
    parts += [] if found.let_through is None else [let_through_text(found.let_through)]
    return "; ".join([*parts, *promotion_texts(found)])


def promotion_texts(limits: Limits) -> list[str]:
    """Return what limits ask of promotions, for people."""
    budget = limits.volume_budget
    texts = [NEEDS_VERDICT] if limits.promote_needs_verdict else []
    return texts if budget is None else [*texts, f"promoted models keep {budget_text(budget)}"]


def budget_text(budget: VolumeBudget) -> str:
    """Return a fleet's budget of alerts for people."""
    bounds = (("alerts at most {}", budget.alert_share), ("declines at most {}", budget.decline_share),
              ("alerts within {} of the live model's", budget.change))  # fmt: skip
    return ", ".join(text.format(f"{share * 100:g}%") for text, share in bounds if share is not None)


def let_through_text(rule: LetThrough) -> str:
    """Return a let-through for people, with each partition's part of its caps."""
    part = "" if rule.partitions == 1 else f" ({money_text(rule.share_of(0))} in each of {rule.partitions} partitions)"
    return f"{share_text(rule.share_bp)} of declines let through, at most {money_text(rule.caps)} a day{part}"


def _share(share: float) -> str:
    return share_text(round(share * WHOLE_BP, 6))
