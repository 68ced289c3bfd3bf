"""Chooses which columns of a file are proposed as fields of one's own, and says of all others why they are left out.

Leaks come first: what nobody knew at the payment looks best in training and is worth nothing live. Then what may not be
kept (card numbers, personal data), then what tells nothing. The rules look at names, counts and shares alone.
"""

import re
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from features.aggregates import AGGREGATES
from features.history.store import Entity
from features.own_fields import CONTRACT_FIELDS, LARGEST, MOST_DECIMALS, OTHER_COLUMNS, FieldKind, field_problems, flag
from fraudstream.lab.declarations.given_file import MOSTLY, ColumnProfile, GivenFile, others, word_set
from fraudstream.lab.declarations.roles import FIELDS, Guess
from fraudstream.lab.declarations.units import guessed_unit, unit_of_name
from fraudstream.lab.training.leaks import FEWEST_FRAUDS
from fraudstream_client.field_types import LONGEST_ATTRIBUTE, MOST_ATTRIBUTES
from models.categories import FEWEST_ROWS, MOST_CATEGORIES

ALONE = 0.95
"""ROC AUC of one column alone from which it is taken for a leak: what is known at a payment stays below."""
ALONE_OF_A_CARD = 0.8
"""Likewise, of a column that is the same in all payments of a card."""
PASSED_ON = OTHER_COLUMNS - FIELDS - {"attributes", "schema"}
"""Columns of the contract that a file may have by these very names; they are no fields of one's own."""
_AFTER = re.compile(
    r"chargebacks?|disput\w*|refund\w*|revers(al|ed)\w*|settle\w*|status|updat\w*|modified|resol\w*|closed?|review\w*|"
    r"investigat\w*|outcome|verdict|decision|decided|confirmed|reported|blocked|frozen|after|posted|recover\w*|"
    r"fraud\w*|label\w*|target|writeoff|representment|arbitration|complaint\w*"
)
_KNOWN_BEFORE = frozenset({"previous", "prev", "prior", "past", "last", "before", "history", "earlier"})
_PERSONAL = word_set(
    "email mail phone mobile msisdn telephone firstname lastname surname fullname cardholder street dob birth birthday "
    "birthdate ssn passport iban cvv cvc pan"
)
_NAMES_OF = frozenset({"first", "last", "full", "holder", "customer", "card", "user", "client"})
_ADDRESSES = frozenset({"ip", "mac", "url", "wallet"})
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_IP = re.compile(r"\d{1,3}(\.\d{1,3}){3}|[0-9a-fA-F]{0,4}(:[0-9a-fA-F]{0,4}){3,7}")
_PHONE = re.compile(r"\+\d[\d ()/-]{7,}")
_JSON = re.compile(r"\s*[{\[].*[}\]]\s*", re.DOTALL)
_CODES = word_set(
    "bin iin mcc zip zipcode postcode postal code type id category cat class group segment asn port channel country "
    "version hash key token tier state region"
)
_DATES_TO_COME = frozenset({"expiry", "expires", "exp", "valid", "until", "due", "departure", "checkin", "delivery"})
_IDENTIFIES, _LEAST_TEXTS = 0.5, 100
_LATER_MS, _OFTEN_LATER = 60_000, 0.01
_LONGITUDE = frozenset({"lon", "lng", "long", "longitude"})
_WHOLE_UNITS = {"percent": 100.0, "share": 1.0, "score": 1.0}


class Ground(IntEnum):
    """Why a column is left out, in the order in which they are told."""

    LEAK = 0
    PRIVATE = 1
    TOKEN = 2
    TIME = 3
    FORM = 4
    TELLS_NOTHING = 5
    TOO_MANY = 6


class UnusedColumn(NamedTuple):
    """A column that is not proposed, and why."""

    column: ColumnProfile
    ground: Ground
    why: str


class ProposedField(NamedTuple):
    """A field that a column becomes; bounds are of the number itself, `auc` of the column alone, NaN if not known."""

    column: ColumnProfile
    name: str
    kind: FieldKind
    unit: str = ""
    decimals: int = 0
    least: float | None = None
    most: float | None = None
    auc: float = float("nan")
    note: str = ""

    @property
    def words(self) -> str:
        """Its meaning in words, without the unit: that is named beside it."""
        words = self.name.split("_")
        return " ".join(words[:-1] if self.states_unit else words)

    @property
    def states_unit(self) -> bool:
        """Whether its name ends in its unit."""
        return "_" in self.name and bool(self.unit) and unit_of_name(self.name) == self.unit


class Selection(NamedTuple):
    """The fields that are proposed, the columns that are left out, and those that are passed on by their own names."""

    fields: tuple[ProposedField, ...]
    left_out: tuple[UnusedColumn, ...]
    passed_on: tuple[ColumnProfile, ...]


