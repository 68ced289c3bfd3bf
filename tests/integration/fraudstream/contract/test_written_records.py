"""What a running deployment writes is what its AsyncAPI document says, every header included, and read by the SDK."""

import asyncio
import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event

from features.declaration import load
from fraudstream.contract.asyncapi import asyncapi_document
from fraudstream.contract.topic_facts import topic_facts
from models.policy import Policy
from models.times import format_time
from stream.clock import now_ms
from stream.settings import Settings, read_settings
from support.asyncapi import Conformance
from support.fleet.fleet import Fleet, until
from support.fleet.incidents import told
from support.fleet.payments import label_of, partition_of, payment, put_model
from support.fleet.workers import EXPLAIN_COMMAND, GUARD_COMMAND
from support.otlp_receiver import otlp_receiver
from support.page_blocks import blocks
from support.paths import HOUSE

pytestmark = pytest.mark.integration

FEATURES = "support.features.quick_prediction_set"
REVIEWS_ALL = Policy(review_at=1e-9, decline_at=0.6)
PAYMENTS, PAST, REFUSED = 40, 6, 12
ERASED = "card-erased"
PLACE = ("topic", "partition", "offset")
HEADERS = (
    ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("tracestate", b"bank=1"),
    ("correlation-id", b"request-7"),
    ("redriven-from", b"transactions:0:12"),
    ("terminal", b"0042"),
    ("ce_id", b"of the producer"),
    ("content-type", b"text/plain"),
)
RARE = {
    ("score", "scores-lost"),  # written after acknowledged scores were found gone: test_noticed_losses
    ("deadLetter", "error.truncated"),  # of a letter near 2 MiB: test_asyncapi
    ("command", "tracestate"),  # of a tool that sends commands within a trace of its own: test_tracing
    ("event", "tracestate"),
}
"""Headers that this deployment has no cause to write; other tests have them written."""


