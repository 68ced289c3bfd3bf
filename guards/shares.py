"""The arms of a rollout and the share of the cards that a canary has, in units of 0.01 % (basis points)."""

LIVE = "live"
CANARY = "canary"
WHOLE_BP = 10_000
"""The share of all cards."""


def share_text(share_bp: float) -> str:
    """Return a share for people: 25 basis points are "0.25%"."""
    return f"{share_bp / 100:g}%"