def select(file: GivenFile, roles: Mapping[str, Guess], fraud: str, currency: str) -> Selection:
    """Choose the fields; `fraud` is the label as SQL, NULL where there is none, `currency` that of amounts."""
    given = {name: guess.column for name, guess in roles.items() if guess.column is not None}
    passed = tuple(column for column in others(file.columns, given) if column.name in PASSED_ON)
    rules = _Rules(file, given, fraud)
    proposed: list[ProposedField] = []
    left: list[UnusedColumn] = []
    names = set[str]()
    for column in others(file.columns, given | {one.name: one for one in passed}):
        found = rules.look(column)
        if isinstance(found, UnusedColumn):
            left.append(found)
            continue
        kind, auc, note = found
        name = field_name(column.name, names)
        names.add(name)
        proposed.append(_field(column, name, kind, guessed_unit(column.words, currency))._replace(auc=auc, note=note))
    ranked = sorted(proposed, key=lambda one: 0.0 if np.isnan(one.auc) else -one.auc)
    too_many = {one.column.at for one in ranked[MOST_ATTRIBUTES:]}
    left += [
        UnusedColumn(
            one.column, Ground.TOO_MANY, f"more than {MOST_ATTRIBUTES} fields: these rank frauds less by themselves"
        )
        for one in ranked[MOST_ATTRIBUTES:]
    ]
    fields = tuple(one for one in proposed if one.column.at not in too_many)
    return Selection(fields, tuple(sorted(left, key=lambda one: (one.ground, one.column.at))), passed)


class _Rules:
    """The rules for one column, in their order."""

    def __init__(self, file: GivenFile, given: Mapping[str, ColumnProfile], fraud: str) -> None:
        self._file = file
        self._time = given["occurred_at"].time
        self._card = given["card_id"].text if "card_id" in given else ""
        self._fraud = fraud
        (self._frauds,) = file.execute(f"SELECT count(*) FILTER (({fraud}) = 1) FROM given").fetchall()[0]  # noqa: S608 - our own

    def look(self, column: ColumnProfile) -> UnusedColumn | tuple[FieldKind, float, str]:
        """Return why a column is left out, or its kind, its AUC alone, and what is to be said of it."""
        for ground, why in self._first_reasons(column):
            alone = self._auc(column) if ground is Ground.LEAK and not column.nested else np.nan
            return UnusedColumn(column, ground, why if np.isnan(alone) else f"{why}; ROC AUC alone {alone:.3f}")
        auc = self._auc(column)
        if auc >= ALONE:
            why = f"it ranks the frauds nearly alone: ROC AUC {auc:.3f}; what is known at a payment stays below {ALONE}"
            return UnusedColumn(column, Ground.LEAK, why)
        for ground, why in _reasons_of_form(column, self._file.rows):
            return UnusedColumn(column, ground, why)
        kind, note = kind_of(column), ""
        if self._card and self._file.is_constant_per_card(column, self._card, self._time):
            if kind is FieldKind.NUMBER or auc >= ALONE_OF_A_CARD:
                return UnusedColumn(column, Ground.LEAK, _constant_per_card(auc))
            note = "the same in all payments of a card: as it was then, not as it is today?"
        return kind, auc, note

    def _auc(self, column: ColumnProfile) -> float:
        if self._frauds < FEWEST_FRAUDS:
            return float("nan")
        return self._file.auc_alone(column, self._fraud, self._card or "row")

    def _first_reasons(self, column: ColumnProfile) -> Iterator[tuple[Ground, str]]:
        """Yield what keeps a column from being looked at any further."""
        after = next((word for word in column.words if _AFTER.fullmatch(word)), "")
        if after and not _KNOWN_BEFORE & set(column.words):
            yield Ground.LEAK, f"by its name ({after}) it may come after the payment, or from its label"
        if column.nested or (column.sample and column.share(_JSON.fullmatch) >= MOSTLY):
            yield Ground.FORM, "its values are lists or objects: attributes are flat, so make a column of each part"
        if column.has_card_number:
            yield Ground.PRIVATE, "it holds a card number, or what looks like one: replace card numbers by tokens first"
        if _is_personal(column):
            yield Ground.PRIVATE, "personal data, by its name or its values: no model needs it as it is"
        if not column.filled:
            yield Ground.TELLS_NOTHING, "it is empty"
        if column.is_time:
            yield self._of_time(column)

    def _of_time(self, column: ColumnProfile) -> tuple[Ground, str]:
        (later,) = self._file.execute(
            f"SELECT count(*) FROM given WHERE {column.time} > {self._time} + {_LATER_MS}"  # noqa: S608 - our own
        ).fetchall()[0]
        if later > _OFTEN_LATER * column.filled and not _DATES_TO_COME & set(column.words):
            share = later / column.filled
            return Ground.LEAK, f"a time after the payment in {share:.0%} of its rows: nobody knew it at the payment"
        return Ground.TIME, "a time: make a number of it, such as the days or seconds between it and the payment"


