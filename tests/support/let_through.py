"""Let-through by the words of docs/how-to/let-declines-through.md, from scores alone, with nothing of the code."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from fraudstream_client.outputs import Overruled, Score

PASSED = Overruled("let_through", "decline")  # type: ignore[arg-type]
"""What the score of a decline says that was let through."""


class Rule(NamedTuple):
    """What `limits set` has set: a share in 0.01 %, a day's caps in minor units, the salt, the partitions then."""

    share_bp: int
    caps: Mapping[str, int]
    salt: str
    partitions: int


class Lot(NamedTuple):
    """What a score must say: its `propensity`, and whether it was let through."""

    propensity: float | None
    passed: bool


def bucket_of(salt: str, name: str) -> int:
    """Return the bucket of the contract, 0 to 9,999."""
    digest = hashlib.blake2b(name.encode(), key=salt.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % 10_000


def said(score: Score) -> str:
    return str(score.overruled.decision if score.overruled else score.decision)


class PartitionDays:
    """What one partition has let through, by day and currency, counted from its scores in order."""

    def __init__(self) -> None:
        self.used: Counter[tuple[str, str]] = Counter()
        self._day = ""

    def expect(self, score: Score, rule: Rule | None) -> Lot:
        """Return what the next score must say, and count it."""
        if rule is None or said(score) != "decline" or score.decided_by == "rules":
            return Lot(None, passed=False)
        own = score.source.partition < rule.partitions
        part = rule.caps.get(score.currency, 0) // rule.partitions if own else 0
        day = max(self._day, score.scored_at[:10])
        left = part - self.used[day, score.currency]
        if not 0 < score.amount_minor <= left:
            return Lot(None, passed=False)
        passed = bucket_of(rule.salt, score.transaction_id) < rule.share_bp
        if passed:
            self._day = day
            self.used[day, score.currency] += score.amount_minor
        return Lot(rule.share_bp / 10_000, passed)


def expected_lots(scores: Iterable[Score], rule_of: Callable[[Score], Rule | None]) -> list[Lot]:
    """Return what the valid scores of one partition must say, in its order; `rule_of` says what was in force."""
    days = PartitionDays()
    return [days.expect(score, rule_of(score)) for score in scores]


def rules_of(events: Iterable[Mapping[str, Any]]) -> Callable[[Score], Rule | None]:
    """Return what was in force at each revision of each deployment, from the accepted events."""
    made: dict[str, dict[int, Rule | None]] = {}
    for event in events:
        if event["command"] == "limits":
            found = event["limits"].get("let_through")
            made.setdefault(event["deployment"], {})[event["revision"]] = found and Rule(**found)

    def rule_of(score: Score) -> Rule | None:
        own = made.get(score.deployment, {})
        since = max((revision for revision in own if revision <= score.revision), default=None)
        return None if since is None else own[since]

    return rule_of


def found_lots(scores: Iterable[Score]) -> list[Lot]:
    """Return what scores say."""
    return [Lot(one.propensity, one.overruled == PASSED) for one in scores]


def let_through_amounts(scores: Iterable[Score]) -> Counter[tuple[int, str, str]]:
    """Return what was let through by partition, day of the decision, and currency."""
    found: Counter[tuple[int, str, str]] = Counter()
    for one in scores:
        if one.overruled == PASSED:
            found[one.source.partition, one.scored_at[:10], one.currency] += one.amount_minor
    return found
