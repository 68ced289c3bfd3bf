"""The columns of a file that hold fields of one's own: read by the rules of the stream, and kept as one column of JSON.

A table has them in its column `attributes`, an object as in `transaction/1`, with the fields of the contract that no
other column holds; NULL where nothing is read. Its values are read once more, exactly, where rows become transactions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from features.own_fields import CARRIED, LARGEST, NO_FIELDS, DeclaredFields, FieldKind, FieldValue, OwnField, OwnValues
from fraudstream.lab.dataset.columns import FLAG, INTEGERS, OPTIONAL_TYPES, TEXT, ColumnExpression, ColumnType, finite
from fraudstream.lab.dataset.input_table import Column, Need
from fraudstream_client.field_types import LONGEST_ATTRIBUTE

_decode = msgspec.json.Decoder(dict[str, str | int | float | bool | None]).decode
_encode = msgspec.json.Encoder().encode


class ReadsFields(Protocol):
    """A feature set, or several together."""

    @property
    def fields(self) -> DeclaredFields:
        """The declared fields."""

    @property
    def carried(self) -> frozenset[str]:
        """The fields of the contract that a payment's own values must have."""


class OwnColumns(NamedTuple):
    """Which fields of one's own a file's rows are read for."""

    declared: DeclaredFields = NO_FIELDS
    carried: frozenset[str] = frozenset()

    @classmethod
    def of(cls, sets: ReadsFields) -> "OwnColumns":
        """Return those that a feature set reads, or several together."""
        return cls(sets.fields, sets.carried)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all columns."""
        return (*(name for name in CARRIED if name in self.carried), *self.declared.by_name)

    def columns(self) -> Iterator[Column]:
        """Yield the columns, each of which a file may lack."""
        for name in CARRIED:
            if name in self.carried:
                yield Column(name, OPTIONAL_TYPES["merchant_country"], Need.DROPPED)
        for field in self.declared.fields:
            is_text = field.kind in {FieldKind.CATEGORY, FieldKind.TOKEN}
            yield Column(field.name, _TYPES[field.kind], Need.DROPPED, may_hold_card_numbers=is_text)

    def expression(self) -> str:
        """Return the column of JSON, as SQL on the view `read`."""
        if not self.names:
            return "CAST(NULL AS VARCHAR)"
        values = ", ".join(f"""'{name}': "read_{name}\"""" for name in self.names)
        return f"CAST(to_json({{{values}}}) AS VARCHAR)"

    def out_of_bounds(self) -> dict[str, str]:
        """Return by column the condition, as SQL on the view `read`, that a number is out of its bounds."""
        return {one.name: _is_outside(one) for one in self.declared.fields if one.kind is FieldKind.NUMBER}

    def values_of(self, texts: Iterable[str | None]) -> list[OwnValues] | None:
        """Return the values of rows from their JSON; None if nothing is read."""
        if not self.names:
            return None
        return [self._read(_decode(text)) if text else {} for text in texts]

    def texts_of(self, own: Sequence[OwnValues] | None, count: int) -> list[str | None]:
        """Return the JSON of n payments, the inverse of `values_of`."""
        if own is None:
            return [None] * count
        return [_encode(self.shown(values)).decode() if values else None for values in own]

    def shown(self, values: OwnValues) -> dict[str, Any]:
        """Return values as a record has them."""
        by_name = self.declared.by_name
        return {name: by_name[name].shown(one) if name in by_name else one for name, one in values.items()}

    def _read(self, raw: Mapping[str, Any]) -> dict[str, FieldValue]:
        found: dict[str, FieldValue] = {
            name: value for name in CARRIED if name in self.carried and isinstance(value := raw.get(name), str)
        }
        return found | self.declared.kept(raw)


NO_OWN_COLUMNS = OwnColumns()


def count_out_of_bounds(connection: Any, own: OwnColumns) -> dict[str, int]:  # noqa: ANN401 - of a module without types
    """Return how many numbers of the view `read` are out of their bounds, by column."""
    conditions = own.out_of_bounds()
    if not conditions:
        return {}
    counts = ", ".join(f"count(*) FILTER ({condition})" for condition in conditions.values())
    (found,) = connection.execute(f"SELECT {counts} FROM read").fetchall()  # noqa: S608 - our own
    return {name: count for name, count in zip(conditions, found, strict=True) if count}


def _is_outside(field: OwnField) -> str:
    kept = f'round_even("read_{field.name}" * {10**field.decimals}, 0)'
    least, most = field.bounds
    return f"{kept} < {least} OR {kept} > {most}"


def _text(column: str, kind: str) -> ColumnExpression:
    """Read a category or a token; a whole number is read as its digits, an empty text is none."""
    if kind in {"DOUBLE", "FLOAT"}:  # pandas writes a column of integers with gaps as floats
        whole = f"{column} = floor({column}) AND abs({column}) <= {LARGEST}"
        return ColumnExpression(f"CASE WHEN {whole} THEN CAST(CAST({column} AS BIGINT) AS VARCHAR) END")
    if kind not in INTEGERS | {TEXT}:
        return ColumnExpression("NULL", ": write texts")
    text = f"CAST({column} AS VARCHAR)"
    return ColumnExpression(f"CASE WHEN length({text}) BETWEEN 1 AND {LONGEST_ATTRIBUTE} THEN {text} END")


_TYPES = {
    FieldKind.NUMBER: ColumnType("DOUBLE", finite),
    FieldKind.FLAG: FLAG,
    FieldKind.CATEGORY: ColumnType(TEXT, _text),
    FieldKind.TOKEN: ColumnType(TEXT, _text),
}
