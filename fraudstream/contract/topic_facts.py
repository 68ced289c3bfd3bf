"""What others may rely on of each topic: its records, keys and headers, and which role reads and writes it.

The AsyncAPI document, the access rules of a cluster and the tables of the documentation are made of this one table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import msgspec

from fraudstream.contract.record_headers import (
    BACKFILL,
    CAUSE,
    CLAIM,
    CORRELATION,
    EVENT_OF_INCIDENT,
    EVENT_OF_OUTCOME,
    EVENT_OF_SCORE,
    LETTER,
    LOST,
    REASON_CODES,
    REDRIVEN,
    SEAL,
    TRACE,
    HeaderFacts,
)
from fraudstream_client.field_types import Token
from stream.contract.schema import portable
from stream.kafka.topics import (
    DEAD_LETTERS,
    EXPLANATIONS,
    INCIDENTS,
    LABELS,
    MODEL_CONTROL,
    MODEL_EVENTS,
    OUTCOMES,
    PREDICTIONS,
    SCORES,
    SHADOW_SCORES,
    TRANSACTIONS,
    TopicLayout,
    silent_scores,
)
from stream.settings import Settings

_IGNORED = "Other headers are ignored."
_PASSED_ON = "Other headers are passed on to the answer, card numbers removed."


class Role(StrEnum):
    """Who reads and writes topics: each is a user of the cluster with rights of its own."""

    OPERATOR = "operator"
    WORKER = "worker"
    GUARD = "guard"
    EXPLAIN = "explain"
    PRODUCER = "producer"
    TEACHER = "teacher"
    BACKFILL = "backfill"
    CONSUMER = "consumer"

    @property
    def is_ours(self) -> bool:
        """Whether it is a process of fraudstream that runs beside the stream."""
        return self in (Role.WORKER, Role.GUARD, Role.EXPLAIN)


ROLE_MEANINGS: Mapping[Role, str] = MappingProxyType(
    {
        Role.OPERATOR: "Creates topics, sends model commands, and reads for reports and repairs: the command line.",
        Role.WORKER: "Decides payments and applies labels: `fraudstream worker`.",
        Role.GUARD: "Watches rollouts, acts by commands, and tells of incidents: `fraudstream guard`.",
        Role.EXPLAIN: "Writes the reasons for alerts: `fraudstream explain`.",
        Role.PRODUCER: "Sends payments or labels: `fraudstream publish`, or your own.",
        Role.TEACHER: "Publishes predictions from storage: a batch job.",
        Role.BACKFILL: "Fills histories with past payments and labels, once: `fraudstream backfill`.",
        Role.CONSUMER: "Reads decisions and their reasons: your services and desks.",
    }
)


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """The key of a topic's records: its schema and what it is."""

    about: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class MessageFacts:
    """One kind of record on a topic.

    `record` is its name in `stream.contract.schema`, empty for dead letters, whose value is that of another record.
    `required` headers are on each, `optional` ones on some; `others` says what becomes of further ones, and is empty
    where there are none. `event` are those that make it a CloudEvent, on request.
    """

    name: str
    record: str
    about: str
    required: tuple[HeaderFacts, ...] = ()
    optional: tuple[HeaderFacts, ...] = ()
    others: str = ""
    event: tuple[HeaderFacts, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFacts:
    """One topic: `channel` names it in documents, whatever prefix and deployment are."""

    channel: str
    layout: TopicLayout
    about: str
    key: KeyFacts
    messages: tuple[MessageFacts, ...]
    readers: tuple[Role, ...]
    writers: tuple[Role, ...]
    partitions_as: str = ""
    """Whose partition number its records have; empty: its own."""


def _token_schema() -> dict[str, Any]:
    return portable(msgspec.json.schema(Token))


CARD = KeyFacts("The record's `card_id`.", _token_schema())
DEPLOYMENT = KeyFacts("The deployment.", _token_schema())
ANY_KEY = KeyFacts("The refused record's key, card numbers removed; absent if it had none.", {"type": "string"})

_INPUT = (*TRACE, CORRELATION, BACKFILL, REDRIVEN)
_ANSWER = (*TRACE, CORRELATION, REDRIVEN)
_SCORE = MessageFacts(
    "score",
    "score/1",
    "One decision. It counts only if it is valid: read it with `ValidScores`, or by the rule of consume-decisions.",
    optional=(*_ANSWER, CLAIM, LOST),
    others="Other headers are those of the transaction, card numbers removed.",
    event=EVENT_OF_SCORE,
)
_OPERATOR, _WORKER, _GUARD, _EXPLAIN = Role.OPERATOR, Role.WORKER, Role.GUARD, Role.EXPLAIN


def topic_facts(settings: Settings) -> tuple[TopicFacts, ...]:
    """Return the facts of all topics of a deployment."""
    return (*_inputs(), *_decisions(settings), *_control(), *_beside())


def _inputs() -> tuple[TopicFacts, ...]:
    payment = MessageFacts(
        "transaction",
        "transaction/1",
        "A card payment to decide. A record whose key is not its `card_id` is refused.",
        optional=_INPUT,
        others=_PASSED_ON,
    )
    erasure = MessageFacts(
        "erasure",
        "transaction/1:erasure",
        "The erasure of a card, by `fraudstream erase`. It gets no decision.",
        required=SEAL,
        others=_IGNORED,
    )
    label = MessageFacts("label", "label/1", "Whether a payment was fraud.", optional=_INPUT, others=_PASSED_ON)
    prediction = MessageFacts(
        "prediction",
        "prediction/1",
        "A prediction from storage about a card, which features can read.",
        optional=_ANSWER,
        others=_PASSED_ON,
    )
    writers = (Role.PRODUCER, Role.BACKFILL)
    return (
        TopicFacts(
            channel="transactions",
            layout=TRANSACTIONS,
            about="Card payments, from you.",
            key=CARD,
            messages=(payment, erasure),
            readers=(_OPERATOR, _WORKER, _GUARD, Role.BACKFILL),
            writers=writers,
        ),
        TopicFacts(
            channel="labels",
            layout=LABELS,
            about="Labels, from case management.",
            key=CARD,
            messages=(label,),
            readers=(_OPERATOR, _WORKER, Role.BACKFILL),
            writers=writers,
        ),
        TopicFacts(
            channel="predictions",
            layout=PREDICTIONS,
            about="Predictions of a batch job; read only where features read some.",
            key=CARD,
            messages=(prediction,),
            readers=(_OPERATOR, _WORKER),
            writers=(Role.TEACHER,),
        ),
    )


def _decisions(settings: Settings) -> tuple[TopicFacts, ...]:
    comparison = MessageFacts(
        "comparison",
        "comparison/1",
        "What the challenger would have decided. Written at least once; `source` identifies repeats.",
        optional=_ANSWER,
        others=_SCORE.others,
    )
    of_label = MessageFacts(
        "outcome",
        "outcome/1",
        "The effect of a label. Written at least once; `source` identifies repeats.",
        optional=(*_ANSWER, BACKFILL),
        others="Other headers are those of the label, card numbers removed.",
        event=EVENT_OF_OUTCOME,
    )
    of_prediction = MessageFacts(
        "predictionOutcome",
        "outcome/1:prediction",
        "What became of a prediction from storage.",
        optional=_ANSWER,
        others="Other headers are those of the prediction, card numbers removed.",
        event=EVENT_OF_OUTCOME,
    )
    return (
        TopicFacts(
            channel="scores",
            layout=SCORES,
            about="The decisions of the deployment that publishes.",
            key=CARD,
            messages=(_SCORE,),
            readers=(_OPERATOR, _WORKER, _GUARD, _EXPLAIN, Role.CONSUMER),
            writers=(_WORKER,),
            partitions_as="transaction",
        ),
        TopicFacts(
            channel="silent-scores",
            layout=silent_scores(settings),
            about="The decisions of the deployment while another one publishes.",
            key=CARD,
            messages=(_SCORE,),
            readers=(_OPERATOR, _WORKER),
            writers=(_WORKER,),
            partitions_as="transaction",
        ),
        TopicFacts(
            channel="outcomes",
            layout=OUTCOMES,
            about="The effect of each label and of each prediction.",
            key=CARD,
            messages=(of_label, of_prediction),
            readers=(_OPERATOR, _GUARD),
            writers=(_WORKER,),
            partitions_as="label",
        ),
        TopicFacts(
            channel="shadow-scores",
            layout=SHADOW_SCORES,
            about="What the challenger would have decided.",
            key=CARD,
            messages=(comparison,),
            readers=(_OPERATOR, _GUARD),
            writers=(_WORKER,),
            partitions_as="transaction",
        ),
    )


def _control() -> tuple[TopicFacts, ...]:
    command = MessageFacts(
        "command",
        "command/1",
        "A command about models. A repeated `command_id` gets its first answer again.",
        optional=(*TRACE, *SEAL),
        others=_IGNORED,
    )
    event = MessageFacts(
        "event", "event/1", "A verdict on a command, an answer of a worker, or what it did.", optional=TRACE
    )
    return (
        TopicFacts(
            channel="model-control",
            layout=MODEL_CONTROL,
            about="Commands, from `fraudstream model` and from guards.",
            key=DEPLOYMENT,
            messages=(command,),
            readers=(_OPERATOR, _WORKER),
            writers=(_OPERATOR, _GUARD),
        ),
        TopicFacts(
            channel="model-events",
            layout=MODEL_EVENTS,
            about="The judge's verdicts and the workers' answers.",
            key=DEPLOYMENT,
            messages=(event,),
            readers=(_OPERATOR, _WORKER, _GUARD),
            writers=(_WORKER,),
        ),
    )


def _beside() -> tuple[TopicFacts, ...]:
    letter = MessageFacts(
        "deadLetter",
        "",
        "A record that was refused, and why. Written at least once; the refused record's place identifies repeats.",
        required=CAUSE,
        optional=LETTER,
        others="Other headers are those of the refused record, card numbers removed.",
    )
    explanation = MessageFacts(
        "explanation",
        "explanation/1",
        "The reasons for one alert. Written at least once; `source` identifies repeats.",
        required=(REASON_CODES,),
        optional=TRACE,
    )
    incident = MessageFacts(
        "incident",
        "incident/1",
        "What is known of an incident at a time. `incident_id` and `sequence` identify repeats.",
        event=EVENT_OF_INCIDENT,
    )
    return (
        TopicFacts(
            channel="dead-letters",
            layout=DEAD_LETTERS,
            about="Records without a decision, card numbers removed.",
            key=ANY_KEY,
            messages=(letter,),
            readers=(_OPERATOR, _WORKER, _GUARD),
            writers=(_WORKER,),
        ),
        TopicFacts(
            channel="explanations",
            layout=EXPLANATIONS,
            about="The reasons for alerts.",
            key=CARD,
            messages=(explanation,),
            readers=(_OPERATOR, Role.CONSUMER),
            writers=(_EXPLAIN,),
            partitions_as="score",
        ),
        TopicFacts(
            channel="incidents",
            layout=INCIDENTS,
            about="What went wrong, from a guard.",
            key=DEPLOYMENT,
            messages=(incident,),
            readers=(_OPERATOR, _GUARD),
            writers=(_GUARD,),
        ),
    )
