"""What is written as a CloudEvent is read as one by the SDK, and is the same event when it is written again."""

from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event

from fraudstream_client.incidents import Incident, IncidentKind, IncidentRule, Severity
from fraudstream_client.outputs import (
    DecidedBy,
    Decision,
    LabelStatus,
    Outcome,
    Positions,
    PredictionOutcome,
    PredictionPositions,
    PredictionStatus,
    Source,
)
from models.times import format_time
from stream.contract.cloud_events import (
    Headers,
    ScoreEvents,
    event_of_incident,
    event_of_outcome,
    headers_of_outcome,
    without_event_headers,
)
from stream.engine.publisher import Outgoing
from stream.scoring.encode import Judgement, Scored
from support.stream_records import Told

SCORED_MS = 1_770_000_000_123
FOREIGN = (("ce_id", b"theirs"), ("Content-Type", b"text/plain"), ("CE_TYPE", b"their.type"), ("ce_extra", b"1"))
LABEL = Outcome(
    deployment="bank",
    transaction_id="t-7",
    card_id="card-1",
    merchant_id=None,
    occurred_at=None,
    fraud=True,
    labelled_at="2026-01-03T00:00:00.000Z",
    reported_by="analyst",
    positions=Positions(1, 2, None),
    status=LabelStatus.APPLIED,
    source=Source("labels", 3, 17, 1),
)
PREDICTION = PredictionOutcome(
    deployment="bank",
    card_id="card-1",
    name="partner",
    computed_at="2026-01-02T00:00:00.000Z",
    positions=PredictionPositions(1, 2),
    status=PredictionStatus.APPLIED,
    source=Source("predictions", 0, 5),
)
INCIDENT = Incident(
    incident_id="0" * 32,
    deployment="bank",
    rule=IncidentRule.NO_WORKER,
    severity=Severity.PAGE,
    receivers=("operations",),
    kind=IncidentKind.OPENED,
    sequence=0,
    at="2026-01-03T00:00:00.000Z",
    since="2026-01-03T00:00:00.000Z",
    until="2026-01-03T00:00:00.000Z",
    events=1,
    amounts={},
    decided={},
    reasons={},
    text="no worker",
    worker="guard",
)


def read(headers: Headers, value: bytes | None, key: bytes | None = None) -> BaseCloudEvent:
    """Read a record with the SDK; each header stands there once."""
    assert len({name.lower() for name, _ in headers}) == len(headers)
    return from_kafka_event(KafkaMessage({name: text or b"" for name, text in headers}, key, value or b""))


def scored(headers: Headers = (), decision: Decision = Decision.DECLINE) -> Scored:
    record: Any = Told(b"{}", offset=41, headers=headers)
    judgement = Judgement(0.9, 700, decision, DecidedBy.MODEL, None)
    outgoing = Outgoing(41, b"card-1", b'{"schema":"score/1"}', headers, "t-é")
    return Scored([record], [], [()], {"f": np.zeros((1, 1))}, [judgement], [SCORED_MS - record.timestamp], [outgoing])


def written(decisions: Scored, epoch: int = 7) -> Outgoing:
    ((one,),) = (decisions.as_events(ScoreEvents("bank"), {decisions.records[0].partition: epoch}, 2).outgoing,)
    return one


@pytest.mark.parametrize("decision", list(Decision))
def test_the_sdk_reads_a_score_as_an_event_whose_type_names_the_decision(decision: Decision) -> None:
    given = scored(decision=decision)
    one = written(given)
    event, record = read(one.headers, one.value, one.key), given.records[0]
    assert event.get_id() == f"{record.topic}:{record.partition}:41:2:7"
    assert (event.get_source(), event.get_type()) == ("/fraudstream/bank", f"fraudstream.score.{decision}")
    assert (event.get_specversion(), event.get_datacontenttype()) == ("1.0", "application/json")
    assert event.get_subject() == "t-é"
    assert event.get_time() == datetime.fromisoformat(format_time(SCORED_MS))
    assert event.get_data() == {"schema": "score/1"}


def test_a_score_that_is_written_again_is_the_same_event_and_another_attempt_is_another_one() -> None:
    again, other = written(scored()), written(scored(), epoch=8)
    assert written(scored()) == again
    assert read(again.headers, again.value).get_id() != read(other.headers, other.value).get_id()


def test_the_payments_own_event_is_not_passed_on_and_its_other_headers_and_the_record_stay() -> None:
    passed = (("traceparent", b"00-1"), ("correlation-id", b"c"), ("empty", None))
    given = scored((*FOREIGN, *passed))
    one = written(given)
    assert tuple(one.headers[-3:]) == passed
    assert len(one.headers) == len(written(scored()).headers) + len(passed)
    assert one._replace(headers=()) == given.outgoing[0]._replace(headers=())
    assert read(one.headers, one.value).get_type() == "fraudstream.score.decline"


def test_headers_that_are_no_events_are_passed_on_as_they_are() -> None:
    assert without_event_headers(()) == ()
    assert without_event_headers([("cell", b"1"), ("ce", b"2"), ("content-types", b"3"), *FOREIGN]) == (
        ("cell", b"1"),
        ("ce", b"2"),
        ("content-types", b"3"),
    )


@pytest.mark.parametrize(
    ("outcome", "place", "subject", "time"),
    [
        (LABEL, "labels:3:17:1", "t-7", LABEL.labelled_at),
        (PREDICTION, "predictions:0:5:0", "card-1", PREDICTION.computed_at),
    ],
)
def test_the_sdk_reads_an_outcome_as_an_event_that_its_place_identifies(
    outcome: Outcome | PredictionOutcome, place: str, subject: str, time: str
) -> None:
    value = msgspec.json.encode(outcome)
    headers = headers_of_outcome(outcome, (*FOREIGN, ("correlation-id", b"c")))
    event = read(headers, value)
    assert headers[-1] == ("correlation-id", b"c")
    assert (event.get_id(), event.get_source(), event.get_subject()) == (place, "/fraudstream/bank", subject)
    assert event.get_type() == f"fraudstream.outcome.{outcome.kind}"
    assert event.get_time() == datetime.fromisoformat(time)
    assert event.get_data() == msgspec.json.decode(value)
    assert event_of_outcome(outcome) == event_of_outcome(msgspec.structs.replace(outcome))


def test_the_sdk_reads_an_incident_as_the_event_that_the_webhook_posts() -> None:
    event = read(event_of_incident(INCIDENT).headers(), msgspec.json.encode(INCIDENT))
    assert event.get_id() == f"{INCIDENT.incident_id}.0.opened"
    assert (event.get_type(), event.get_subject()) == ("fraudstream.incident.opened", INCIDENT.incident_id)
    assert event.get_data() == msgspec.json.decode(msgspec.json.encode(INCIDENT))
