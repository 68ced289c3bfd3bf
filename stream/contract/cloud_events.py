"""Records as CloudEvents 1.0: the attributes of each, and the record headers that carry them in binary mode.

The Kafka protocol binding (https://github.com/cloudevents/spec) leaves a record's value as it is, names an attribute
`ce_` and its name, and the type of the value `content-type`. A guard's webhook sends the same attributes as JSON.
"""

from collections.abc import Sequence
from typing import NamedTuple

from fraudstream_client.incidents import Incident
from fraudstream_client.outputs import Decision, Outcome, PredictionOutcome, Source
from models.times import format_time

Headers = Sequence[tuple[str, bytes | None]]

SPEC_VERSION = "1.0"
VALUE_TYPE = "application/json"
PREFIX, VALUE_TYPE_HEADER = "ce_", "content-type"
SCORE_TYPE, OUTCOME_TYPE, INCIDENT_TYPE = "fraudstream.score", "fraudstream.outcome", "fraudstream.incident"


class EventAttributes(NamedTuple):
    """The attributes of one record as an event; with its `source`, `id` tells it from all others.

    A record that is written again has the same ones.
    """

    id: str
    source: str
    type: str
    subject: str
    time: str

    def headers(self) -> Headers:
        """Return the headers of the record."""
        named = [(f"{PREFIX}{name}", text.encode()) for name, text in self._asdict().items()]
        return (*_constant_headers(), *named)


def source_of(deployment: str) -> str:
    """Return the source of a deployment's events, a URI reference."""
    return f"/fraudstream/{deployment}"


def event_of_incident(incident: Incident) -> EventAttributes:
    """Return the attributes of what is told of an incident."""
    return EventAttributes(
        id=f"{incident.incident_id}.{incident.sequence}.{incident.kind}",
        source=source_of(incident.deployment),
        type=f"{INCIDENT_TYPE}.{incident.kind}",
        subject=incident.incident_id,
        time=incident.at,
    )


def event_of_outcome(outcome: Outcome | PredictionOutcome) -> EventAttributes:
    """Return the attributes of an outcome: its id is the place of the label or prediction, its time when that was made.

    An outcome that is written again is the same event. Its subject is the transaction, or the card of a prediction.
    """
    source = source_of(outcome.deployment)
    kind, place = f"{OUTCOME_TYPE}.{outcome.kind}", _place(outcome.source)
    if isinstance(outcome, Outcome):
        return EventAttributes(place, source, kind, outcome.transaction_id, outcome.labelled_at)
    return EventAttributes(place, source, kind, outcome.card_id, outcome.computed_at)


def headers_of_outcome(outcome: Outcome | PredictionOutcome, passed: Headers) -> Headers:
    """Return the headers of an outcome: its own, and those that its label or prediction passes on."""
    return (*event_of_outcome(outcome).headers(), *without_event_headers(passed))


def without_event_headers(headers: Headers) -> Headers:
    """Leave out the headers that make a payment or label an event of its producer's: what answers it is another."""
    if not headers:
        return headers
    return tuple(
        [one for one in headers if not ((name := one[0].lower()).startswith(PREFIX) or name == VALUE_TYPE_HEADER)]
    )


def _constant_headers() -> tuple[tuple[str, bytes], ...]:
    return (f"{PREFIX}specversion", SPEC_VERSION.encode()), (VALUE_TYPE_HEADER, VALUE_TYPE.encode())


def _place(source: Source) -> str:
    return f"{source.topic}:{source.partition}:{source.offset}:{source.log}"


class ScoreEvents:
    """Makes the headers of a deployment's scores, 13,000 a second: what they share is encoded once.

    The id of a score is the place of its transaction, as of an outcome, and its epoch: an attempt that decides a
    transaction again is another event, since one of the two is void.
    """

    def __init__(self, deployment: str) -> None:
        self._shared = (*_constant_headers(), (f"{PREFIX}source", source_of(deployment).encode()))
        self._by_decision = {
            decision: (*self._shared, (f"{PREFIX}type", f"{SCORE_TYPE}.{decision}".encode())) for decision in Decision
        }
        self._time_ms, self._time = -1, b""

    def headers(
        self, decision: Decision, place: tuple[str, int, int, int], *, epoch: int, scored_ms: int, transaction_id: str
    ) -> tuple[tuple[str, bytes], ...]:
        """Return the headers of a score of the transaction at a place: its topic, partition, offset and log."""
        if scored_ms != self._time_ms:
            self._time_ms, self._time = scored_ms, format_time(scored_ms).encode()
        topic, partition, offset, log = place
        return (
            *self._by_decision[decision],
            ("ce_id", f"{topic}:{partition}:{offset}:{log}:{epoch}".encode()),
            ("ce_time", self._time),
            ("ce_subject", transaction_id.encode()),
        )
