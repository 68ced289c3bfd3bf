"""Looks up the reason code of a feature, and writes its sentences.

A deployment with feature rows of its own adds codes for them: a tuple `REASON_CODES` of `ReasonCode` in a module of
`FRAUDSTREAM_FEATURES`, whose phrases are searched before those of the product.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from itertools import product
from types import MappingProxyType
from typing import NamedTuple

from features.declaration import fields_of
from features.errors import DeclarationError
from features.formulas import import_attribute, refuse_hidden
from features.history import records
from features.own_fields import (
    CONTRACT_FIELDS,
    NO_FIELDS,
    DeclaredFields,
    FieldKind,
    OwnField,
    OwnValue,
    category_code,
)
from features.reason_codes import OTHER, REASON_CODES, Phrase, ReasonCode, Unit

NO_TEXTS: Mapping[str, str] = MappingProxyType({})
_CODE = re.compile(r"[a-z][a-z0-9_]{0,31}")
_NAME = re.compile(r"(?P<stem>.+?)(?:_(?P<delayed>delayed))?(?:_(?P<window>[1-9][0-9]*[smhd]))?")
_BRACES = re.compile(r"\{window\}|[{}]")
_DIGIT = re.compile(r"\d")
_UNITS = {"s": "s", "m": "min", "h": "h", "d": "d"}
_SECONDS = ((86_400, "d"), (3_600, "h"), (60, "min"))
"""Units of a duration, used from two of them on."""


class NamedFeature(NamedTuple):
    """What a feature's name says: its stem, whether its window is delayed, and its window as text, such as `30 d`."""

    stem: str
    is_delayed: bool
    window: str


def parse_name(feature: str) -> NamedFeature:
    """Take a feature's name apart."""
    found = _NAME.fullmatch(feature)
    if found is None:
        return NamedFeature(feature, is_delayed=False, window="")
    window = found["window"] or ""
    shown = f"{window[:-1]} {_UNITS[window[-1]]}" if window else ""
    return NamedFeature(found["stem"], bool(found["delayed"]), shown)


class ReasonTable:
    """The codes of a deployment: its own, then those of the product; and what the values of its own fields mean.

    Raises:
        DeclarationError: one of its own cannot be used; the message says which and why.
    """

    def __init__(self, own: Sequence[object] = (), fields: DeclaredFields = NO_FIELDS) -> None:
        self._fields = {OwnValue(name).column: field for name, field in {**CONTRACT_FIELDS, **fields.by_name}.items()}
        problem = next(_problems(own), None)
        if problem is not None:
            raise DeclarationError(problem)
        self.codes = (*(one for one in own if isinstance(one, ReasonCode)), *REASON_CODES)
        self._order = {one.code: at for at, one in enumerate(self.codes)}
        self._phrases = {
            phrase.stem: (code.code, phrase) for code in reversed(self.codes) for phrase in reversed(code.phrases)
        }

    def code_of(self, feature: str) -> str:
        """Return the code of a feature; `other` if none names it."""
        return self._found(feature)[0]

    def order(self, code: str) -> int:
        """Return a code's place in the table."""
        return self._order[code]

    def analyst_sentence(
        self, feature: str, value: float | None, currency: str, texts: Mapping[str, str] = NO_TEXTS
    ) -> str:
        """Return the sentence for an analyst, with the value; None is an undefined one, as in the score.

        `texts` are the payment's categories, by field.
        """
        name, phrase = parse_name(feature), self._found(feature)[1]
        if phrase is None and feature in self._fields:
            return _of_field(self._fields[feature], value, texts)
        if phrase is None:
            return f"{feature}: {_shown('plain', value, currency)}"
        window = f"{name.window} up to the label delay" if name.is_delayed else name.window
        if phrase.unit == "flag" and value is not None:
            return (phrase.text if value else phrase.otherwise).format(window=window)
        return f"{phrase.text.format(window=window)}: {_shown(phrase.unit, value, currency)}"

    def _found(self, feature: str) -> tuple[str, Phrase | None]:
        for stem in (feature, parse_name(feature).stem):
            if stem in self._phrases:
                return self._phrases[stem]
        return OTHER, None


