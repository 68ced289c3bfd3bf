"""The figures of an experiment's report, counted again from the records on the topics in plain Python."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple

from support.outcome_cases import cards_in_whole_cohorts

Record = Mapping[str, Any]
DAY_MS = 86_400_000


class RecountTerms(NamedTuple):
    """What is counted by: times in days, costs in minor units."""

    card_days: float
    maturity_days: float
    cap_minor: int
    review_minor: int = 300
    decline_minor: int = 200
    decline_percent: int = 5


class RecountedPayment(NamedTuple):
    """A payment of an arm: what the model said, what was decided, the label if there is one, and the lot."""

    card: str
    arm: str
    at_ms: int
    amount_minor: int
    said: str
    decided: str
    fraud: bool | None
    propensity: float | None

    @property
    def is_unseen(self) -> bool:
        """Whether nobody knows what it was."""
        return self.fraud is None and self.decided == "decline"


def ms(text: str) -> int:
    """Return epoch milliseconds."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def latest_labels(outcomes: Iterable[Record]) -> dict[tuple[str, str], bool]:
    """Return the label that counts of each payment: the latest, of equal ones the last to arrive."""
    found: dict[tuple[str, str], tuple[int, int, bool]] = {}
    for one in outcomes:
        key = one["card_id"], one["transaction_id"]
        label = ms(one["labelled_at"]), one["source"]["offset"], one["fraud"]
        found[key] = max(found.get(key, label), label)
    return {key: fraud for key, (_, _, fraud) in found.items()}


def payments_of(scores: Iterable[Record], outcomes: Sequence[Record], exclude: Sequence[str]) -> list[RecountedPayment]:
    """Return the payments of an experiment from its valid scores and all outcomes; excluded cards are left out."""
    labels = latest_labels(outcomes)
    return [
        RecountedPayment(
            one["card_id"],
            one["arm"],
            ms(one["occurred_at"]),
            one["amount_minor"],
            (one.get("overruled") or {"from": one["decision"]})["from"],
            one["decision"],
            labels.get((one["card_id"], one["transaction_id"])),
            one.get("propensity"),
        )
        for one in scores
        if one["card_id"] not in exclude
    ]


class Recount:
    """Counts the figures of one report again; `as_of_ms` is the time of the latest payment or label."""

    def __init__(self, payments: Sequence[RecountedPayment], as_of_ms: int, terms: RecountTerms) -> None:
        self.payments = payments
        self.terms = terms
        self.as_of_ms = as_of_ms
        self.old_ms = as_of_ms - round(terms.maturity_days * DAY_MS)
        waited = [one.at_ms for one in payments if one.fraud is None and one.at_ms > self.old_ms]
        self.settled_ms = min(waited, default=2**62)

    def loss(self, one: RecountedPayment, *, fraud: bool) -> int:
        """Return the loss of what the model said."""
        if one.said == "approve":
            return one.amount_minor if fraud else 0
        if one.said == "review":
            return self.terms.review_minor
        return 0 if fraud else self.terms.decline_minor + (one.amount_minor * self.terms.decline_percent + 50) // 100

    def used(self, arm: str) -> list[RecountedPayment]:
        """Return the payments of an arm of which figures are computed."""
        return [
            one
            for one in self.payments
            if one.arm == arm
            and one.at_ms < self.settled_ms
            and (one.fraud is not None or (one.at_ms <= self.old_ms and not one.is_unseen))
        ]

    def counts(self, arm: str) -> dict[str, Any]:
        """Return the figures of an arm under the names that the report gives them."""
        own, used = [one for one in self.payments if one.arm == arm], self.used(arm)
        frauds = [one for one in used if one.fraud]
        alerts = [one for one in used if one.said != "approve"]
        caught = [one for one in frauds if one.said != "approve"]
        stopped = {side: sum(one.amount_minor for one in frauds if getattr(one, side) != "approve") for side in SIDES}
        total = sum(one.amount_minor for one in frauds)
        return {
            "cards": len({one.card for one in own}),
            "decisions": len(own),
            "said": [sum(one.said == each for one in own) for each in DECISIONS],
            "decided": [sum(one.decided == each for one in own) for each in DECISIONS],
            "labelled": sum(one.fraud is not None for one in own),
            "used": len(used),
            "unobserved": sum(one.is_unseen for one in own),
            "unobserved_minor": sum(one.amount_minor for one in own if one.is_unseen),
            "alerts": len(alerts),
            "frauds": len(frauds),
            "caught": len(caught),
            "fraud_minor": total,
            "stopped_minor": stopped,
            "lost_minor": {side: total - stopped[side] for side in SIDES},
            "loss_minor": sum(self.loss(one, fraud=bool(one.fraud)) for one in used),
            "declines": [one.said == "decline" and one.at_ms <= self.old_ms for one in own].count(True),
            "passed": sum(
                one.said == "decline" and one.at_ms <= self.old_ms and one.decided == "approve" for one in own
            ),
        }

    def final_cards(self) -> list[tuple[str, int, int]]:
        """Return arm, least and largest loss of each card in a final cohort, in the order of first payments."""
        cards: dict[str, list[RecountedPayment]] = defaultdict(list)
        for one in self.payments:
            cards[one.card].append(one)
        firsts = {card: min(one.at_ms for one in own) for card, own in cards.items()}
        found, final, window_ms = [], [], round(self.terms.card_days * DAY_MS)
        for card in sorted(cards, key=lambda one: (firsts[one], blake2b(one.encode(), digest_size=8).digest())):
            inside = [one for one in cards[card] if one.at_ms < firsts[card] + window_ms]
            waits = any(one.fraud is None and one.at_ms > self.old_ms for one in inside)
            final.append(not waits and firsts[card] + window_ms <= self.as_of_ms)
            low = high = 0
            for one in inside:
                ways = (True, False) if one.is_unseen else (bool(one.fraud),)
                losses = [self.loss(one, fraud=fraud) for fraud in ways]
                low, high = low + min(losses), high + max(losses)
            found.append((cards[card][0].arm, low, high))
        return found[: cards_in_whole_cohorts(sorted(firsts.values()), final, window_ms)]


DECISIONS = ("approve", "review", "decline")
SIDES = ("said", "decided")
