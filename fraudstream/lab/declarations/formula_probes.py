"""Calls the formulas of a feature set on generated payments, and says what each reads and where it fails.

The payments are those by which an artifact is probed: with and without histories, with values at the ends of their
bounds and between. Beside these, each field is left out alone, all together, and all numbers are 0.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import CodeType, FunctionType
from typing import NamedTuple

import numpy as np

from features.declaration import Feature, FeatureSet
from features.errors import FormulaError
from features.formulas import Formula, Function
from features.history.store import Observed, Transactions
from features.own_fields import CARRIED, DeclaredFields, FieldKind, FieldValue
from features.vector.vectorise import vectorise
from fraudstream.lab.training.probe_histories import invented_payments

_VARIED = 8
"""So many payments are tried with each field left out, and so on."""
_TEXT = "AT"
Varied = tuple[str, dict[str, FieldValue]]
"""What is special about a payment, and its own fields."""


class FormulaFindings(NamedTuple):
    """What is wrong with the formulas of a set, and how many payments each was called for."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    payments: int


class _Probed:
    """The outcome of the calls of one row's formula."""

    def __init__(self, row: Feature, fields: DeclaredFields) -> None:
        self.row = row
        self.set = FeatureSet((row,), fields)
        self.calls = self.failed = self.undefined = 0
        self.first = ""

    def call(self, own: Transactions, observed: Observed, when: str) -> None:
        self.calls += 1
        try:
            value = vectorise(self.set, own, observed)[0, 0]
        except FormulaError as error:
            self.failed += 1
            self.first = self.first or f"{error}{when}"
        else:
            self.undefined += bool(np.isnan(value))

    @property
    def problem(self) -> str:
        """What is wrong with the formula, with how often; empty if nothing is."""
        if not self.failed:
            return ""
        if self.failed == self.calls:
            return f"{self.first}; so for all {self.calls} generated payments: nothing can compute it"
        return (
            f"{self.first}; so for {self.failed} of {self.calls} generated payments: return None where it is undefined"
        )


def probe_formulas(rows: Sequence[Feature], fields: DeclaredFields) -> FormulaFindings:
    """Call each formula of some valid rows, with the fields that their module declares."""
    probed = [_Probed(row, fields) for row in rows if isinstance(row.aggregate, Formula)]
    if not probed:
        return FormulaFindings((), (), 0)
    for number, (own, observed) in enumerate(invented_payments(FeatureSet(tuple(rows), fields))):
        for when, values in _variants(fields) if number < _VARIED else ():
            varied = replace(own, own=[values])
            for one in probed:
                one.call(varied, observed, when)
        for one in probed:
            one.call(own, observed, "")
    unseen = [one.row for one in probed if "LookupError" not in one.first]
    problems = list(dict.fromkeys(text for row in unseen for text in _wrong_reads(row, fields)))
    problems += [one.problem + _hint(one, fields) for one in probed if one.failed]
    undefined = [one.row.name for one in probed if not one.failed and one.undefined == one.calls]
    warnings = [f"feature {name!r}: its formula is undefined for every generated payment" for name in undefined]
    return FormulaFindings(tuple(problems), tuple(warnings), probed[0].calls)


def _variants(fields: DeclaredFields) -> Iterator[Varied]:
    whole: dict[str, FieldValue] = dict.fromkeys(CARRIED, _TEXT)
    for field in fields.fields:
        is_text = field.kind in {FieldKind.CATEGORY, FieldKind.TOKEN}
        least, most = (0, 1) if field.kind is FieldKind.FLAG else field.bounds
        whole[field.name] = _TEXT if is_text else max(least, min(most, 1))
    yield " (with all fields)", whole
    for name in whole:
        yield f" ({name} is absent)", {other: value for other, value in whole.items() if other != name}
    yield " (all fields are absent)", {}
    zeros = {one.name: 0 for one in fields.fields if one.kind is FieldKind.NUMBER and one.read(0) is not None}
    yield " (numbers are 0)", {**whole, **zeros}


def _hint(probed: _Probed, fields: DeclaredFields) -> str:
    """Return which texts a failing formula reads, if it took one for a number."""
    if not any(kind in probed.first for kind in ("ValueError", "TypeError")):
        return ""
    texts = [
        f"{name} is a {field.kind.value}"
        for name in sorted(fields_read(probed.row))
        if (field := fields.found(name)) is not None and field.kind in {FieldKind.CATEGORY, FieldKind.TOKEN}
    ]
    return f" ({', '.join(texts)}: its values are texts, no numbers)" if texts else ""


def _wrong_reads(row: Feature, fields: DeclaredFields) -> Iterator[str]:
    """Yield what a formula reads by name that is no field."""
    assert isinstance(row.aggregate, Formula)  # noqa: S101 - the caller chose it
    for name in sorted(_subscripts(row.aggregate.function)):
        if fields.found(name) is None:
            yield f"feature {row.name!r}: its formula reads {name!r}, which is not declared in FIELDS"


def _subscripts(function: Function) -> set[str]:
    """Return the texts by which a function subscripts its first argument; none where its source cannot be read."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return set()
    (body,) = tree.body[:1] or (None,)
    if not isinstance(body, ast.FunctionDef) or not (body.args.posonlyargs or body.args.args):
        return set()
    first = [*body.args.posonlyargs, *body.args.args][0].arg
    return {
        node.slice.value
        for node in ast.walk(body)
        if isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == first
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str)
    }


def fields_read(row: Feature) -> set[str]:
    """Return all texts that a row's formula has, or functions that it names: the fields it may read are among them."""
    if not isinstance(row.aggregate, Formula):
        return set()
    function = inspect.unwrap(row.aggregate.function)
    seen, texts = set[CodeType](), set[str]()
    pending = [function] if isinstance(function, FunctionType) else []
    while pending:
        one = pending.pop()
        if one.__code__ in seen:
            continue
        seen.add(one.__code__)
        for code in _codes(one.__code__):
            texts |= {value for value in code.co_consts if isinstance(value, str)}
            named = [one.__globals__.get(name) for name in code.co_names]
            texts |= {value for value in named if isinstance(value, str)}
            pending += [value for value in named if isinstance(value, FunctionType)]
    return texts


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _codes(inner)
