"""Each way to break readers or writers is a break, by the name that a CHANGELOG uses; what is only added is none."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from fraudstream.contract.asyncapi import asyncapi_document
from fraudstream.contract.changes import Change, changes
from stream.settings import Settings

Document = dict[str, Any]
Edit = Callable[[Document], object]
DOCUMENT = asyncapi_document(Settings(cloud_events=True))


def edited(edit: Edit) -> Document:
    document = copy.deepcopy(DOCUMENT)
    edit(document)
    return document


def found_by(edit: Edit) -> set[tuple[str, bool]]:
    return {(one.name, one.is_break) for one in changes(DOCUMENT, edited(edit))}


def schema(document: Document, name: str) -> Document:
    found: Document = document["components"]["schemas"][name]
    return found


def field(document: Document, record: str, name: str) -> Document:
    found: Document = schema(document, record)["properties"][name]
    return found


def message(document: Document, name: str) -> Document:
    found: Document = document["components"]["messages"][name]
    return found


def kafka(document: Document, topic: str) -> Document:
    found: Document = document["channels"][topic]["bindings"]["kafka"]
    return found


def put(target: Document, **values: Any) -> None:
    target.update(values)


def retype(document: Document, record: str, name: str, new: Document) -> None:
    schema(document, record)["properties"][name] = new


BREAKS: dict[str, tuple[Edit, str]] = {
    "a topic is gone": (lambda d: d["channels"].pop("outcomes"), "outcomes"),
    "a topic is renamed": (lambda d: put(d["channels"]["outcomes"], address="results"), "outcomes"),
    "a message is gone": (lambda d: d["channels"]["transactions"]["messages"].pop("erasure"), "transactions.erasure"),
    "a topic has one partition": (lambda d: put(kafka(d, "scores"), partitions=1), "scores.partitions"),
    "a topic is compacted": (
        lambda d: kafka(d, "scores")["topicConfiguration"].update({"cleanup.policy": ["compact"]}),
        "scores.cleanup.policy",
    ),
    "records are kept for a shorter time": (
        lambda d: kafka(d, "incidents")["topicConfiguration"].update({"retention.ms": 1000}),
        "incidents.retention.ms",
    ),
    "a role loses a right": (lambda d: d["channels"]["scores"]["x-readers"].remove("consumer"), "scores.x-readers"),
    "a header is gone": (
        lambda d: message(d, "score")["headers"]["properties"].pop("letters-read"),
        "scores.headers.letters-read",
    ),
    "a header may be absent": (
        lambda d: message(d, "deadLetter")["headers"]["required"].remove("error.code"),
        "dead-letters.headers.error.code",
    ),
    "an input needs a new header": (
        lambda d: put(message(d, "label")["headers"], required=["correlation-id"]),
        "labels.headers.correlation-id",
    ),
    "a key has another form": (
        lambda d: put(message(d, "transaction")["bindings"]["kafka"]["key"], pattern="^[0-9]+$"),
        "transactions.key",
    ),
    "a key may be longer": (
        lambda d: message(d, "score")["bindings"]["kafka"]["key"].pop("not"),
        "scores.key",
    ),
    "a key is another field of the same form": (
        lambda d: put(d["channels"]["scores"], **{"x-key": "The record's `merchant_id`."}),
        "scores.key",
    ),
    "records are on another partition": (
        lambda d: d["channels"]["scores"].pop("x-partitions-as"),
        "scores.x-partitions-as",
    ),
    "a value has another format": (
        lambda d: put(message(d, "score"), contentType="application/avro"),
        "scores.score",
    ),
    "an input takes fewer fields": (
        lambda d: put(schema(d, "TransactionRecord"), maxProperties=3),
        "transaction/1",
    ),
    "an input's names of fields are others": (
        lambda d: put(schema(d, "TransactionRecord"), propertyNames={"pattern": "^a"}),
        "transaction/1.*",
    ),
    "a field is gone": (lambda d: schema(d, "Score")["properties"].pop("propensity"), "score/1.propensity"),
    "a field within a field is gone": (
        lambda d: schema(d, "ModelName")["properties"].pop("digest"),
        "score/1.model.digest",
    ),
    "an input's field is gone": (
        lambda d: schema(d, "TransactionRecord")["properties"].pop("mcc"),
        "transaction/1.mcc",
    ),
    "an input needs a new field": (
        lambda d: (
            schema(d, "LabelRecord")["properties"].update(new={"type": "string"}),
            schema(d, "LabelRecord")["required"].append("new"),
        ),
        "label/1.new",
    ),
    "an input needs a field that could be absent": (
        lambda d: schema(d, "TransactionRecord")["required"].append("mcc"),
        "transaction/1.mcc",
    ),
    "an output's field may be absent": (
        lambda d: schema(d, "Score")["required"].remove("decision"),
        "score/1.decision",
    ),
    "an output's field may be of another type": (
        lambda d: retype(d, "Score", "revision", {"type": "number"}),
        "score/1.revision",
    ),
    "an output's field may be null": (
        lambda d: retype(d, "Outcome", "fraud", {"anyOf": [{"type": "boolean"}, {"type": "null"}]}),
        "outcome/1.fraud",
    ),
    "an input's number becomes an integer": (
        lambda d: retype(d, "PredictionRecord", "value", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        "prediction/1.value",
    ),
    "an input's integer becomes a number with a higher limit": (
        lambda d: retype(d, "TransactionRecord", "amount_minor", {"type": "number", "minimum": 5}),
        "transaction/1.amount_minor",
    ),
    "an input's field may not be null any more": (
        lambda d: retype(d, "PredictionRecord", "value", {"type": "number"}),
        "prediction/1.value",
    ),
    "an input's amount has a lower limit": (
        lambda d: put(field(d, "TransactionRecord", "amount_minor"), maximum=10),
        "transaction/1.amount_minor",
    ),
    "an input's text is shorter": (
        lambda d: put(field(d, "TransactionRecord", "transaction_id"), maxLength=10),
        "transaction/1.transaction_id",
    ),
    "an input's value is not allowed any more": (
        lambda d: field(d, "LabelRecord", "reported_by")["enum"].remove("analyst"),
        "label/1.reported_by",
    ),
    "a value that records have is not allowed any more": (
        lambda d: schema(d, "Decision")["enum"].remove("review"),
        "score/1.decision",
    ),
    "an input's pattern is another one": (
        lambda d: put(field(d, "TransactionRecord", "currency"), pattern="^EUR$"),
        "transaction/1.currency",
    ),
    "an input takes no unknown fields any more": (
        lambda d: put(schema(d, "TransactionRecord"), additionalProperties=False),
        "transaction/1.*",
    ),
    "the entries of a list are of another type": (
        lambda d: put(field(d, "Score", "dropped"), items={"type": "integer"}),
        "score/1.dropped[]",
    ),
}
ADDITIONS: dict[str, tuple[Edit, str]] = {
    "a new topic": (
        lambda d: d["channels"].update(new=copy.deepcopy(d["channels"]["outcomes"])),
        "new",
    ),
    "a new message": (
        lambda d: d["channels"]["labels"]["messages"].update(incident={}),
        "labels.incident",
    ),
    "a role gains a right": (lambda d: d["channels"]["outcomes"]["x-readers"].append("consumer"), "outcomes.x-readers"),
    "records are kept for ever": (
        lambda d: kafka(d, "scores")["topicConfiguration"].update({"retention.ms": -1}),
        "scores.retention.ms",
    ),
    "records may be larger": (
        lambda d: kafka(d, "scores")["topicConfiguration"].update({"max.message.bytes": 10**8}),
        "scores.max.message.bytes",
    ),
    "the key in other words": (
        lambda d: put(d["channels"]["scores"], **{"x-key": "The `card_id` of the record."}),
        "scores.key",
    ),
    "a new header": (
        lambda d: message(d, "label")["headers"]["properties"].update(new={"type": "string"}),
        "labels.headers.new",
    ),
    "a new field of an output": (
        lambda d: schema(d, "Score")["properties"].update(new={"type": "string"}),
        "score/1.new",
    ),
    "a new optional field of an input": (
        lambda d: schema(d, "TransactionRecord")["properties"].update(new={"type": "string"}),
        "transaction/1.new",
    ),
    "a new value of an output": (lambda d: schema(d, "EventKind")["enum"].append("new"), "event/1.kind"),
    "an input may be larger": (
        lambda d: put(field(d, "TransactionRecord", "amount_minor"), maximum=10**15),
        "transaction/1.amount_minor",
    ),
    "an input's field may be absent": (
        lambda d: schema(d, "LabelRecord")["required"].remove("reported_by"),
        "label/1.reported_by",
    ),
    "an input's field may be anything": (
        lambda d: retype(d, "TransactionRecord", "mcc", {}),
        "transaction/1.mcc",
    ),
    "an input takes another type as well": (
        lambda d: retype(d, "LabelRecord", "fraud", {"anyOf": [{"type": "boolean"}, {"type": "null"}]}),
        "label/1.fraud",
    ),
}


@pytest.mark.parametrize(("edit", "name"), BREAKS.values(), ids=BREAKS)
def test_what_refuses_a_record_or_surprises_a_reader_is_a_break(edit: Edit, name: str) -> None:
    assert (name, True) in found_by(edit)


@pytest.mark.parametrize(("edit", "name"), ADDITIONS.values(), ids=ADDITIONS)
def test_what_is_only_added_is_a_difference_and_no_break(edit: Edit, name: str) -> None:
    assert found_by(edit) == {(name, False)}


def test_a_document_does_not_differ_from_itself_nor_from_one_with_other_texts() -> None:
    def reword(document: Document) -> None:
        document["info"]["version"] = "9.9.9"
        field(document, "Score", "scored_at")["description"] = "in other words"
        message(document, "score")["summary"] = "another summary"

    assert changes(DOCUMENT, DOCUMENT) == ()
    assert found_by(reword) == set()


def test_breaks_come_first_and_each_change_once_although_two_topics_have_scores() -> None:
    def edit(document: Document) -> None:
        schema(document, "Score")["properties"]["new"] = {"type": "string"}
        schema(document, "Score")["properties"].pop("band")

    found = changes(DOCUMENT, edited(edit))
    assert found == (Change("score/1.band", "is gone", is_break=True), Change("score/1.new", "is new", is_break=False))
    assert str(found[0]) == "breaks: `score/1.band`: is gone"
