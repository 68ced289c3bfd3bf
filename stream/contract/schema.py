"""JSON Schemas of all records, generated from the types that decode and encode them."""

from types import MappingProxyType
from typing import Any

import msgspec

from fraudstream_client.field_types import NO_NEWLINE_BEHIND
from fraudstream_client.incidents import Incident
from fraudstream_client.inputs import LabelRecord, PredictionRecord, TransactionRecord
from fraudstream_client.outputs import AlertExplanation, Outcome, PredictionOutcome, Score
from models.commands import Command, Event
from shadow.comparison import Comparison
from stream.contract.erasure import ErasureRecord

RECORDS = MappingProxyType(
    {
        "transaction/1": TransactionRecord,
        "transaction/1:erasure": ErasureRecord,
        "label/1": LabelRecord,
        "prediction/1": PredictionRecord,
        "score/1": Score,
        "comparison/1": Comparison,
        "outcome/1": Outcome,
        "outcome/1:prediction": PredictionOutcome,
        "command/1": Command,
        "event/1": Event,
        "incident/1": Incident,
        "explanation/1": AlertExplanation,
    }
)


def json_schema(record: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a record by its name, such as `score/1`.

    An outcome of a prediction has other fields than a label's, and an erasure than a payment: their schemas are named
    apart.

    Unknown fields are allowed in every record: within a version changes are additive.
    """
    schema = msgspec.json.schema(RECORDS[record])
    for definition in schema.get("$defs", {}).values():
        definition.pop("additionalProperties", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": record, **portable(schema)}


def portable(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose patterns every engine compiles: Go and pydantic refuse a look-ahead.

    Without it, `$` also matches before a last line end in Java and Python. So `not` excludes whatever is no visible
    ASCII character; texts of a pattern have no other.
    """
    found = {name: _portable_part(part) for name, part in schema.items()}
    if isinstance(found.get("pattern"), str):
        found |= {"pattern": found["pattern"].removesuffix(NO_NEWLINE_BEHIND), "not": {"pattern": "[^!-~]"}}
    return found


def _portable_part(part: Any) -> Any:  # noqa: ANN401 - any JSON
    match part:
        case dict():
            return portable(part)
        case list():
            return [_portable_part(one) for one in part]
    return part
