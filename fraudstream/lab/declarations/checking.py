"""Says all that is wrong with a module of features at once, and what looks like a slip.

Loading a module ends at its first error. Here what can be run of it is run (`lenient_run`), then its tables are
examined as they are loaded, and its formulas are called on generated payments (`formula_probes`).
"""

import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, TypeVar

import msgspec

from features.aggregates import Risk
from features.declaration import Feature, set_problems
from features.errors import DeclarationError
from features.formulas import Formula, import_attribute, refuse_hidden
from features.own_fields import DeclaredFields, FieldKind, OwnField, OwnValue, field_problems
from features.rows import own
from features.vector.sets import DEFAULT_MODULES, load_sets
from fraudstream.lab.declarations.formula_probes import fields_read, probe_formulas
from fraudstream.lab.declarations.lenient_run import MISSING, run_leniently
from fraudstream.lab.declarations.units import UNITS, unit_of_name
from fraudstream_client.field_types import MOST_ATTRIBUTES

_Entry = TypeVar("_Entry", Feature, OwnField)
_HOUR = own("hour")
"""A row that every set may have."""


class ModuleFindings(msgspec.Struct, frozen=True):
    """What is in a module, and what is wrong with it; warnings are of what works, and may be a slip.

    Attributes:
        payments: for how many generated payments each formula was called.
    """

    module: str
    fields: int
    rows: int
    formulas: int
    payments: int
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


class _Tables(NamedTuple):
    """The tables of a module as far as they are of the right types.

    `refused` are names of fields that could not be declared; None: nobody knows which were to be.
    """

    rows: tuple[Feature, ...]
    fields: tuple[OwnField, ...]
    problems: tuple[str, ...]
    refused: frozenset[str] | None = frozenset()


def check_modules(modules: str) -> tuple[ModuleFindings, ...]:
    """Check each of some comma-separated modules; those of the default sets if the text is empty.

    What is wrong with them together is among the problems of the last one.
    """
    names = [name.strip() for name in modules.split(",") if name.strip()]
    found = [check_module(name, ours=not names) for name in names or DEFAULT_MODULES]
    if len(found) > 1 and not any(one.problems for one in found):
        try:
            load_sets(modules)
        except DeclarationError as error:
            found[-1] = msgspec.structs.replace(found[-1], problems=(str(error),))
    return tuple(found)


def check_module(name: str, *, ours: bool = False) -> ModuleFindings:
    """Check a module; one of `ours` cannot be hidden by itself."""
    tables = _tables(name, ours=ours)
    problems = list(tables.problems)
    problems += field_problems(tables.fields)
    fields = DeclaredFields(tuple(_valid(tables.fields)))
    if tables.rows or not tables.problems:
        problems += _row_problems(tables)
    rows = [row for at, row in enumerate(tables.rows) if not _is_refused(row, tables.rows[:at], fields)]
    problems += _risks(rows, fields)
    if any(set_problems(rows, fields)):
        rows = [row for row in rows if isinstance(row.aggregate, Formula)]
    probed = probe_formulas(rows, fields)
    formulas = sum(isinstance(row.aggregate, Formula) for row in tables.rows)
    return ModuleFindings(
        module=name,
        fields=len(tables.fields),
        rows=len(tables.rows),
        formulas=formulas,
        payments=probed.payments,
        problems=tuple(dict.fromkeys((*problems, *probed.problems))),
        warnings=(*probed.warnings, *_field_warnings(fields), *_unread(tables, fields)),
    )


def _tables(name: str, *, ours: bool) -> _Tables:
    """Import a module, or run it leniently if that fails, and return its tables."""
    try:
        if not ours:
            refuse_hidden(name)
    except DeclarationError as error:
        return _Tables((), (), (str(error),))
    try:
        given = import_attribute(name, "FEATURES")
    except DeclarationError as error:
        return _lenient_tables(name, str(error))
    return _sorted_out(given, getattr(sys.modules[name], "FIELDS", ()))


def _lenient_tables(name: str, message: str) -> _Tables:
    run = run_leniently(name)
    if run is None:
        return _Tables((), (), (message,))
    found = _sorted_out(run.bound.get("FEATURES", MISSING), run.bound.get("FIELDS", ()))
    refused = None if "FIELDS" in run.unbound else run.refused
    return _Tables(found.rows, found.fields, (*(run.problems or (message,)), *found.problems), refused)


