"""Each kind of label over Kafka: the status of its outcome, and the merchant's risk before and after it.

The labelled payments occur at X, each at a merchant of its own. Payments of other cards from X + 7 d on, when the
label delay ends, read the merchant's risk over one day.
"""

import json
from collections import defaultdict
from itertools import count
from typing import Any

from fraudstream_client.outputs import Score
from support.fleet.fleet import Fleet

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
X = 1_700_000_000_000
ASKED = X + 7 * DAY_MS
FIRST, SECOND, THIRD = (ASKED + hours * HOUR_MS for hours in (1, 2, 3))
CARD, QUIET = "card-1", "card-2"
KINDS = ("early", "twice", "corrected", "stale")


def payment(name: str, merchant: str, at_ms: int, card: str = CARD) -> dict[str, Any]:
    said = {"transaction_id": name, "card_id": card, "merchant_id": merchant, "occurred_at": at_ms}
    return said | {"amount_minor": 1_000, "currency": "EUR"}


def label(name: str, at_ms: int, *, fraud: bool, card: str = CARD, **more: Any) -> dict[str, Any]:
    said = {"transaction_id": name, "card_id": card, "fraud": fraud, "labelled_at": at_ms, "reported_by": "analyst"}
    return said | more


class Client:
    """Publishes payments and labels and waits; reads merchants' risks by payments of cards that are used only once."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._decided = self._labelled = 0
        self._numbers = count()

    def pay(self, *payments: dict[str, Any]) -> dict[str, Score]:
        self.fleet.publish(payments)
        self._decided += len(payments)
        return {score.transaction_id: score for score in self.fleet.await_scores(self._decided)}

    def label(self, *labels: dict[str, Any]) -> None:
        self.fleet.publish(labels, topic="labels")
        self._labelled += len(labels)
        self.fleet.await_outcomes(self._labelled)

    def risks(self, *asked: tuple[str, int]) -> list[float | None]:
        """Return the risks of these merchants at these moments."""
        names = [f"ask-{next(self._numbers)}" for _ in asked]
        made = [payment(name, merchant, at, card=name) for name, (merchant, at) in zip(names, asked, strict=True)]
        scores = self.pay(*made)
        return [(scores[name].features or {})["merchant_fraud_share_delayed_1d"] for name in names]


def test_each_kind_of_label_gets_its_status_and_counts_from_its_labelled_at(fleet: Fleet) -> None:
    fleet.go_live()
    client = Client(fleet)
    client.label(label("early", FIRST, fraud=True))
    client.pay(*(payment(kind, kind, X) for kind in KINDS))
    client.pay(payment("behind", "behind", X, card=QUIET), payment("newest", "else", X + 37 * DAY_MS, card=QUIET))
    merchants = (*KINDS, "behind")
    assert client.risks(*((merchant, FIRST - 1) for merchant in merchants)) == [0.0] * 5
    assert client.risks(*((merchant, FIRST) for merchant in merchants)) == [1.0, 0.0, 0.0, 0.0, 0.0]
    client.label(
        label("twice", FIRST, fraud=True),
        label("twice", FIRST, fraud=True),
        label("corrected", FIRST, fraud=True),
        label("corrected", SECOND, fraud=False),
        label("corrected", THIRD, fraud=True),
        label("stale", SECOND, fraud=False),
        label("stale", FIRST, fraud=True),
        label("never", FIRST, fraud=True, merchant_id="early", occurred_at=X),
        label("behind", FIRST, fraud=True, card=QUIET),
    )
    assert statuses(fleet) == {
        "early": ["unknown_transaction"],
        "twice": ["applied", "repeated"],
        "corrected": ["applied", "corrected", "corrected"],
        "stale": ["applied", "stale"],
        "never": ["unknown_transaction"],
        "behind": ["unknown_transaction"],
    }
    assert client.risks(*((merchant, FIRST - 1) for merchant in merchants)) == [0.0] * 5
    assert client.risks(*((merchant, FIRST) for merchant in merchants)) == [1.0, 1.0, 1.0, 1.0, 0.0]
    assert client.risks(*((merchant, SECOND) for merchant in merchants)) == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert client.risks(*((merchant, THIRD) for merchant in merchants)) == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert fleet.read("dead-letters") == []


def statuses(fleet: Fleet) -> dict[str, list[str]]:
    """Return each transaction's statuses in the order of its labels; each must have one outcome, in its partition."""
    outcomes = [(record.partition, json.loads(record.value)) for record in fleet.read("outcomes")]
    assert all(partition == outcome["source"]["partition"] for partition, outcome in outcomes)
    places = [(partition, outcome["source"]["offset"]) for partition, outcome in outcomes]
    assert len(set(places)) == len(places)
    known = {("twice", "twice", "2023-11-14T22:13:20.000Z"), ("never", "early", "2023-11-14T22:13:20.000Z")}
    assert known <= {(one["transaction_id"], one["merchant_id"], one["occurred_at"]) for _, one in outcomes}
    said = defaultdict(list)
    for _, outcome in sorted(outcomes, key=lambda one: one[1]["source"]["offset"]):
        said[outcome["transaction_id"]].append(outcome["status"])
    return dict(said)
