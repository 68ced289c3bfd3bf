"""The record headers of the contract: their names, what they mean and the form of their values.

Kafka's headers are bytes; those of the contract are UTF-8. Which message has which of them is in `topic_facts`.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from fraudstream.ops.repair.kept_letters import REDRIVEN_FROM
from fraudstream.ops.watch.explanations.writes import CODES_HEADER
from fraudstream_client.incidents import IncidentKind
from fraudstream_client.outputs import Decision
from models.signing import KEY_HEADER, SIGNATURE_HEADER
from stream.contract.cloud_events import (
    INCIDENT_TYPE,
    OUTCOME_TYPE,
    PREFIX,
    SCORE_TYPE,
    SPEC_VERSION,
    VALUE_TYPE,
    VALUE_TYPE_HEADER,
)
from stream.contract.codes import DeadLetterCode
from stream.contract.transaction import BACKFILL_HEADER
from stream.positions.dead_letters import AMOUNT, TRANSACTION, TRUNCATED, VALUES
from stream.positions.letters import CODE, EPOCH, LETTERS_READ, SCORES_LOST, SOURCE_LOG
from stream.telemetry.tracing import TRACEPARENT, TRACESTATE

_DIGITS = "^[0-9]{1,19}$"


class HeaderFacts(NamedTuple):
    """One header: what it says, and the form of its value, as a pattern or as the only values; neither: any text."""

    name: str
    meaning: str
    pattern: str = ""
    values: tuple[str, ...] = ()

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the value."""
        form = {"pattern": self.pattern} if self.pattern else {"enum": list(self.values)} if self.values else {}
        return {"type": "string", "description": self.meaning, **form}


TRACE = (
    HeaderFacts(TRACEPARENT, "W3C Trace Context: the span that the record belongs to. Continued in what answers it."),
    HeaderFacts(TRACESTATE, "W3C Trace Context: passed on as it is."),
)
CORRELATION = HeaderFacts("correlation-id", "Your own id of the request: passed on unchanged, and not searched.")
BACKFILL = HeaderFacts(
    BACKFILL_HEADER,
    "The record only fills histories: a backfill's id and the record's number in it. A transaction gets no decision.",
    "^[0-9a-f]{16}:(0|[1-9][0-9]{0,14})$",
)
REDRIVEN = HeaderFacts(
    REDRIVEN_FROM,
    "The record was refused and sent again by `fraudstream dead-letters redrive`: the place of the original.",
    "^[A-Za-z0-9._-]{1,249}:[0-9]+:[0-9]+$",
)
SEAL = (
    HeaderFacts(KEY_HEADER, "The id of the key that signed the value.", "^[0-9a-f]{16}$"),
    HeaderFacts(SIGNATURE_HEADER, "The Ed25519 signature, in base64: see `Sign commands`.", "^[A-Za-z0-9+/]+=*$"),
)
CLAIM = HeaderFacts(
    LETTERS_READ, "On the first score after a claim of the partition: how far `dead-letters` was read.", _DIGITS
)
LOST = HeaderFacts(
    SCORES_LOST, "On the first score after acknowledged ones were found gone: how many, at most.", _DIGITS
)
REASON_CODES = HeaderFacts(CODES_HEADER, "The version of the table of reason codes.", _DIGITS)

CAUSE = (
    HeaderFacts(CODE, "Why the record was refused.", values=tuple(DeadLetterCode)),
    HeaderFacts("error.detail", "What was wrong with it, without card numbers."),
    HeaderFacts("source.topic", "The topic of the refused record.", "^[A-Za-z0-9._-]{1,249}$"),
    HeaderFacts("source.partition", "Its partition.", _DIGITS),
    HeaderFacts("source.offset", "Its offset.", _DIGITS),
    HeaderFacts(SOURCE_LOG, "The log of its topic; it rises with each topic made anew under the name.", _DIGITS),
    HeaderFacts("source.timestamp", "Its Kafka timestamp, in milliseconds.", "^-?[0-9]{1,19}$"),
    HeaderFacts("deployment", "The deployment that refused it."),
)
"""What every dead letter has."""
LETTER = (
    HeaderFacts(EPOCH, "Of a transaction: the epoch of the worker that refused it.", _DIGITS),
    HeaderFacts(VALUES, "`none`: the letter has no value; the original is at its place.", values=("none",)),
    HeaderFacts(TRANSACTION, "Of a letter without a value: the refused record's `transaction_id`."),
    HeaderFacts(AMOUNT, "Of a letter without a value: its currency and amount in minor units.", "^[A-Z]{3} [0-9]+$"),
    HeaderFacts(TRUNCATED, "What was cut off to make the letter fit, with the original sizes."),
)
"""What some dead letters have."""


def event_headers(
    kind: str, of_kind: Iterable[str], id_meaning: str, subject: str, time: str
) -> tuple[HeaderFacts, ...]:
    """Return the headers of a record that is written as a CloudEvent, of a type `kind.…` for each `of_kind`.

    The texts say what its attributes are.
    """
    return (
        HeaderFacts(f"{PREFIX}specversion", "The version of CloudEvents.", values=(SPEC_VERSION,)),
        HeaderFacts(VALUE_TYPE_HEADER, "The type of the value.", values=(VALUE_TYPE,)),
        HeaderFacts(f"{PREFIX}id", f"{id_meaning}. With `ce_source` it tells the event from all others."),
        HeaderFacts(f"{PREFIX}source", "`/fraudstream/` and the deployment.", "^/fraudstream/[A-Za-z0-9._-]+$"),
        HeaderFacts(f"{PREFIX}type", "What happened, for filters.", values=tuple(f"{kind}.{one}" for one in of_kind)),
        HeaderFacts(f"{PREFIX}subject", f"{subject}."),
        HeaderFacts(f"{PREFIX}time", f"{time}."),
    )


EVENT_OF_SCORE = event_headers(
    SCORE_TYPE,
    Decision,
    "The place of the transaction (topic, partition, offset, log) and the epoch of the decision",
    "The transaction's id",
    "When it was decided, `scored_at`",
)
EVENT_OF_OUTCOME = event_headers(
    OUTCOME_TYPE,
    ("label", "prediction"),
    "The place of the label or prediction (topic, partition, offset, log)",
    "The transaction's id; of a prediction the card's",
    "When the label became known or the prediction was computed",
)
EVENT_OF_INCIDENT = event_headers(
    INCIDENT_TYPE, IncidentKind, "The incident's id, the number of the record and its kind", "The incident's id", "`at`"
)
