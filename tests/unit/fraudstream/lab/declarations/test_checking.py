"""`features check`: all that is wrong with a module at once, and nothing that only follows from it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fraudstream.lab.declarations.checking import ModuleFindings, check_module, check_modules
from support.working_folder import working_in

HEAD = """
from fraudstream.features import (
    DEFAULT_2, Formula, OwnPayment, Payments, card, category, flag, merchant, number, own, paned, token,
)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    yield from working_in(tmp_path, monkeypatch)


def checked(here: Path, text: str) -> ModuleFindings:
    (here / "our_rows.py").write_text(HEAD + text)
    return check_module("our_rows")


def has(lines: tuple[str, ...], *parts: str) -> bool:
    """Tell whether some line has all of these parts."""
    return any(all(part in line for part in parts) for line in lines)


def test_every_refused_declaration_is_named_with_its_line_and_nothing_that_follows_from_it(here: Path) -> None:
    found = checked(
        here,
        """
FIELDS = (
    number("Bad"),
    number("x", decimals=12),
    number("y", least=0.5),
    number("z", units="km"),
    flag("fraud"),
    category("mcc"),
    token("ip"),
    flag("good"),
    flag("good"),
    "nonsense",
)
LIMIT = missing_name + 1
OTHER = LIMIT + 1
FEATURES = (
    *DEFAULT_2,
    *(own(name) for name in ("good", "x", "y", "fraud")),
    own("goood"), own("ip"),
    card("count"),
    paned(card("cuont", "1d"), "1h"),
    paned(merchant("count", "1d"), "7h"),
    own(Formula("zero", 0, len, "", "")),
)
""",
    )
    expected = [
        ("line 7: field 'Bad': a name consists of",),
        ("line 8: field 'x': decimals are",),
        ("line 9: field 'y': its least value 0.5 has more than 0 decimals",),
        ("line 10: TypeError:", "'units'"),
        ("line 18: NameError: name 'missing_name'",),
        ("line 24: card('count'): it needs a window",),
        ("line 25: card('cuont', '1d'): there is no 'cuont'",),
        ("line 26:", "panes of 25200000 ms do not divide"),
        ("line 27: formula 'zero': its version",),
        ("FIELDS[9] is made by none of", "it is a str"),
        ("fields declared more than once: good",),
        ("mcc: every payment has this field",),
        ("fraud: a column of a transactions file has this name",),
        ("own('goood'): did you mean 'good'?",),
        ("own('ip'): a token has no number",),
    ]
    assert [parts for parts in expected if not has(found.problems, *parts)] == []
    assert len(found.problems) == len(expected), found.problems


def test_a_formula_is_called_with_absent_fields_zeros_and_texts(here: Path) -> None:
    found = checked(
        here,
        """
FIELDS = (number("age", unit="days", least=0, most=10), category("ip_country"))

def as_number(payment): return float(payment["ip_country"])
def ratio(payment): return None if payment["age"] is None else payment["amount"] / payment["age"]
def absent(payment): return payment["age"] + 1
def unknown(payment): return payment["agee"]
def seldom(payment): return payment["card_cuntry"] if payment["hour"] == 25 else payment["age"]
def two(payment, others): return 1.0
def nothing(payment): return None
def fine(payment): return None if payment["age"] is None else payment["age"] * 2
def windowed(own_payment, others): return own_payment["age"] * len(others)

FEATURES = tuple(
    own(Formula(function.__name__, 1, function, "", ""))
    for function in (as_number, ratio, absent, unknown, seldom, two, nothing, fine)
) + (card(Formula("windowed", 1, windowed, "", ""), "1d"), own("age"), own("ip_country"))
""",
    )
    assert has(found.problems, "'as_number'", "ValueError", "nothing can compute it", "ip_country is a category")
    assert has(found.problems, "'ratio'", "ZeroDivisionError", "(numbers are 0)", "return None where it is undefined")
    assert has(found.problems, "'absent'", "TypeError", "(age is absent)")
    assert has(found.problems, "'unknown'", "'agee' is no field of the contract")
    assert has(found.problems, "'seldom'", "reads 'card_cuntry', which is not declared")
    assert has(found.problems, "'two'", "missing 1 required positional argument")
    assert has(found.problems, "'card_windowed_1d'", "NoneType")
    assert not has(found.problems, "'fine'")
    assert not has(found.problems, "'nothing'")
    assert has(found.warnings, "'nothing'", "undefined for every generated payment")
    assert (found.fields, found.rows, found.formulas) == (2, 11, 9)
    assert found.payments > 50


