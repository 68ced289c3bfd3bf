"""Payments and labels that go on during a seed, and among them all kinds of records that are no ordinary payments.

Each record says in a header which kind it is, so that the checks know from the topic alone what may become of it.
"""

import json
import logging
import threading
import time
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from campaigns.facts import BACKFILL_HEADER, KIND_HEADER
from campaigns.plan import BAD_KINDS, Plan
from stream.clock import now_ms
from support.fleet.payments import partition_of

CARDS, MERCHANTS = 300, 60
TICK_SECONDS = 0.2
FLUSH_SECONDS = 120.0
MINUTE_MS, DAY_MS = 60_000, 86_400_000
LEAD_MS = 57 * MINUTE_MS
"""How far the timestamp of a `lead` is ahead: within the hour that brokers allow."""
FAR_MS = 150 * MINUTE_MS
"""Beyond the hour and the allowed skew."""
EARLY_MS = 7 * MINUTE_MS
"""Beyond the default skew, and within the largest of a campaign."""

RAW = {"not_json": b"no payment", "not_an_object": b"[1]", "empty_value": b""}
CHANGED: dict[str, dict[str, Any]] = {
    "missing_field": {"currency": None},
    "invalid_field": {"amount_minor": -1},
    "unknown_currency": {"currency": "XXQ"},
    "unsupported_kind": {"kind": "refund"},
}
"""What makes a record bad, by the code with which it is refused."""
OTHER_CARD = "-other"


QUIET = logging.getLogger("campaigns.kafka")
"""For clients that lose their brokers on purpose."""
QUIET.setLevel(logging.CRITICAL)
QUIET.addHandler(logging.NullHandler())


Payment = tuple[str, str]
"""Card and transaction id."""


class Shipment(NamedTuple):
    """A record to be sent; without a timestamp, it gets the present time."""

    kind: str
    key: str
    value: bytes
    headers: Mapping[str, bytes] = {}
    timestamp_ms: int = 0
    topic: str = "transactions"


class Payments:
    """Makes records of all kinds: `number` counts them, so that no two payments have the same id."""

    def __init__(self, prefix: str, draw: np.random.Generator) -> None:
        self.sent: list[Shipment] = []
        """The ordinary payments, to be sent again or contradicted."""
        self._prefix, self._draw, self._number = prefix, draw, 0

    def make(self, kind: str, now: int, card: str | None = None) -> Shipment:
        """Make a record of a kind; those that need payments before them are payments if there are none."""
        if kind in {"repeat", "conflict", "late"} and not self.sent:
            kind = "payment"
        if kind == "repeat":
            return self.sent[int(self._draw.integers(len(self.sent)))]
        if kind in BAD_KINDS:
            return self._bad(kind, now)
        if kind in {"conflict", "late"}:
            return self._after(kind, now)
        return self._ordinary(kind, now, card)

    def _fields(self, now: int, card: str | None = None) -> dict[str, Any]:
        self._number += 1
        return {
            "transaction_id": f"{self._prefix}{self._number}",
            "card_id": card or f"card-{self._draw.integers(CARDS)}",
            "merchant_id": f"merchant-{self._draw.integers(MERCHANTS)}",
            "occurred_at": now - int(self._draw.integers(0, 2_000)),
            "amount_minor": int(self._draw.integers(100, 50_000)),
            "currency": "EUR",
        }

    def _ordinary(self, kind: str, now: int, card: str | None) -> Shipment:
        fields, headers, timestamp = self._fields(now, card), {KIND_HEADER: kind.encode()}, 0
        match kind:
            case "lead":
                timestamp = now + LEAD_MS
                fields["occurred_at"] = timestamp + 4 * MINUTE_MS
            case "far":
                timestamp = now + FAR_MS
                fields["occurred_at"] = timestamp
            case "early":
                fields["occurred_at"] = now + EARLY_MS
            case "backfill":
                fields["occurred_at"] -= DAY_MS
                headers[BACKFILL_HEADER] = f"{'c' * 16}:{self._number}".encode()
        shipment = Shipment(kind, fields["card_id"], json.dumps(fields).encode(), headers, timestamp)
        if kind == "payment":
            self.sent.append(shipment)
        return shipment

    def _after(self, kind: str, now: int) -> Shipment:
        """Make what only an earlier payment of the card makes wrong: its id with another content, or far too late."""
        earlier = json.loads(self.sent[int(self._draw.integers(len(self.sent)))].value)
        fields = earlier | {"amount_minor": earlier["amount_minor"] + 1}
        if kind == "late":
            fields = self._fields(now, earlier["card_id"]) | {"occurred_at": now - 60 * DAY_MS}
        return Shipment(kind, fields["card_id"], json.dumps(fields).encode(), {KIND_HEADER: kind.encode()})

    def _bad(self, kind: str, now: int) -> Shipment:
        fields, code = self._fields(now), kind.removeprefix("bad:")
        key = fields["card_id"] + (OTHER_CARD if code == "wrong_key" else "")
        value = RAW[code] if code in RAW else json.dumps(fields | CHANGED.get(code, {})).encode()
        if code == "in_the_future":
            value = json.dumps(fields | {"occurred_at": now + 120 * MINUTE_MS}).encode()
        return Shipment(kind, key, value, {KIND_HEADER: kind.encode()})

    def label(self, payment: Shipment, now: int) -> Shipment:
        """Make the label of a payment."""
        fields = json.loads(payment.value)
        label = {
            "transaction_id": fields["transaction_id"],
            "card_id": fields["card_id"],
            "fraud": bool(self._draw.random() < 0.2),
            "labelled_at": now,
            "reported_by": "analyst",
        }
        return Shipment("label", payment.key, json.dumps(label).encode(), {KIND_HEADER: b"label"}, topic="labels")