def load_reasons(modules: str) -> ReasonTable:
    """Return the codes of a deployment, with those that the comma-separated modules of its features have.

    Raises:
        DeclarationError: a module cannot be imported, or its codes cannot be used.
    """
    own: dict[str, object] = {}
    fields = NO_FIELDS
    for name in filter(None, (part.strip() for part in modules.split(","))):
        refuse_hidden(name)
        import_attribute(name, "FEATURES")
        found = getattr(import_module(name), "REASON_CODES", ())
        if not isinstance(found, Sequence) or isinstance(found, str):
            raise DeclarationError(f"{name}.REASON_CODES must be a tuple of ReasonCode, not a {type(found).__name__}")
        own |= {str(one): one for one in found}
        fields = fields.joined(fields_of(name))
    return ReasonTable(tuple(own.values()), fields)


def _of_field(field: OwnField, value: float | None, texts: Mapping[str, str]) -> str:
    """Return what a field's value is, in the words of its declaration."""
    meaning = field.meaning[:1].upper() + field.meaning[1:]
    if value is None:
        return f"{meaning}: undefined"
    match field.kind:
        case FieldKind.CATEGORY:
            known = texts.get(field.name) or _contract_texts(field.name).get(int(value))
            return f"{meaning}: {known or 'another'}"
        case FieldKind.FLAG:
            return f"{meaning}: {'yes' if value else 'no'}"
    unit = "" if field.unit == "number" else f" {field.unit}"
    return f"{meaning}: {value:,.{field.decimals}f}{unit}" if field.name != "amount" else f"{meaning}: {value:,.2f}"


@lru_cache
def _contract_texts(name: str) -> Mapping[int, str]:
    """Return the texts of a category of the contract by their codes."""
    letters = [chr(ord("A") + at) for at in range(records.ALPHABET)]
    texts: Iterable[str] = ()
    match name:
        case "mcc":
            texts = (f"{at:04}" for at in range(10_000))
        case "channel":
            texts = records.CHANNELS
        case "merchant_country" | "card_country":
            texts = map("".join, product(letters, repeat=2))
        case "currency":
            texts = map("".join, product(letters, repeat=3))
    return {category_code(name, text): text for text in texts}


def _problems(own: Sequence[object]) -> Iterator[str]:
    """Yield what is wrong with a deployment's own codes."""
    known = {one.code for one in REASON_CODES}
    for one in own:
        if not isinstance(one, ReasonCode):
            yield f"REASON_CODES: expected entries made by ReasonCode, got {one!r:.80}"
            continue
        if one.code in known or not _CODE.fullmatch(one.code):
            yield (
                f"REASON_CODES: {one.code!r} must begin with a small letter, hold at most 32 small letters, digits and "
                "_, and be no other code"
            )
        known.add(one.code)
        if not one.customer or _DIGIT.search(one.customer):
            yield f"REASON_CODES: {one.code}: the customer's sentence must hold words and no number"
        yield from _phrase_problems(one)


def _phrase_problems(code: ReasonCode) -> Iterator[str]:
    for phrase in code.phrases:
        if phrase.unit not in _WRITERS:
            yield f"REASON_CODES: {code.code}: {phrase.stem} has the unit {phrase.unit!r}, not one of {list(_WRITERS)}"
        if set(_BRACES.findall(phrase.text + phrase.otherwise)) - {"{window}"}:
            yield f"REASON_CODES: {code.code}: the sentence for {phrase.stem} may hold {{window}}, and no other braces"
        if (phrase.unit == "flag") != bool(phrase.otherwise):
            yield f"REASON_CODES: {code.code}: {phrase.stem} must have `otherwise` if it is a flag, and only then"


def _duration(value: float) -> str:
    for seconds, unit in _SECONDS:
        if value >= 2 * seconds:
            return f"{value / seconds:,.1f} {unit}"
    return f"{value:,.0f} s"


_WRITERS: Mapping[Unit, Callable[[float], str]] = MappingProxyType(
    {
        "amount": lambda value: f"{value:,.2f}",
        "count": lambda value: f"{value:,.0f}",
        "flag": lambda value: f"{value:g}",
        "km": lambda value: f"{value:,.0f} km",
        "km/h": lambda value: f"{value:,.0f} km/h",
        "ratio": lambda value: f"{value:,.2f} times",
        "share": lambda value: f"{value:.1%}",
        "days": lambda value: f"{value:,.1f} d",
        "duration": _duration,
        "plain": lambda value: f"{value:,.6g}",
    }
)


def _shown(unit: Unit, value: float | None, currency: str) -> str:
    if value is None:
        return "undefined"
    return f"{_WRITERS[unit](value)} {currency}" if unit == "amount" else _WRITERS[unit](value)
