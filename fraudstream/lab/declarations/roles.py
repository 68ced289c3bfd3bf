"""Finds which columns of a file are those of the contract: by their names, and by what their values are like.

A name counts three parts, values two. What nobody can tell is left to the person who reads the table: how sure a guess
is, and which other columns might be meant.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from fraudstream.lab.dataset.columns import TOKEN
from fraudstream.lab.dataset.errors import InputFileError
from fraudstream.lab.declarations.given_file import ELAPSED, MOSTLY, ColumnProfile, shown_name, word_set
from fraudstream.lab.declarations.units import MONEY
from stream.contract.iso import CURRENCY_DECIMALS

_BY_NAME, _BY_VALUES = 0.6, 0.4
_SURE, _LIKELY, _LEAST, _OTHER = 0.9, 0.6, 0.4, 0.35
_MOST_OTHERS = 2
_RARE, _FEW = 0.05, 0.5
_PAYMENT = {"txn", "trans", "transaction", "payment", "purchase", "order", "auth", "event"}
_IDS = {"id", "no", "num", "number", "hash", "token", "key", "uuid", "ref", "reference", "fp", "fingerprint"}
YES = frozenset({"true", "1", "yes", "y", "t", "fraud", "fraudulent"})
NO = frozenset({"false", "0", "no", "n", "f", "genuine", "legit", "legitimate", "normal", "ok"})
Values = Callable[[ColumnProfile, int], float]
"""From a column, and the number of rows, to how well its values fit: 0 if they cannot be meant, at most 1."""


class ColumnRole(NamedTuple):
    """A column of the contract, and how it is recognised.

    Attributes:
        field: its name in the contract.
        words: any of which in a name is a strong sign; `weak` ones are a weak one, `against` mean something else.
        values: how well values fit.
        also: words of which a name must have one as well.
        by_values: whether values alone may tell.
    """

    field: str
    words: frozenset[str]
    weak: frozenset[str]
    against: frozenset[str]
    values: Values
    also: frozenset[str] = frozenset()
    by_values: bool = False


class Guess(NamedTuple):
    """The column that a role was given, and why; `others` are names of columns that might be meant instead."""

    column: ColumnProfile | None
    sure: str
    why: str
    others: tuple[str, ...] = ()


def _time(column: ColumnProfile, rows: int) -> float:
    if not column.time_form or column.filled < MOSTLY * rows:
        return 0.0
    varied = min(1.0, column.distinct / rows * 20)
    return 0.1 * (varied == 1) if column.time_form == ELAPSED else 0.4 + 0.6 * varied


def _amount(column: ColumnProfile, rows: int) -> float:
    if not money_like(column) or column.filled < MOSTLY * rows or column.negative > (1 - MOSTLY) * rows:
        return 0.0
    return 1.0 if 1 <= column.decimals <= 3 else 0.5  # noqa: PLR2004 - decimals of currencies


def money_like(column: ColumnProfile) -> bool:
    """Tell whether values are numbers, perhaps with the sign of a currency before them, of which there are many."""
    numbers = column.filled == column.numbers or column.share(_MONEY.fullmatch) >= MOSTLY
    return numbers and column.distinct >= 10 and not column.zero_led  # noqa: PLR2004 - fewer are codes


_MONEY = re.compile(r"[$€£]?\s?-?\d+(\.\d+)?")


def _repeated(column: ColumnProfile, rows: int) -> float:
    """Tell how well values identify something that pays, or is paid, again and again."""
    if column.is_time or column.is_flag or column.filled < MOSTLY * rows or column.decimals or column.distinct == 1:
        return 0.0
    if column.distinct < min(20, rows / 10) or column.distinct > 0.9 * rows:
        return 0.3
    if column.is_number:
        return 0.5
    return 0.5 + 0.5 * min(1.0, column.distinct / rows * 50)


def _label(column: ColumnProfile, rows: int) -> float:
    share = positive_share(column)
    if share is None or not 0 < share <= _FEW or column.filled < 10:  # noqa: PLR2004 - nothing is learned of fewer
        return 0.0
    return 1.0 if share * column.filled <= 0.2 * rows else 0.5


def positive_share(column: ColumnProfile) -> float | None:
    """Return which share of the sampled values says yes; None if some say neither yes nor no."""
    if column.distinct > len(YES | NO) or not column.sample:
        return None
    texts = [value.lower() for value in column.sample]
    if not all(text in YES or text in NO for text in texts):
        return None
    return max(sum(text in YES for text in texts), 1) / len(texts)


def _unique(column: ColumnProfile, rows: int) -> float:
    return 1.0 if column.distinct == column.filled == rows and column.longest <= 64 else 0.0  # noqa: PLR2004 - of the contract


def _token(column: ColumnProfile, _rows: int) -> float:
    return 1.0 if column.share(re.compile(TOKEN).fullmatch) >= MOSTLY and column.distinct > 1 else 0.0


def _in(values: frozenset[str]) -> Values:
    return lambda column, _rows: 1.0 if column.sample and column.share(values.__contains__) >= MOSTLY else 0.0


def _country(column: ColumnProfile, _rows: int) -> float:
    return 1.0 if column.sample and column.are_countries else 0.0


def _category(column: ColumnProfile, _rows: int) -> float:
    return 1.0 if column.sample and column.share(re.compile(r"\d{1,4}").fullmatch) >= MOSTLY else 0.0


def _degrees(most: int) -> Values:
    def fits(column: ColumnProfile, _rows: int) -> float:
        return 1.0 if column.is_number and -most <= column.least and column.most <= most else 0.0

    return fits


_LATER = word_set(
    "update updated updating modified after settle settled settlement posted chargeback dispute disputed refund "
    "refunded label labelled labeled reported review reviewed closed resolved birth dob expiry expires signup "
    "registered opened account last previous prev first since age status until delivery"
)
_OF_MERCHANT = word_set("merchant merch shop store vendor seller terminal payee retailer acceptor")
_OF_CARD = word_set("card cc pan issuer bin")
ROLES: tuple[ColumnRole, ...] = (
    ColumnRole(
        "occurred_at",
        word_set("time timestamp datetime occurred ts"),
        word_set("date at created dt when day"),
        _LATER,
        _time,
        by_values=True,
    ),
    ColumnRole(
        "fraud",
        word_set("fraud fraudulent isfraud label target"),
        word_set("class chargeback y outcome"),
        word_set("score risk type at date time reason amount probability rule"),
        _label,
        by_values=True,
    ),
    ColumnRole(
        "amount_minor",
        word_set("amount amt"),
        word_set("value price total sum paid charge"),
        word_set(
            "avg mean average limit balance max min refund median std last previous prev count ratio fee tip tax "
            "reporting merchant"
        ),
        _amount,
        by_values=True,
    ),
    ColumnRole(
        "card_id",
        word_set("card cc pan cardholder"),
        word_set("account acct customer client user holder member"),
        word_set(
            "country type brand age days count limit bin issuer name email city zip status expiry network level present"
        ),
        _repeated,
        by_values=True,
    ),
    ColumnRole(
        "merchant_id",
        _OF_MERCHANT,
        word_set("mid biller beneficiary"),
        word_set("country category mcc city lat long latitude longitude zip type state age risk amount currency count"),
        _repeated,
        by_values=True,
    ),
    ColumnRole("transaction_id", frozenset(_PAYMENT), word_set("id uuid"), _OF_CARD | _OF_MERCHANT, _unique),
    ColumnRole("currency", word_set("currency ccy curr"), frozenset(), _OF_MERCHANT, _in(frozenset(CURRENCY_DECIMALS))),
    ColumnRole(
        "labelled_at",
        word_set("label labelled labeled chargeback reported"),
        frozenset(),
        frozenset(),
        lambda column, _rows: 1.0 if column.time_form and column.time_form != ELAPSED else 0.0,
        also=word_set("at time date timestamp on"),
    ),
    ColumnRole(
        "device_id", word_set("device"), frozenset(), word_set("type os model age risk"), _token, also=frozenset(_IDS)
    ),
    ColumnRole("mcc", word_set("mcc"), frozenset(), frozenset(), _category),
    ColumnRole(
        "channel", word_set("channel"), frozenset(), frozenset(), _in(frozenset({"pos", "ecommerce", "moto", "atm"}))
    ),
    ColumnRole("merchant_country", _OF_MERCHANT, frozenset(), frozenset(), _country, also=word_set("country")),
    ColumnRole("card_country", _OF_CARD, frozenset(), frozenset(), _country, also=word_set("country")),
    ColumnRole("latitude", word_set("latitude lat"), frozenset(), frozenset(), _degrees(90), also=_OF_MERCHANT),
    ColumnRole(
        "longitude", word_set("longitude lon lng long"), frozenset(), frozenset(), _degrees(180), also=_OF_MERCHANT
    ),
)
"""In the order in which columns are given away."""
FIELDS = frozenset(role.field for role in ROLES)
NEEDED = ("occurred_at", "amount_minor", "card_id", "merchant_id", "fraud")
"""What a person is asked about if no column is found for it."""


def find_roles(path: str, columns: Sequence[ColumnProfile], rows: int, stated: Mapping[str, str]) -> dict[str, Guess]:
    """Return the column of each role, by field of the contract; `stated` ones are as a person says, empty for none.

    Raises:
        InputFileError: a stated column is not there, or no column may be the time of a payment.
    """
    by_name = {column.name: column for column in columns}
    absent = [_absent(name, by_name) for name in stated.values() if name and name not in by_name]
    if absent:
        raise InputFileError(path, tuple(absent))
    found = {
        name: Guess(by_name[column] if column else None, "stated", "by --column") for name, column in stated.items()
    }
    for role in ROLES:
        if role.field not in found:
            taken = {one.column.at for one in found.values() if one.column is not None}
            found[role.field] = _guess(role, [column for column in columns if column.at not in taken], rows)
    time = found["occurred_at"].column
    if time is None or not time.time_form:
        raise InputFileError(path, (_no_time(time, columns),))
    return {role.field: found[role.field] for role in ROLES}


def _absent(name: str, by_name: Mapping[str, ColumnProfile]) -> str:
    near = get_close_matches(name, by_name, 1)
    guess = f", did you mean {shown_name(near[0])}?" if near else ""
    return f"has no column {shown_name(name)}{guess}"


def _no_time(stated: ColumnProfile | None, columns: Sequence[ColumnProfile]) -> str:
    which = "no column may be" if stated is None else f"the values of {stated.shown} cannot be read as"
    named = ", ".join(column.shown for column in columns[:30])
    return (
        f"{which} the time of a payment (RFC 3339, 2026-01-31 12:00:00, 31/01/2026 12:00, epoch seconds or "
        f"milliseconds, in 19 of 20 rows); the columns are {named}: name it by --column occurred_at=COLUMN, "
        "or write times so"
    )


def _guess(role: ColumnRole, columns: Sequence[ColumnProfile], rows: int) -> Guess:
    marks = sorted(_marks(role, columns, rows), key=lambda mark: (-mark[0], mark[2].at))
    candidates = tuple(column.shown for _, _, column in marks[: _MOST_OTHERS + 1])
    if not marks or marks[0][0] < _LEAST or _is_doubtful(role, marks):
        return Guess(None, "none", "no column is named so and has such values", candidates)
    total, by_name, column = marks[0]
    sure = "sure" if total >= _SURE else "likely" if total >= _LIKELY else "a guess"
    why = "named so, and its values fit" if by_name >= _SURE else "its name may mean it" if by_name else "by its values"
    if role.field == "occurred_at":
        why += f"; times {column.time_form}"
    return Guess(column, sure, why, candidates[1:])


def _is_doubtful(role: ColumnRole, marks: Sequence[tuple[float, float, ColumnProfile]]) -> bool:
    """Tell whether a label is guessed by its values, and there is more than one column like it, or it is not rare."""
    if role.field != "fraud" or marks[0][1]:
        return False
    share = positive_share(marks[0][2])
    return len(marks) > 1 or share is None or share > _RARE


def _marks(
    role: ColumnRole, columns: Sequence[ColumnProfile], rows: int
) -> Iterator[tuple[float, float, ColumnProfile]]:
    """Yield the columns that may have a role, with their marks in all, and by name."""
    for column in columns:
        excluded = column.nested or column.has_card_number or not column.filled
        by_values = 0.0 if excluded else role.values(column, rows)
        by_name = _by_name(role, column)
        if not by_values or (not by_name and not role.by_values):
            continue
        total = _BY_NAME * max(by_name, 0.0) + _BY_VALUES * by_values
        if by_name >= 0 and total >= _OTHER and (by_name or _may_be_by_values(role, column, rows)):
            yield total, by_name, column


def _may_be_by_values(role: ColumnRole, column: ColumnProfile, rows: int) -> bool:
    """Tell whether values alone may tell: not of a column whose name says that it is something else."""
    if any(other.words & set(column.words) for other in ROLES):
        return False
    if role.field in {"card_id", "merchant_id"}:
        return not column.is_number and column.distinct >= max(50, rows // 1000)
    return role.field != "amount_minor" or column.decimals in {1, 2, 3}


def _by_name(role: ColumnRole, column: ColumnProfile) -> float:
    """Return how well a name fits, at most 1; below 0 if it means something else."""
    words = set(column.words)
    if column.name.lower() == role.field:
        return 1.0
    if words & role.against or (role.also and not words & role.also):
        return -1.0
    if role.field == "transaction_id" and not words & _IDS:
        return -1.0
    if words & role.words or (role.field == "occurred_at" and words & role.weak and words & _PAYMENT):
        return 1.0 if not words & MONEY or role.field == "amount_minor" else 0.5
    return 0.5 if words & role.weak else 0.0
