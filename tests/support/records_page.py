"""The tables of fields for the page about records, from the JSON Schemas of the code."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from stream.contract.schema import RECORDS, json_schema

Table = Callable[[tuple[str, ...], Sequence[tuple[str, ...]]], str]
Schema = Mapping[str, Any]
PATTERNS: Mapping[str, str] = MappingProxyType(
    {
        "^[A-Za-z0-9._:@-]{1,64}$": "a token",
        "^(?:h1=[0-9a-f]{32}|[A-Za-z0-9._:@-]{1,64})$": "h1= and 32 hexadecimal digits, or a token",
        "^[A-Za-z0-9._-]{1,249}$": "a topic's name",
        "^[0-9a-f]{64}$": "64 hexadecimal digits",
        "^[0-9a-f]{32}$": "32 hexadecimal digits",
        "^[0-9a-f]{8}$": "8 hexadecimal digits",
        "^[0-9a-f]{8,64}$": "8 to 64 hexadecimal digits",
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$": "RFC 3339, UTC, three decimals",
    }
)
"""The meaning of a pattern of the schemas, if the schema has no description."""


def records(table: Table) -> str:
    """Write a section for each record: what it is, and its fields."""
    return "\n\n".join(section(table, name) for name in RECORDS)


def section(table: Table, record: str) -> str:
    schema = json_schema(record)
    about = (inspect.getdoc(RECORDS[record]) or "").partition("\n")[0]
    return f"### `{record}`\n\n{about}\n\n{table(('field', 'required', 'type'), list(rows(schema, schema)))}"


def rows(whole: Schema, part: Schema, before: str = "") -> Iterator[tuple[str, ...]]:
    """Yield a row for each field of an object; a nested object's fields carry its name as a prefix."""
    part = resolved(whole, part)
    for name, field in part["properties"].items():
        kinds = kinds_of(whole, field)
        null = "; or null" if len(kinds) < len(field.get("anyOf", kinds)) else ""
        text = " or ".join(dict.fromkeys(spelled(whole, kind) for kind in kinds))
        yield f"`{before}{name}`", "yes" if name in part.get("required", ()) else "", text + null
        if "properties" in kinds[0]:
            yield from rows(whole, kinds[0], f"{before}{name}.")


def resolved(whole: Schema, part: Schema) -> Schema:
    found: Schema = whole["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
    return found


def kinds_of(whole: Schema, field: Schema) -> list[Schema]:
    """Return what a field may hold besides null."""
    kinds = [resolved(whole, kind) for kind in field.get("anyOf", [field])]
    return [kind for kind in kinds if kind.get("type") != "null"]


def spelled(whole: Schema, field: Schema) -> str:
    """Return the description of one kind of value."""
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"] if value is not None)
    items = field.get("items") or field.get("additionalProperties")
    if isinstance(items, Mapping) and "properties" not in field:
        inner = " or ".join(spelled(whole, kind) for kind in kinds_of(whole, items))
        inner += " or null" if len(kinds_of(whole, items)) < len(items.get("anyOf", ())) else ""
        return f"{'list' if field['type'] == 'array' else 'object'} of {inner}"
    kind = [field["type"]] if "type" in field else []
    return "object" if kind == ["object"] else ", ".join([*kind, *bounds(field)])


def bounds(field: Schema) -> Iterator[str]:
    """Yield the bounds and the meaning of a plain value."""
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None:
        yield f"{low} or more" if high is None else f"{low} to {high}"
    if "maxLength" in field:
        yield f"{field.get('minLength', 0)} to {field['maxLength']} characters"
    if "description" in field:
        yield field["description"]
    elif "pattern" in field:
        yield PATTERNS[field["pattern"]]
