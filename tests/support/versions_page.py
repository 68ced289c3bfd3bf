"""The table of docs/reference/versioning.md: what carries a version, the present one, and what meets another."""

from collections.abc import Callable, Iterable

from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from features.declaration import SEMANTICS_VERSION
from features.history.records import RECORD_BYTES
from features.redis.cache import COMPACTED, INCOMPLETE, LATER, PLAIN
from models.artifact import Manifest
from models.card import CardVersion
from models.model_signatures import ModelSignature
from models.model_text import TEXT_VERSION
from models.snapshot import SnapshotHead
from stream.contract.schema import RECORDS

Table = Callable[[tuple[str, ...], Iterable[tuple[str, ...]]], str]

OTHER_RECORDS = {
    "transaction/1": "a dead letter, `unsupported_schema`",
    "transaction/1:erasure": "a dead letter, `unsupported_schema`",
    "label/1": "a dead letter, `unsupported_schema`",
    "prediction/1": "a dead letter, `unsupported_schema`",
    "score/1": "`ValidScores` counts it as unreadable; a worker passes over it",
    "comparison/1": "`shadow report` leaves it out",
    "outcome/1": "no worker reads it",
    "outcome/1:prediction": "no worker reads it",
    "command/1": "refused, `invalid_field`; an unknown kind is refused, `unsupported_kind`",
    "explanation/1": "nothing of ours reads it",
    "incident/1": "`incident list` leaves it out, and it is not sent to the webhook",
    "event/1": "ignored, with a line in the log; a worker that lacks a revision for it is not ready, and says so",
}
"""What becomes of a record that names another version."""


def versions(table: Table) -> str:
    """Write the table."""
    records = ((f"record `{name.partition('/')[0]}`", "`schema`", f"`{name}`", OTHER_RECORDS[name]) for name in RECORDS)
    sizes = ", ".join(f"{size} bytes a record of a {kind.value}" for kind, size in RECORD_BYTES.items())
    formats = f"{PLAIN} (plain), {COMPACTED} (compacted), {INCOMPLETE} (incomplete); {sizes}"
    later = f"{LATER.start} to {LATER.stop - 1}: the worker is not ready; any other: the history is damaged and rebuilt"
    rows = (
        *records,
        ("model artifact", "`schema` of `manifest.json`", f"`{tag_of(Manifest)}`", "refused, `damaged_artifact`"),
        (
            "signature of a model",
            "`schema` of `signatures/DIGEST/KEY.json`",
            f"`{tag_of(ModelSignature)}`",
            "does not count: `wrong_model_signature`",
        ),
        (
            "card of a model",
            "`schema` of `cards/DIGEST/…`",
            f"`{tag_of(CardVersion)}`",
            "commands name it and exit with 1",
        ),
        ("trees of a model", "`version` in `model.txt`", f"`{TEXT_VERSION}`", "refused, `damaged_artifact`"),
        (
            "what features mean",
            "part of the feature fingerprint",
            str(SEMANTICS_VERSION),
            "other fingerprints; a model of another one is refused, `wrong_fingerprint`",
        ),
        ("snapshot of the control log", "its first line", f"`{tag_of(SnapshotHead)}`", "not used, with a warning"),
        ("history in Redis", "bytes 8 to 15 of its value", formats, later),
        (
            "consumer group",
            "the members' assignment strategy",
            f"`{RangePartitionAssignor.name}`",
            "Kafka refuses the member",
        ),
    )
    return table(("what", "where its version stands", "in this version", "another version"), rows)


def tag_of(kind: type) -> str:
    """Return the `schema` that records of a type carry."""
    return str(kind.__struct_config__.tag)  # type: ignore[attr-defined]