class Traffic:
    """Sends records by a plan until it is stopped; `paused` it sends nothing, and what was sent is acknowledged.

    What a topic that was made anew swallows is not missed: nobody waits for its acknowledgement.
    """

    def __init__(self, brokers: str, prefix: str, plan: Plan) -> None:
        draw = np.random.default_rng([plan.seed, 7])
        self.payments = Payments(f"{plan.campaign[0]}{plan.seed}-", draw)
        self.refused: list[str] = []
        self.behind_ms = plan.night_s * 1000
        """How far behind the payments' clock is."""
        self.acknowledged: list[tuple[str, int, int, bytes]] = []
        """Topic, partition, offset and value of each record that brokers have acknowledged."""
        self._first_sent: dict[bytes, int] = {}
        self._brokers, self._prefix, self._plan, self._draw = brokers, prefix, plan, draw
        self._producer = self._new_producer()
        self._sending = threading.RLock()
        """Held while records are made and sent: none may be sent before the payment that it contradicts."""
        self._of_earlier_logs = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic")
        self._kinds = list(plan.shares)
        self._chances = [plan.shares[kind] for kind in self._kinds]

    def _new_producer(self) -> Producer:
        options = {"bootstrap.servers": self._brokers, "log_level": 0, "reconnect.backoff.max.ms": 500}
        durable = {"acks": "all", "enable.idempotence": self._plan.idempotent, "linger.ms": 5}
        return Producer(options | durable | {"message.timeout.ms": int(FLUSH_SECONDS * 1000)}, logger=QUIET)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait until all is acknowledged."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self.flush()

    def flush(self) -> None:
        left = self._producer.flush(FLUSH_SECONDS)
        assert left == 0, f"{left} records were not acknowledged within {FLUSH_SECONDS:g} s"

    def __enter__(self) -> None:
        """Pause: send nothing while the block lasts; what was sent before is acknowledged."""
        self._sending.acquire()
        self.flush()

    def __exit__(self, *_: object) -> None:
        self._sending.release()

    def reconnect(self) -> None:
        """Use a new producer: that of a topic that was deleted does not go on in one of the same name."""
        self._producer = self._new_producer()
        self._of_earlier_logs = len(self.payments.sent)

    def forget_earlier_logs(self) -> None:
        """Send no payment again that was on a topic that is gone: with its history lost too, nothing recognises it."""
        with self._sending:
            del self.payments.sent[: self._of_earlier_logs]
            self._of_earlier_logs = 0

    def send(self, *shipments: Shipment) -> None:
        """Send records, each to the partition of its card."""
        for shipment in shipments:
            key = shipment.key.removesuffix(OTHER_CARD)
            if shipment.topic == "transactions":
                self._first_sent.setdefault(shipment.value, time.monotonic_ns())
            self._producer.produce(
                self._prefix + shipment.topic,
                shipment.value,
                shipment.key,
                partition_of(key, self._plan.partitions),
                on_delivery=self._delivered,
                timestamp=shipment.timestamp_ms or self._now(),
                headers=dict(shipment.headers),
            )
        self._producer.poll(0)

    def published(self) -> dict[Payment, int]:
        """Return when each payment was first sent, by the clock of `time.monotonic_ns`."""
        published: dict[Payment, int] = {}
        for value, at in self._first_sent.items():
            if value not in RAW.values():
                fields = json.loads(value)
                published.setdefault((fields["card_id"], fields["transaction_id"]), at)
        return published

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.refused.append(str(error))
        else:
            place = (message.partition() or 0, message.offset() or 0)
            self.acknowledged.append((message.topic() or "", *place, message.value() or b""))

    def some(self, count: int) -> list[Shipment]:
        """Make so many records as the plan has them, the labels of some included."""
        now, shipments = self._now(), list[Shipment]()
        for _ in range(count):
            shipment = self.payments.make(self._draw_kind(), now)
            shipments.append(shipment)
            if shipment.kind == "payment" and self._draw.random() < self._plan.labels:
                shipments.append(self.payments.label(shipment, now))
        return shipments

    def burst(self, count: int) -> None:
        """Send so many payments to each partition at once: more than a run of dead letters that halts one."""
        now, of_partition = self._now(), dict[int, list[str]]()
        for card in (f"card-{number}" for number in range(CARDS)):
            of_partition.setdefault(partition_of(card, self._plan.partitions), []).append(card)
        for cards in of_partition.values():
            with self._sending:
                chosen = self._draw.choice(cards, count).tolist()
                self.send(*(self.payments.make("payment", now, card) for card in chosen))

    def send_some(self, count: int) -> None:
        """Make and send so many records."""
        with self._sending:
            self.send(*self.some(count))

    def again(self, count: int, without: Collection[bytes] = ()) -> list[Shipment]:
        """Return so many of the payments that were sent, to send them again: in any order, `without` some values."""
        sent = [one for one in self.payments.sent if one.value not in without]
        return [sent[at] for at in self._draw.permutation(len(sent))[:count].tolist()]

    def _now(self) -> int:
        return now_ms() - self.behind_ms

    def _draw_kind(self) -> str:
        lot = self._draw.random()
        for kind, share in zip(self._kinds, self._chances, strict=True):
            if (lot := lot - share) < 0:
                return kind
        return "payment"

    def _run(self) -> None:
        began, sent = time.monotonic(), 0
        while not self._over.wait(TICK_SECONDS):
            with self._sending:
                due = int((time.monotonic() - began) * self._plan.rate)
                self.send(*self.some(min(due - sent, 10 * self._plan.rate)))
                sent = due