def _sorted_out(rows: object, fields: object) -> _Tables:
    made_rows, wrong_rows = _of_type(rows, Feature, "FEATURES", "card, merchant, device, prediction or own")
    made_fields, wrong_fields = _of_type(fields, OwnField, "FIELDS", "number, category, flag or token")
    return _Tables(made_rows, made_fields, (*wrong_fields, *wrong_rows))


def _of_type(
    given: Any,  # noqa: ANN401 - whatever a module binds
    kind: type[_Entry],
    name: str,
    made_by: str,
) -> tuple[tuple[_Entry, ...], tuple[str, ...]]:
    """Return the entries of a table that are of a type, and what is wrong with the others."""
    if given is MISSING:
        return (), ()
    if not isinstance(given, Sequence) or isinstance(given, str):
        return (), (f"{name} must be a tuple, not a {type(given).__name__}",)
    wrong = [
        f"{name}[{at}] is made by none of {made_by}: it is a {type(one).__name__}"
        for at, one in enumerate(given)
        if one is not MISSING and not isinstance(one, kind)
    ]
    return tuple(one for one in given if isinstance(one, kind)), tuple(wrong)


def _valid(fields: Sequence[OwnField]) -> Iterator[OwnField]:
    """Yield the fields that can be declared together, the first of each name."""
    found: dict[str, OwnField] = {}
    for field in fields:
        alone = any(field_problems((field,))) or any(set_problems((_HOUR,), DeclaredFields((field,))))
        if not alone and not any(field_problems((*found.values(), field))):
            found[field.name] = field
            yield field


def _row_problems(tables: _Tables) -> Iterator[str]:
    """Yield what is wrong with rows, but for rows of fields whose declaration was refused, which is said already."""
    names = {one.name: one for one in tables.fields if not any(field_problems((one,)))}
    others = {one.name for one in tables.fields} - names.keys()
    rows = [row for row in tables.rows if not _follows(row, tables.refused, others)]
    if rows or not tables.rows:
        yield from set_problems(rows, DeclaredFields(tuple(names.values())[:MOST_ATTRIBUTES]))


def _follows(row: Feature, refused: frozenset[str] | None, others: set[str]) -> bool:
    """Tell whether a row reads a field of its own whose declaration was refused."""
    if not isinstance(row.aggregate, OwnValue) or row.aggregate.field is not None:
        return False
    return refused is None or row.aggregate.name in refused | others


def _is_refused(row: Feature, before: Sequence[Feature], fields: DeclaredFields) -> bool:
    """Tell whether a row cannot be in a set with those before it."""
    return row.name in {one.name for one in before} or bool(list(set_problems((row,), fields)))


def _risks(rows: Sequence[Feature], fields: DeclaredFields) -> Iterator[str]:
    for row in rows:
        field = fields.found(row.aggregate.name) if isinstance(row.aggregate, OwnValue) else None
        if field is not None and field.kind is FieldKind.CATEGORY and row.risk is not Risk.ANY:
            yield (
                f"own({field.name!r}): risk={row.risk.value!r} is for numbers: a category's place in a model's list "
                "says how frequent it is, so nothing rises with it"
            )


def _field_warnings(fields: DeclaredFields) -> Iterator[str]:
    for field in fields.fields:
        if field.kind is not FieldKind.NUMBER:
            continue
        least, most = field.bounds
        if least == most:
            yield f"field {field.name!r}: its least and its most value are the same, so it tells nothing"
        unit = field.unit.lower()
        if unit not in UNITS:
            near = get_close_matches(unit, UNITS, 1)
            guess = f"did you mean {near[0]!r}?" if near else "it is for readers alone; correct it if it is a slip"
            yield f"field {field.name!r}: the unit {field.unit!r} is not a common one: {guess}"
        elif (named := unit_of_name(field.name)) and unit not in {named, "number"}:
            yield f"field {field.name!r}: its unit is {field.unit!r}, and its name says {named!r}"


def _unread(tables: _Tables, fields: DeclaredFields) -> Iterator[str]:
    """Yield the fields that are declared, and that neither a row nor a formula reads."""
    read = {row.aggregate.name for row in tables.rows if isinstance(row.aggregate, OwnValue)}
    read = read.union(*(fields_read(row) for row in tables.rows))
    for name in fields.by_name:
        if name not in read:
            yield f"field {name!r} is declared, and no row and no formula reads it"
