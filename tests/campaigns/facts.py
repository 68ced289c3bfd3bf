"""What a seed left on its topics, as plain values: records, scores, dead letters, verdicts on commands.

Nothing of the product is used to read them, so that the checks are a second opinion on its own.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

KIND_HEADER = "campaign-kind"
"""The header of a record of a campaign that says what kind of record it is; a record sent again keeps it."""
BACKFILL_HEADER = "fraudstream-backfill"
LETTERS_READ_HEADER = "letters-read"
"""The header of the first score after a claim: how far `dead-letters` was read."""
INCOMPLETE = "history_incomplete"
"""What a score says in `degraded` that was decided while its card's history was away."""
TERM_BITS = 32

Place = tuple[int, int, int]
"""Log, partition and offset of a record of an input topic; of one partition they order its records."""


class Record(NamedTuple):
    """A record as Kafka has it, or had it before its topic was made anew; `log` numbers the topics of one name."""

    log: int
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes]

    @property
    def place(self) -> Place:
        return self.log, self.partition, self.offset

    @property
    def kind(self) -> str:
        return self.headers.get(KIND_HEADER, b"").decode()

    @property
    def fields(self) -> Mapping[str, Any]:
        """The fields of a JSON object; empty if it is none."""
        try:
            value = json.loads(self.value or b"")
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


class Score(NamedTuple):
    """A score, and its place on `scores`; `letters_read` is absent but on the first one after a claim.

    `is_incomplete`: decided while its card's history was away, so that a repeat is not known for one.
    """

    partition: int
    at: int
    epoch: int
    log: int
    offset: int
    transaction_id: str
    card_id: str
    revision: int
    digest: str
    scored_at_ms: int
    letters_read: int | None = None
    is_incomplete: bool = False

    @property
    def place(self) -> Place:
        return self.log, self.partition, self.offset

    @property
    def payment(self) -> tuple[str, str]:
        return self.card_id, self.transaction_id

    @property
    def term(self) -> int:
        return self.epoch >> TERM_BITS


class Letter(NamedTuple):
    """A dead letter of the deployment, and its offset on `dead-letters`; `epoch` is absent on those of old workers."""

    at: int
    topic: str
    log: int
    partition: int
    offset: int
    code: str
    epoch: int | None

    @property
    def place(self) -> Place:
        return self.log, self.partition, self.offset


class Verdict(NamedTuple):
    """An accepted command; the fields that do not belong to its kind are absent."""

    command: str
    at_ms: int
    revision: int
    model: str | None
    topic: str | None = None
    partition: int | None = None
    log: int = 0
    up_to: int | None = None
    offset: int | None = None


class Answer(NamedTuple):
    """An outcome: the place of its label, and the status."""

    log: int
    partition: int
    offset: int
    status: str

    @property
    def place(self) -> Place:
        return self.log, self.partition, self.offset


class Use(NamedTuple):
    """What a worker's process uses."""

    descriptors: int
    memory_mb: int


def scores_of(records: Iterable[Record]) -> list[Score]:
    return [_score(record) for record in records]


def _score(record: Record) -> Score:
    fields = record.fields
    source, letters_read = fields["source"], record.headers.get(LETTERS_READ_HEADER)
    return Score(
        partition=record.partition,
        at=record.offset,
        epoch=fields["epoch"],
        log=source.get("log", 0),
        offset=source["offset"],
        transaction_id=fields["transaction_id"],
        card_id=fields["card_id"],
        revision=fields["revision"],
        digest=(fields["model"] or {}).get("digest", ""),
        scored_at_ms=milliseconds(fields["scored_at"]),
        letters_read=None if letters_read is None else int(letters_read),
        is_incomplete=INCOMPLETE in fields["degraded"],
    )


def letters_of(records: Iterable[Record], deployment: str) -> list[Letter]:
    """Return the dead letters of a deployment; those of others count for nobody else."""
    named = [record for record in records if record.headers.get("deployment", b"").decode() == deployment]
    return [_letter(record) for record in named]


def _letter(record: Record) -> Letter:
    text = {name: value.decode(errors="replace") for name, value in record.headers.items()}
    epoch = text.get("epoch", "")
    return Letter(
        at=record.offset,
        topic=text["source.topic"],
        log=int(text.get("source.log", "0")),
        partition=int(text["source.partition"]),
        offset=int(text["source.offset"]),
        code=text["error.code"],
        epoch=int(epoch) if epoch.isdigit() else None,
    )


def verdicts_of(records: Iterable[Record], deployment: str) -> list[Verdict]:
    """Return the accepted commands of a deployment, in their order; a verdict that was written twice counts once."""
    accepted: dict[str, Verdict] = {}
    for fields in (record.fields for record in records):
        if fields.get("kind") == "accepted" and fields.get("deployment") == deployment:
            optional = {name: fields.get(name) for name in ("topic", "partition", "up_to", "offset")}
            accepted.setdefault(
                fields["command_id"],
                Verdict(
                    fields.get("command", ""),
                    milliseconds(fields["at"]),
                    fields["revision"],
                    fields.get("model"),
                    log=fields.get("log", 0),
                    **optional,
                ),
            )
    return list(accepted.values())


def answers_of(records: Iterable[Record], deployment: str) -> list[Answer]:
    """Return the outcomes of labels that a deployment has written."""
    outcomes = [record.fields for record in records if record.fields.get("deployment") == deployment]
    labels = [(fields["source"], fields["status"]) for fields in outcomes if fields.get("kind", "label") == "label"]
    return [Answer(source.get("log", 0), source["partition"], source["offset"], status) for source, status in labels]


def milliseconds(text: str) -> int:
    """Return a time of a record as milliseconds since 1970."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)
