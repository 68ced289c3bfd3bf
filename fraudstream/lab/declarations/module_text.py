"""Writes a module of features: the fields that were chosen, a row for each, and formulas that are worth a try.

Formulas are the distance between two places, an amount divided by another one, and whether two countries differ.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import combinations
from textwrap import wrap
from typing import NamedTuple

from features.own_fields import FieldKind
from fraudstream.lab.declarations.given_file import shown_name
from fraudstream.lab.declarations.selection import Ground, ProposedField, UnusedColumn
from fraudstream.lab.declarations.units import MONEY

_MOST_OF_A_KIND = 3
_WIDTH = 116
_LATITUDE, _LONGITUDE = frozenset({"lat", "latitude"}), frozenset({"lon", "lng", "long", "longitude"})
_ROWS_OF_CONTRACT = ("mcc", "channel", "merchant_country", "card_country")


class DraftFacts(NamedTuple):
    """What a module is written of.

    Attributes:
        file: the name of the file.
        fields: that are proposed.
        left_out: columns, and why.
        given: the fields of the contract that the file has.
        currencies: how many there are.
    """

    file: str
    fields: Sequence[ProposedField]
    left_out: Sequence[UnusedColumn]
    given: frozenset[str]
    currencies: int


class _ProposedFormula(NamedTuple):
    name: str
    code: str
    unit: str
    meaning: str


def module_text(facts: DraftFacts) -> str:
    """Return the source of the module."""
    formulas = [*_distances(facts), *_ratios(facts), *_differences(facts)]
    names = {"DEFAULT_2", "own"} | {field.kind.value for field in facts.fields if field.kind is not FieldKind.TOKEN}
    names |= {"Formula", "OwnPayment"} if formulas else set()
    imported = ", ".join(sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name)))
    parts = [
        '"""Fields of one\'s own and features of them, drafted from a file of payments: read it, and edit it."""\n',
        *(["import math\n"] if any("math." in one.code for one in formulas) else []),
        f"from fraudstream.features import {imported}\n",
        "\n".join(_head(facts)),
        "\n".join(["FIELDS = (", *_field_lines(facts.fields), *_token_lines(facts.left_out), ")", ""]),
        *(one.code for one in formulas),
        *([""] if formulas else []),
        "\n".join(
            [
                *([""] if formulas else []),
                "FEATURES = (",
                "    *DEFAULT_2,",
                *_row_lines(facts),
                *map(_formula_row, formulas),
                ")",
                "",
            ]
        ),
    ]
    return "\n".join(parts)


def _head(facts: DraftFacts) -> Iterator[str]:
    yield from _comment(
        f"Drafted from {shown_name(facts.file)}. Units and meanings are guesses from names; bounds are those of the "
        "data, with as much room again: a value out of bounds is left out of its payment."
    )
    renamed = [one for one in facts.fields if one.name != one.column.name]
    if renamed:
        yield "# Fields with other names than their columns have:"
        yield from (f"#     {one.name}: {one.column.shown}" for one in renamed)
    out = [one for one in facts.left_out if one.ground is not Ground.TOKEN]
    if out:
        yield "# Left out, leaks first:"
        for one in out:
            yield from _comment(f"{one.column.shown}: {one.why}", indent="    ")
    yield ""


def _comment(text: str, *, before: str = "", indent: str = "") -> list[str]:
    first = f"{before}# {indent}"
    return wrap(text, _WIDTH, initial_indent=first, subsequent_indent=first + indent)


def _field_lines(fields: Sequence[ProposedField]) -> Iterator[str]:
    for field in fields:
        said = [json.dumps(field.name)]
        if field.kind is FieldKind.NUMBER:
            said += [f"decimals={field.decimals}"] if field.decimals else []
            said += [f"unit={json.dumps(field.unit)}"] if field.unit else []
        said.append(f"meaning={json.dumps(_meaning(field))}")
        bounds = (("least", field.least), ("most", field.most))
        said += [f"{name}={_literal(bound, field.decimals)}" for name, bound in bounds if bound is not None]
        if field.kind is not FieldKind.NUMBER:
            said = said[:2]
        if field.note:
            yield from _comment(f"{field.name}: {field.note}", before="    ")
        yield from _call(field.kind.value, said)


def _meaning(field: ProposedField) -> str:
    return f"{field.words} in {field.unit}" if field.states_unit else field.words


def _call(function: str, arguments: Sequence[str]) -> Iterator[str]:
    line = f"    {function}({', '.join(arguments)}),"
    if len(line) <= _WIDTH:
        yield line
        return
    yield f"    {function}("
    yield from (f"        {argument}," for argument in arguments)
    yield "    ),"


def _literal(bound: float, decimals: int) -> str:
    if bound == int(bound):
        return f"{int(bound):_}" if abs(bound) >= 10_000 else str(int(bound))  # noqa: PLR2004 - as the page writes them
    return f"{bound:.{decimals}f}".rstrip("0")


