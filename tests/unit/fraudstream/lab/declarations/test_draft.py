"""`features draft`: columns are recognised, leaks left out, and what is written can be checked, read and trained on."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.declaration import load
from fraudstream.lab.dataset.errors import InputFileError
from fraudstream.lab.dataset.file import TransactionsFile
from fraudstream.lab.dataset.own_columns import OwnColumns
from fraudstream.lab.declarations.checking import check_module
from fraudstream.lab.declarations.draft import DraftReport, DraftRequest, draft
from fraudstream.lab.declarations.selection import field_name
from support.examples import examples
from support.fleet.payments import luhn
from support.foreign_file import foreign_file
from support.training_files import transactions, write
from support.working_folder import working_in

ROWS = 2_400
START_S = 1_767_225_600


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    yield from working_in(tmp_path, monkeypatch)


def payments(**more: Any) -> dict[str, Any]:
    """Return columns of payments of 120 cards with foreign names, and others beside them."""
    random = np.random.default_rng(4)
    times = START_S + np.sort(random.integers(0, 60 * 86_400, ROWS))
    return {
        "txn_time": [str(np.datetime64(int(at), "s")) for at in times],
        "amt": np.round(random.lognormal(3, 1, ROWS), 2).tolist(),
        "cc_hash": [f"cc-{at}" for at in cards().tolist()],
        "shop": [f"shop-{at}" for at in random.integers(0, 50, ROWS).tolist()],
        "is_fraud": frauds().astype(int).tolist(),
        **more,
    }


def cards() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 120, ROWS)


def frauds() -> np.ndarray:
    return np.random.default_rng(6).random(ROWS) < 0.04


def drafted(folder: Path, columns: dict[str, Any], name: str = "export.parquet", **options: Any) -> DraftReport:
    return draft(DraftRequest(file=write(folder / name, columns), **options))


def column_of(report: DraftReport, field: str) -> str | None:
    return next(one.column for one in report.columns if one.field == field)


def left_out(report: DraftReport) -> dict[str, tuple[str, str]]:
    return {one.column: (one.ground, one.why) for one in report.left_out}


@pytest.mark.parametrize("name", ["export.csv", "export.parquet"])
def test_the_columns_of_a_foreign_file_are_recognised_in_either_format(tmp_path: Path, name: str) -> None:
    report = drafted(tmp_path, foreign_file(6_000), name)
    found = {one.field: (one.column, one.sure) for one in report.columns if one.column}
    assert found["occurred_at"] == ("txn_time", "sure")
    assert found["amount_minor"] == ("amt", "sure")
    assert found["card_id"] == ("cc_hash", "sure")
    assert found["merchant_id"][0] == "shop"
    assert found["fraud"] == ("is_fraud", "sure")
    assert [(one.field, one.kind) for one in report.fields] == [
        ("ip_country", "category"),
        ("is_3ds", "flag"),
        ("account_age_days", "number"),
        ("bin", "category"),
    ]
    assert list(left_out(report)) == ["status_after"]
    assert left_out(report)["status_after"][0] == "leak"
    assert 'number("account_age_days", unit="days", meaning="account age in days", least=0, most=5000)' in report.module


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (lambda at: str(np.datetime64(at, "s")).replace("T", " "), "without a zone"),
        (lambda at: f"{np.datetime64(at, 's')}+01:00", "with a zone"),
        (lambda at: at, "epoch seconds"),
        (lambda at: at * 1000 + 7, "epoch milliseconds"),
        (lambda at: np.datetime64(at, "s").item().strftime("%d/%m/%Y %H:%M"), "as %d/%m/%Y %H:%M"),
        (lambda at: np.datetime64(at, "s").item().strftime("%d.%m.%Y %H:%M:%S"), "as %d.%m.%Y %H:%M:%S"),
        (lambda at: np.datetime64(at, "s").item(), "without a zone"),
        (lambda at: at - START_S, "seconds since a beginning that nothing states"),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_times_are_read_in_the_forms_that_files_have(tmp_path: Path, times: Any, said: str, name: str) -> None:
    columns = payments()
    seconds = [int(np.datetime64(text, "s").astype(int)) for text in columns["txn_time"]]
    columns["txn_time"] = [times(at) for at in seconds]
    report = drafted(tmp_path, columns, name, write_to=tmp_path / "out.parquet")
    (found,) = (one for one in report.columns if one.field == "occurred_at")
    assert (found.column, said in found.why) == ("txn_time", True), found
    with TransactionsFile(tmp_path / "out.parquet", tmp_path, 1) as written:
        expected = seconds[0] - (3_600 if said == "with a zone" else 0) - (START_S if "nothing" in said else 0)
        assert written.facts.first_ms // 60_000 == expected // 60


def test_what_nobody_knew_at_the_payment_is_left_out_first(tmp_path: Path) -> None:
    fraud, card = frauds(), cards()
    random = np.random.default_rng(7)
    seconds = [np.datetime64(text, "s") for text in payments()["txn_time"]]
    report = drafted(
        tmp_path,
        payments(
            vendor=np.where(fraud, random.integers(0, 3, ROWS), random.integers(3, 90, ROWS)).tolist(),
            given_reason=[("x", "y")[at % 2] if is_fraud else None for at, is_fraud in enumerate(fraud)],
            booked=[str(at + np.timedelta64(3, "D")) for at in seconds],
            member_since=[str(at - np.timedelta64(300, "D")) for at in seconds],
            dispute_code=random.choice(["a", "b"], ROWS).tolist(),
            previous_disputes=random.integers(0, 9, ROWS).tolist(),
            lifetime=random.integers(0, 1000, 120)[card].tolist(),
            blocked_today=[int(fraud[card == at].any()) for at in card.tolist()],
            segment=random.choice(["a", "b", "c"], 120)[card].tolist(),
            rare=(random.random(ROWS) < 0.002).astype(int).tolist(),
        ),
    )
    left = left_out(report)
    assert {name for name, (ground, _) in left.items() if ground == "leak"} == {
        *("vendor", "given_reason", "booked", "dispute_code", "lifetime", "blocked_today"),
    }
    assert "ranks the frauds nearly alone: ROC AUC" in left["vendor"][1]
    assert "ranks the frauds nearly alone" in left["given_reason"][1]
    assert "a time after the payment in 100% of its rows" in left["booked"][1]
    assert "by its name (dispute)" in left["dispute_code"][1]
    assert "a probable leak: the same in all payments of a card" in left["lifetime"][1]
    assert left["member_since"][0] == "time"
    assert [ground == "leak" for ground, _ in left.values()] == [True] * 6 + [False]
    notes = {one.field: one.note for one in report.fields}
    assert set(notes) == {"previous_disputes", "segment", "rare"}
    assert "the same in all payments of a card" in notes["segment"]
    assert notes["rare"] == ""


def test_what_may_not_be_kept_and_what_tells_nothing_is_left_out_and_no_value_is_told(tmp_path: Path) -> None:
    card, random = cards(), np.random.default_rng(8)
    pans = [luhn(f"4{at:014d}") for at in range(120)]
    report = drafted(
        tmp_path,
        payments(
            reference=[pans[at] if at % 40 == 0 else f"r{at}" for at in card.tolist()],
            contact=[f"someone{at}@example.org" for at in card.tolist()],
            customer_name=[f"Jane Roe {at}" for at in card.tolist()],
            phone_known=random.integers(0, 2, ROWS).tolist(),
            ip=[f"10.1.{a}.{b}" for a, b in random.integers(0, 30, (ROWS, 2)).tolist()],
            session=[f"s-{at}" for at in range(ROWS)],
            notes=["long " * 60] * (ROWS - 1) + ["short"],
            extra=[{"a": 1}] * ROWS,
            listed=['["a"]'] * ROWS,
            empty=[None] * ROWS,
            constant=["same"] * ROWS,
            seldom=[1.5 + at if at < 7 else None for at in range(ROWS)],
        ),
        write_to=tmp_path / "out.parquet",
    )
    left = left_out(report)
    grounds = {name: ground for name, (ground, _) in left.items()}
    assert grounds == {
        **dict.fromkeys(("reference", "contact", "customer_name"), "private"),
        **dict.fromkeys(("ip", "session"), "token"),
        **dict.fromkeys(("notes", "extra", "listed"), "form"),
        **dict.fromkeys(("empty", "constant", "seldom"), "tells_nothing"),
    }
    assert [one.field for one in report.fields] == ["phone_known"]
    printed = repr(report)
    assert not any(value in printed for value in (*pans, "example.org", "Jane Roe", "10.1.", "cc-1", "s-7"))


def test_numbers_get_decimals_units_and_bounds_with_room(tmp_path: Path) -> None:
    random = np.random.default_rng(9)
    report = drafted(
        tmp_path,
        payments(
            distance_km=[f"{value:.1f}" for value in random.uniform(0, 400, ROWS)],
            change=np.round(random.normal(0, 30, ROWS), 3).tolist(),
            discount_pct=random.integers(0, 60, ROWS).tolist(),
            avg_amount_eur=np.round(random.lognormal(3, 1, ROWS), 2).tolist(),
            vendor_score=np.round(random.random(ROWS), 4).tolist(),
            gaps=[None if at % 3 else float(at % 50) for at in range(ROWS)],
            tiny=(random.random(ROWS) * 1e-7).tolist(),
            large=(random.integers(1, 10**6, ROWS) * 10**5).tolist(),
            home_lat=np.round(random.uniform(40, 50, ROWS), 4).tolist(),
            home_lon=np.round(random.uniform(-10, 10, ROWS), 4).tolist(),
            shop_latitude=np.round(random.uniform(40, 50, ROWS), 4).tolist(),
            shop_longitude=np.round(random.uniform(-10, 10, ROWS), 4).tolist(),
            zip_code=random.integers(1000, 1099, ROWS).tolist(),
            terminal=[f"{at:04d}" for at in random.integers(0, 90, ROWS)],
        ),
    )
    text = report.module
    assert 'number("distance_km", decimals=1, unit="km", meaning="distance in km", least=0, most=1000)' in text
    assert 'number("change", decimals=3, meaning="change", least=-' in text
    assert 'unit="percent", meaning="discount in percent", least=0, most=100)' in text
    assert 'number("avg_amount_eur", decimals=2, unit="EUR"' in text
    assert 'number("vendor_score", decimals=4, unit="score", meaning="vendor score", least=0, most=1)' in text
    assert 'number("gaps", meaning="gaps", least=0, most=100)' in text
    assert 'number("large", meaning="large", least=0, most=200_000_000_000)' in text
    assert "least=-90, most=90)" in text
    assert 'category("zip_code"' in text
    assert 'category("terminal"' in text
    assert "def terminal_to_home_km(" in text
    assert "def amount_to_avg_amount_eur(" in text
    assert {"latitude", "longitude"} <= {one.field for one in report.columns if one.column}


def test_the_module_passes_the_check_and_the_file_is_read_with_its_fields(here: Path) -> None:
    columns = payments(
        ipCountry=np.random.default_rng(1).choice(["DE", "AT", "NA"], ROWS).tolist(),
        card_country=np.random.default_rng(2).choice(["DE", "AT"], ROWS).tolist(),
        credit_limit=(np.random.default_rng(3).integers(1, 90, ROWS) * 50.5).tolist(),
        is_new=[("true", "false", None)[at % 3] for at in range(ROWS)],
    )
    columns["shop"] = [f"{name}, Ltd (1)" for name in columns["shop"]]
    columns["amt"] = [f"${value:.2f}" for value in columns["amt"]]
    columns["amt"][0], columns["amt"][1] = "-5.00", "free"
    columns["is_fraud"] = ["Yes" if one else "No" for one in columns["is_fraud"]]
    report = drafted(here, columns, "export.csv", write_to=here / "payments.parquet", currency="JPY")
    (here / "our_fields.py").write_text(report.module)
    found = check_module("our_fields")
    assert (found.problems, found.warnings) == ((), ())
    assert found.formulas == 2
    feature_set = load("our_fields")
    assert {"own_ip_country", "own_is_new", "amount_to_credit_limit", "card_country_is_not_ip_country"} <= set(
        feature_set.names
    )
    assert report.written is not None
    assert (report.written.rows, report.written.left_out) == (ROWS - 2, 2)
    with TransactionsFile(
        here / "payments.parquet", here, 1, own=OwnColumns.of(feature_set), needs_labels=True
    ) as file:
        assert file.dropped == {}
        batch = next(iter(file.batches(lambda: ROWS)))
    assert int(batch.fraud.sum()) == int(frauds()[2:].sum())
    assert batch.currencies[0] == "JPY"
    own = batch.transactions.own
    assert own is not None
    assert {own[2].get("ip_country"), own[2].get("card_country")} <= {"DE", "AT", "NA"}
    assert batch.transactions.amount_minor[0] == round(float(columns["amt"][2].strip("$")))
    assert batch.transactions.merchant_ids[0] == columns["shop"][2].translate(str.maketrans(", ()", "____"))


def test_a_transactions_file_of_the_contract_is_taken_as_it_is(tmp_path: Path) -> None:
    report = drafted(tmp_path, transactions(2_000) | {"utc_offset_minutes": [60] * 2_000})
    mapped = {one.field: one.column for one in report.columns if one.column is not None}
    assert mapped == {name: name for name in transactions(1)}
    assert (report.passed_on, report.fields, report.left_out) == (("utc_offset_minutes",), (), ())


def test_a_stated_column_is_taken_and_a_wrong_one_is_named_with_the_nearest(tmp_path: Path) -> None:
    report = drafted(tmp_path, payments(other=payments()["cc_hash"]), stated={"card_id": "other", "fraud": ""})
    assert (column_of(report, "card_id"), column_of(report, "fraud"), report.frauds) == ("other", None, None)
    with pytest.raises(InputFileError, match="has no column oter, did you mean other"):
        drafted(tmp_path, payments(other=payments()["cc_hash"]), stated={"card_id": "oter"})


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"a": ["x"] * 50, "b": list(range(50))}, "no column may be the time of a payment .* the columns are a, b"),
        ({"a": []}, "holds no payment"),
    ],
)
def test_a_file_that_holds_no_payments_is_refused(tmp_path: Path, columns: dict[str, Any], said: str) -> None:
    with pytest.raises(InputFileError, match=said):
        drafted(tmp_path, columns)


def test_a_transactions_file_without_a_card_or_with_card_numbers_is_not_written(tmp_path: Path) -> None:
    columns = payments()
    columns["cc_hash"] = [luhn(f"4{at:014d}") for at in cards().tolist()]
    with pytest.raises(InputFileError, match="no column is known to be card_id: name it by --column card_id=COLUMN"):
        drafted(tmp_path, columns, write_to=tmp_path / "out.parquet")
    with pytest.raises(InputFileError, match="column cc_hash, taken for card_id, holds a card number"):
        drafted(tmp_path, columns, write_to=tmp_path / "out.parquet", stated={"card_id": "cc_hash"})
    assert not (tmp_path / "out.parquet").exists()


NAMES = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=20),
    st.sampled_from(
        ["row", "fraud", "read_x", "hour", "is_night", "device_id", "x y", "9", "T0", "t0", "select", "é", "a" * 90]
    ),
)
VALUES = st.sampled_from(
    [
        lambda random: random.integers(-(10**6), 10**6, 60).tolist(),
        lambda random: random.integers(0, 2, 60).tolist(),
        lambda random: (random.normal(0, 1, 60) * 10.0 ** random.integers(-8, 12)).tolist(),
        lambda random: [float("nan"), float("inf"), *random.random(58).tolist()],
        lambda random: random.choice(
            ["x", "y", "", "0", "007", "1e5", "1_0", "true", '"', "\n", "é", "'"], 60
        ).tolist(),
        lambda random: [f"{at:x}" for at in random.integers(0, 2**60, 60)],
        lambda random: [str(np.datetime64(int(at), "s")) for at in random.integers(0, 2**31, 60)],
        lambda random: [bool(one) for one in random.integers(0, 2, 60)],
        lambda _random: [None] * 60,
        lambda _random: [[1, 2]] * 60,
        lambda random: ["1.0"] * 59 + [str(random.random())],
    ]
)


@settings(max_examples=examples(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(NAMES, VALUES, max_size=6), st.integers(0, 2**32))
def test_whatever_columns_a_file_has_the_drafted_module_has_nothing_wrong(here: Path, odd: Any, seed: int) -> None:
    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {name: make(random) for name, make in odd.items()}
    columns |= {
        "when": [str(np.datetime64(START_S + at, "s")) for at in range(60)],
        "amt": np.round(random.random(60), 2),
    }
    columns |= {"card": [f"c{at % 7}" for at in range(60)], "shop": [f"m{at % 5}" for at in range(60)]}
    stated = {"occurred_at": "when", "amount_minor": "amt", "card_id": "card", "merchant_id": "shop"}
    out = here / "out.parquet"
    out.unlink(missing_ok=True)
    report = drafted(here, columns, stated=stated, write_to=out)
    assert len(report.fields) + len(report.left_out) + len(report.passed_on) + sum(
        one.column is not None for one in report.columns
    ) == len(columns)
    sys.modules.pop("our_fields", None)
    (here / "our_fields.py").write_text(report.module)
    importlib.invalidate_caches()
    found = check_module("our_fields")
    assert (found.problems, found.warnings) == ((), ())
    with TransactionsFile(out, here, 1, own=OwnColumns.of(load("our_fields"))) as file:
        assert file.facts.rows == 60
        assert file.dropped == {}
    (here / "transactions.duckdb").unlink()


@given(st.text(max_size=100))
def test_a_fields_name_is_always_one_that_may_be_declared(name: str) -> None:
    found = field_name(name, set())
    assert found == field_name(name, {"other"})
    assert field_name(name, {found}) != found