def test_slips_are_warnings_and_do_not_make_a_module_invalid(here: Path) -> None:
    found = checked(
        here,
        """
FIELDS = (
    number("age", unit="dyas"),
    number("wait_seconds", unit="hours"),
    number("fixed", least=3, most=3),
    number("limit", unit="EUR"),
    flag("unread"),
    token("ip"),
)

def is_known(payment): return float(payment["ip"] is not None)

names = ("age", "wait_seconds", "fixed", "limit")
FEATURES = (*(own(name) for name in names), own(Formula("is_known", 1, is_known, "", "")))
""",
    )
    assert found.problems == ()
    assert len(found.warnings) == 4
    assert has(found.warnings, "'age'", "'dyas' is not a common one: did you mean 'days'?")
    assert has(found.warnings, "'wait_seconds'", "its unit is 'hours', and its name says 'seconds'")
    assert has(found.warnings, "'fixed'", "its least and its most value are the same")
    assert has(found.warnings, "'unread' is declared, and no row and no formula reads it")


def test_a_category_is_no_number_whose_risk_rises(here: Path) -> None:
    found = checked(here, 'FIELDS = (category("c"),)\nFEATURES = (own("c", risk="rises"), own("mcc", risk="falls"))')
    assert [problem.partition(":")[0] for problem in found.problems] == ["own('c')", "own('mcc')"]


def test_a_field_that_could_not_be_listed_is_not_called_undeclared(here: Path) -> None:
    found = checked(here, 'FIELDS = (number("a"), *undefined)\nFEATURES = (own("a"),)')
    assert found.problems == ("line 5: NameError: name 'undefined' is not defined",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FEATURES = (", "was never closed"),
        ("", "has no FEATURES"),
        ("FEATURES = ()", "at least one row"),
        ("FEATURES = 'card'", "FEATURES must be a tuple, not a str"),
        ("FEATURES = (own('hour'),)\nFIELDS = 3", "FIELDS must be a tuple, not a int"),
        ("from fraudstream.features import nothing\nFEATURES = (own('hour'),)", "cannot import name 'nothing'"),
        ("raise ValueError('not today')", "ValueError: not today"),
        ("FIELDS = (flag('is_night'),)\nFEATURES = (own('hour'),)", "has the name of an aggregate"),
        (
            "from __future__ import annotations\nFEATURES = (own('hour'), own('hour'))",
            "declared more than once: own_hour",
        ),
    ],
)
def test_a_module_that_cannot_be_loaded_is_described(here: Path, text: str, said: str) -> None:
    (here / "our_rows.py").write_text(
        text if "__future__" not in text else f"{text.splitlines()[0]}\n{HEAD}{text[34:]}"
    )
    if "own(" in text and "__future__" not in text:
        (here / "our_rows.py").write_text(HEAD + text)
    found = check_module("our_rows")
    assert has(found.problems, said), found.problems


def test_a_missing_module_and_a_hidden_one_are_named(here: Path) -> None:
    assert has(check_module("no_such_rows").problems, "there is no module 'no_such_rows'")
    (here / "features").mkdir()
    (here / "features" / "rows.py").write_text(HEAD + "FEATURES = (own('hour'),)")
    assert has(check_module("features.rows").problems, "fraudstream has a module of that name")


def test_the_default_sets_have_nothing_wrong_and_two_modules_must_agree(here: Path) -> None:
    assert [(one.problems, one.warnings) for one in check_modules("")] == [((), ()), ((), ())]
    for name, kind in (("old_rows", "flag"), ("new_rows", "category")):
        (here / f"{name}.py").write_text(HEAD + f"FIELDS = ({kind}('x'),)\nFEATURES = (own('x'),)")
    old, new = check_modules("old_rows, new_rows")
    assert old.problems == ()
    assert has(new.problems, "field 'x' is declared differently")