def _constant_per_card(auc: float) -> str:
    alone = "" if np.isnan(auc) else f", ROC AUC alone {auc:.2f}"
    return (
        f"a probable leak: the same in all payments of a card{alone}, as if today's value stood in old rows; export "
        "what was known at the payment, or declare it if it never changes"
    )


def _reasons_of_form(column: ColumnProfile, rows: int) -> Iterator[tuple[Ground, str]]:
    if column.longest > LONGEST_ATTRIBUTE and not column.is_number:
        yield Ground.FORM, f"free text: values of up to {column.longest:,} characters, more than {LONGEST_ATTRIBUTE}"
    if column.distinct == 1 and column.filled == rows:
        yield Ground.TELLS_NOTHING, "it has one value alone"
    if column.filled < FEWEST_ROWS:
        yield Ground.TELLS_NOTHING, f"only {column.filled} rows have a value"
    if kind_of(column) is FieldKind.TOKEN:
        values = f"{column.distinct:,} different values: an identifier"
        yield Ground.TOKEN, f"{values}, so a token: wait for entities (histories by it), or let a formula compare it"
    if column.is_number and max(abs(column.least), abs(column.most)) > LARGEST:
        yield Ground.FORM, "numbers beyond 10^12: divide them, or send them as texts"


def kind_of(column: ColumnProfile) -> FieldKind:
    """Return what kind of field a column becomes; a token: it identifies something."""
    if column.is_flag:
        return FieldKind.FLAG
    if column.is_number and not _is_code(column):
        return FieldKind.NUMBER
    identifies = column.distinct > max(_LEAST_TEXTS, _IDENTIFIES * column.filled)
    if column.distinct > MOST_CATEGORIES or identifies or (column.sample and column.share(_IP.fullmatch) >= MOSTLY):
        return FieldKind.TOKEN
    return FieldKind.CATEGORY


def _is_code(column: ColumnProfile) -> bool:
    return column.whole == column.filled and bool(_CODES & set(column.words)) and not column.negative


def _is_personal(column: ColumnProfile) -> bool:
    words = set(column.words)
    by_name = words & _PERSONAL or ("name" in words and (words & _NAMES_OF or len(words) == 1))
    if by_name or ("address" in words and not words & _ADDRESSES):
        return not (column.is_flag or column.is_number)
    return bool(column.sample) and max(column.share(_EMAIL.fullmatch), column.share(_PHONE.fullmatch)) >= _IDENTIFIES


def field_name(name: str, taken: set[str]) -> str:
    """Return the name of a field for a column: of the contract's form, none of the contract's own, none of `taken`."""
    made = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_")
    made = made if made[:1].isalpha() else f"column_{made}".strip("_")
    if made in CONTRACT_FIELDS or made in _OF_AGGREGATES or any(field_problems((flag(made[:_LONGEST]),))):
        made = f"given_{made}"
    made = made[:_LONGEST].strip("_")
    number, numbered = 2, made
    while numbered in taken:
        numbered, number = f"{made}_{number}", number + 1
    return numbered


_LONGEST = 50
_OF_AGGREGATES = frozenset(one.value for one, info in AGGREGATES.items() if Entity.NONE in info.of)


def _field(column: ColumnProfile, name: str, kind: FieldKind, unit: str) -> ProposedField:
    if kind is not FieldKind.NUMBER:
        return ProposedField(column, name, kind)
    decimals = column.decimals if column.decimals <= MOST_DECIMALS else 6
    whole = _WHOLE_UNITS.get(unit)
    degrees = 180.0 if _LONGITUDE & set(column.words) else 90.0
    if unit == "degrees" and -degrees <= column.least and column.most <= degrees:
        least, most = -degrees, degrees
    elif whole is not None and column.least >= 0 and column.most <= whole:
        least, most = 0.0, whole
    else:
        least = 0.0 if column.least >= 0 else -_round_above(-column.least)
        most = _round_above(column.most) if column.most > 0 else 0.0
    while decimals and max(-least, most) * 10**decimals > LARGEST:
        decimals -= 1
    power = 10**decimals
    bounds = [
        None if abs(bound) * power > LARGEST else float(np.copysign(np.ceil(abs(bound) * power) / power, bound))
        for bound in (least, most)
    ]
    return ProposedField(column, name, kind, unit, decimals, bounds[0], bounds[1])


def _round_above(value: float) -> float:
    """Return the least number that is 1, 2 or 5 times a power of ten and at least twice as large as a positive one."""
    power = 10.0 ** np.floor(np.log10(2 * value))
    factor = next(one for one in (1, 2, 5, 10) if one * power >= 2 * value)
    return float(f"{factor * power:.12g}")