def _token_lines(left_out: Sequence[UnusedColumn]) -> Iterator[str]:
    for one in left_out:
        if one.ground is Ground.TOKEN:
            yield from _comment(f"{one.column.shown}: {one.why}", before="    ")


def _row_lines(facts: DraftFacts) -> Iterator[str]:
    yield '    own("amount"),'
    yield '    own("hour"),'
    if facts.currencies > 1:
        yield '    own("currency"),'
    yield from (f'    own("{name}"),' for name in _ROWS_OF_CONTRACT if name in facts.given)
    yield from (f"    own({json.dumps(field.name)})," for field in facts.fields)


def _formula_row(formula: _ProposedFormula) -> str:
    arguments = [json.dumps(formula.name), "1", formula.name, json.dumps(formula.unit), json.dumps(formula.meaning)]
    line = f"    own(Formula({', '.join(arguments)})),"
    if len(line) <= _WIDTH:
        return line
    listed = "".join(f"            {argument},\n" for argument in arguments)
    return f"    own(\n        Formula(\n{listed}        )\n    ),"


def _numbers(facts: DraftFacts) -> list[ProposedField]:
    return [field for field in facts.fields if field.kind is FieldKind.NUMBER]


def _distances(facts: DraftFacts) -> list[_ProposedFormula]:
    """Propose distances between the first places of which there are two coordinates."""
    places = {"terminal": ("latitude", "longitude")} if {"latitude", "longitude"} <= facts.given else {}
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for field in _numbers(facts):
        words = set(field.column.words)
        axis = "lat" if words & _LATITUDE else "lon" if words & _LONGITUDE else ""
        if axis:
            rest = tuple(word for word in field.column.words if word not in _LATITUDE | _LONGITUDE)
            found.setdefault(rest, {})[axis] = field.name
    for rest, axes in found.items():
        if len(axes) == 2:  # noqa: PLR2004 - coordinates of a place
            places["_".join(rest) or "given"] = (axes["lat"], axes["lon"])
    pairs = list(combinations(places.items(), 2))[:_MOST_OF_A_KIND]
    return [_distance(*first, *second) for first, second in pairs]


def _distance(one: str, at: tuple[str, str], other: str, there: tuple[str, str]) -> _ProposedFormula:
    name = _formula_name(f"{one}_to_{other}_km")
    names = ", ".join(json.dumps(part) for part in (*at, *there))
    code = (
        f"\ndef {name}(payment: OwnPayment) -> float | None:\n"
        '    """Return the distance between two places, by the haversine formula."""\n'
        f"    degrees = [payment[name] for name in ({names})]\n"
        "    if any(one is None for one in degrees):\n"
        "        return None\n"
        "    lat, lon, other_lat, other_lon = (math.radians(float(one)) for one in degrees)\n"
        "    part = math.sin((other_lat - lat) / 2) ** 2\n"
        "    part += math.cos(lat) * math.cos(other_lat) * math.sin((other_lon - lon) / 2) ** 2\n"
        "    return 12_742.0 * math.asin(math.sqrt(min(1.0, max(0.0, part))))\n"
    )
    return _ProposedFormula(name, code, "km", f"distance from {one} to {other}".replace("_", " "))


def _ratios(facts: DraftFacts) -> list[_ProposedFormula]:
    """Propose the own amount divided by other amounts."""
    money = [one for one in _numbers(facts) if MONEY & set(one.column.words) and one.least == 0]
    found = []
    for field in money[:_MOST_OF_A_KIND]:
        name = _formula_name(f"amount_to_{field.name}")
        code = (
            f"\ndef {name}(payment: OwnPayment) -> float | None:\n"
            f'    """Divide the amount by another one, which need not be in the same currency."""\n'
            f"    other = payment[{json.dumps(field.name)}]\n"
            '    return float(payment["amount"]) / float(other) if other else None\n'
        )
        found.append(_ProposedFormula(name, code, "ratio", f"own amount divided by {field.words}"))
    return found


def _differences(facts: DraftFacts) -> list[_ProposedFormula]:
    """Propose whether two countries differ."""
    countries: list[str] = [name for name in ("card_country", "merchant_country") if name in facts.given]
    countries += [one.name for one in facts.fields if one.kind is FieldKind.CATEGORY and one.column.are_countries]
    found = []
    for one, other in list(combinations(countries, 2))[:_MOST_OF_A_KIND]:
        name = _formula_name(f"{one}_is_not_{other}")
        code = (
            f"\ndef {name}(payment: OwnPayment) -> float | None:\n"
            '    """Tell whether two countries differ."""\n'
            f"    one, other = payment[{json.dumps(one)}], payment[{json.dumps(other)}]\n"
            "    return None if one is None or other is None else float(one != other)\n\n"
        )
        found.append(_ProposedFormula(name, code, "0 or 1", f"{one} differs from {other}".replace("_", " ")))
    return found


def _formula_name(text: str) -> str:
    """Return a name without what formulas may not have: two underscores, or a first digit."""
    parts = [part for part in text.split("_") if part]
    return "_".join(parts if parts[0][0].isalpha() else ["of", *parts])