class Bank:
    """A deployment that does all that it can: signs commands, reads predictions, writes events, and is traced."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.fleet, self.folder = fleet, folder
        keys = folder / "keys.toml"
        made = [fleet.cli("keys", "new", str(folder / "ann.pem"), "--person", "ann")]
        made.append(fleet.cli("keys", "new", str(folder / "eve.pem"), "--person", "eve", "--role", "erase"))
        keys.write_text("".join(one.stdout for one in made))
        fleet.environment |= {
            "CLOUD_EVENTS": "true",
            "COMMAND_KEYS": str(keys),
            "SIGNING_KEY": str(folder / "ann.pem"),
            "ACTOR": "ann",
            "ESTATE": "here",
            "FEATURES": FEATURES,
            "WORKER_ID": "worker-1",
        }

    @property
    def settings(self) -> Settings:
        named = {f"FRAUDSTREAM_{name}": value for name, value in self.fleet.environment.items()}
        return read_settings(named)

    def go_live(self) -> None:
        digests = [
            put_model(self.fleet.models, features=load(FEATURES), seed=seed, policy=REVIEWS_ALL) for seed in (0, 1)
        ]
        worker = self.fleet.worker()
        until(lambda: worker.has_joined, "the group is joined")
        self.fleet.promote(digests[0])
        worker.await_ready()
        self.fleet.command("model", "challenge", digests[1])

    def send(self, topic: str, records: Iterable[tuple[str, bytes]], headers: Sequence[tuple[str, bytes]]) -> None:
        """Publish records with headers, each to its card's partition."""

        async def send() -> None:
            producer = AIOKafkaProducer(bootstrap_servers=self.fleet.brokers)
            await producer.start()
            try:
                for key, value in records:
                    where = {"key": key.encode(), "partition": partition_of(key), "headers": list(headers)}
                    await producer.send_and_wait(self.fleet.prefix + topic, value, **where)
            finally:
                await producer.stop()

        asyncio.run(send())

    def run(self, *arguments: str, **settings: str) -> None:
        done = self.fleet.cli(*arguments, **settings)
        assert done.returncode == 0, done.stdout + done.stderr

    def fill(self) -> None:
        """Fill histories with payments, labels and predictions of the past."""
        rows = [payment(9_000 + at) | {"fraud": "true", "labelled_at": "2026-01-03T00:00:00Z"} for at in range(PAST)]
        with (self.folder / "past.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        self.run("backfill", str(self.folder / "past.csv"))
        columns = "card_id,name,value,computed_at\n"
        lines = [f"card-{card},teacher,0.5,2026-01-02T00:00:00Z\n" for card in range(3)]
        (self.folder / "predictions.csv").write_text(columns + "".join(lines))
        self.run("predictions", "publish", str(self.folder / "predictions.csv"), "--backfill")

    def play(self) -> None:
        """Send payments, labels and predictions, some of which are refused; erase a card; send a refused one again."""
        now = {"occurred_at": format_time(now_ms())}
        payments = [payment(number) for number in range(PAYMENTS)]
        self.send("transactions", encoded(payments), HEADERS)
        self.send("labels", encoded(label_of(one) for one in payments[:10]), HEADERS)
        predicted = {"name": "teacher", "value": 0.25, "computed_at": now["occurred_at"], "model": "partner-3"}
        self.send("predictions", encoded({"card_id": f"card-{card}"} | predicted for card in range(5)), HEADERS)
        ahead = payment(8_000, occurred_at=format_time(now_ms() + 900_000))
        wrong = [payment(8_001 + at, currency="euro") for at in range(REFUSED)]
        self.send("transactions", [*encoded([ahead, *wrong]), ("card-1", b"no JSON")], HEADERS)
        self.send("labels", [("card-1", b"[]")], ())
        self.fleet.await_dead_letters(REFUSED + 3)
        self.run("dead-letters", "redrive", "--id", "t-8000", "--yes")
        self.send("transactions", encoded([payment(7_000, card_id=ERASED)]), ())
        where = ("--partition", str(partition_of(ERASED)), "--reason", "asked for")
        self.fleet.cli("erase", ERASED, *where, SIGNING_KEY=str(self.folder / "eve.pem"))

    def watch(self) -> None:
        """Have alerts explained and incidents told of, until each topic has records."""
        beside = [self.fleet.worker(EXPLAIN_COMMAND), self.fleet.worker(GUARD_COMMAND)]
        for process in beside:
            process.await_ready()
        until(lambda: told(self.fleet) != [], "the guard tells of the dead letters")
        self.fleet.await_records("explanations", PAYMENTS)
        self.fleet.await_records("shadow-scores", PAYMENTS)
        self.fleet.await_records("outcomes", 10 + PAST + 5 + 3)
        for process in beside:
            assert process.terminate() == 0, process.log()

    def written(self) -> Iterator[Any]:
        """Yield all records but those that were refused; a deployment that publishes writes no silent scores."""
        letters = [dict(record.headers) for record in self.fleet.read("dead-letters")]
        refused = {tuple(one[f"source.{name}"].decode() for name in PLACE) for one in letters}
        for topic in topic_facts(self.settings):
            for record in self.fleet.read(topic.layout.name) if topic.channel != "silent-scores" else ():
                if (record.topic, str(record.partition), str(record.offset)) not in refused:
                    yield record


def encoded(records: Iterable[Mapping[str, Any]]) -> list[tuple[str, bytes]]:
    return [(str(one["card_id"]), json.dumps(one).encode()) for one in records]


@pytest.fixture
def bank(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bank]:
    with otlp_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_on")
        monkeypatch.setenv("PYTHONPATH", str(HOUSE / "tests"))  # workers import the features from there
        yield Bank(fleet, tmp_path)


def test_what_a_running_deployment_writes_is_as_its_document_says(bank: Bank) -> None:
    bank.go_live()
    bank.fill()
    bank.play()
    bank.watch()
    document = asyncapi_document(bank.settings)
    conformance, records = Conformance(json.loads(json.dumps(document))), list(bank.written())
    messages = [conformance.message_of(record) for record in records]
    assert set(messages) == set(document["components"]["messages"])
    assert conformance.unseen(set(messages)) == RARE
    are_events_by_the_sdk(bank, [record for record, name in zip(records, messages, strict=True) if name in OF_EVENTS])
    run_the_pages_example(bank.fleet.read("scores"))


OF_EVENTS = {"score": "score", "outcome": "outcome", "predictionOutcome": "outcome", "incident": "incident"}


def are_events_by_the_sdk(bank: Bank, records: Sequence[Any]) -> None:
    """Read records as events: each is another one, of this deployment, and its data are the record."""
    events = []
    for record in records:
        headers = {name: value or b"" for name, value in record.headers}
        assert len(headers) == len(record.headers)
        event = from_kafka_event(KafkaMessage(headers, record.key, record.value))
        assert event.get_data() == json.loads(record.value)
        assert event.get_source() == f"/fraudstream/{bank.settings.deployment}"
        events.append(event)
    assert len({event.get_id() for event in events}) == len(events) > PAYMENTS
    assert {dict(one.headers).get("ce_id") for one in bank.fleet.read("shadow-scores")} == {b"of the producer", None}
    kinds = {event.get_type().split(".")[1] for event in events}
    assert kinds == set(OF_EVENTS.values())
    scores = [event for event in events if event.get_type().startswith("fraudstream.score.")]
    for event in scores:
        score: Any = event.get_data()
        assert (event.get_type(), event.get_subject()) == (
            f"fraudstream.score.{score['decision']}",
            score["transaction_id"],
        )


def run_the_pages_example(records: Sequence[Any]) -> None:
    """Run what the documentation shows of a consumer of events, over real scores."""
    (*_, example) = blocks((HOUSE / "docs/how-to/consume-decisions.md").read_text(), "python")
    exec(compile(example, "consume-decisions.md", "exec"), {"records": records})  # noqa: S102 - our own page
