"""JSON Schemas of all records, generated from the types that decode and encode them."""

from types import MappingProxyType
from typing import Any

import msgspec

from features.own_fields import NO_FIELDS, DeclaredFields, FieldKind, OwnField
from fraudstream_client.field_types import LONGEST_ATTRIBUTE, NO_NEWLINE_BEHIND
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

_OF_ATTRIBUTES = MappingProxyType({"transaction/1": "TransactionRecord", "score/1": "Score"})
"""The records that have `attributes`, and the names of their definitions."""
_JSON_TYPES = MappingProxyType(
    {
        FieldKind.NUMBER: "number",
        FieldKind.CATEGORY: "string",
        FieldKind.FLAG: "boolean",
        FieldKind.TOKEN: "string",
    }
)


def json_schema(record: str, declared: DeclaredFields = NO_FIELDS) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a record by its name, such as `score/1`.

    `attributes` has the fields that a deployment declares: all of them in `transaction/1`, its categories in `score/1`.

    An outcome of a prediction has other fields than a label's, and an erasure than a payment: their schemas are named
    apart.

    Unknown fields are allowed in every record: within a version changes are additive.
    """
    schema = msgspec.json.schema(RECORDS[record])
    if record in _OF_ATTRIBUTES and declared:
        attributes = schema["$defs"][_OF_ATTRIBUTES[record]]["properties"]["attributes"]
        if record == "transaction/1":
            attributes["anyOf"][0]["properties"] = {one.name: _field_schema(one) for one in declared.fields}
        else:
            attributes["properties"] = {
                name: {"type": "string", "description": declared.by_name[name].meaning} for name in declared.categories
            }
    for definition in schema.get("$defs", {}).values():
        definition.pop("additionalProperties", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": record, **portable(schema)}


def _field_schema(field: OwnField) -> dict[str, Any]:
    """Return what a payment may have as the value of a declared field; any other value would be dropped."""
    found: dict[str, Any] = {"type": [_JSON_TYPES[field.kind], "null"], "description": field.meaning}
    match field.kind:
        case FieldKind.NUMBER:
            least, most = (field.shown(bound) for bound in field.bounds)
            rounding = f", kept with {field.decimals} decimals" if field.decimals else ""
            found["description"] = f"{field.meaning}, in {field.unit}{rounding}"
            found |= {"minimum": least, "maximum": most}
        case FieldKind.CATEGORY:
            found |= {"minLength": 1, "maxLength": LONGEST_ATTRIBUTE}
        case FieldKind.TOKEN:
            found["description"] = f"{field.meaning}: an identifier, on no output"
            found |= {"minLength": 1, "maxLength": LONGEST_ATTRIBUTE, "writeOnly": True}
    return found


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
