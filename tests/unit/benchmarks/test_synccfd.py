"""Declared distances on the payments of synccfd: what the files hold, and what the models are worth."""

import datetime as dt
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import benchmarks.synccfd as benchmark
from benchmarks.synccfd import (
    KNOWN_DAYS,
    LABEL_DELAY_DAYS,
    drawn_stream,
    feature_sets,
    measure_files,
    measure_synccfd,
    write_files,
)
from features.declaration import DAY_MS, load
from stream.errors import MeasurementError

BEGIN = dt.datetime(2018, 4, 1)  # noqa: DTZ001 - as the generator's times, without a zone


def stream(rows: int = 16_000) -> dict[str, list[Any]]:
    """Draw payments with the generator's columns, in no order; remote frauds are shipped far away."""
    random = np.random.default_rng(3)
    seconds, card = random.integers(0, 40 * 86_400, rows), random.integers(0, 300, rows)
    remote, fraud = random.random(rows) < 0.5, random.random(rows) < 0.04
    billing = np.stack([-23 + card / 100, -46 - card / 100])
    shipping = billing + np.where(fraud & remote, 5, 0.01) * random.random((2, rows))
    return {
        "TRANSACTION_ID": list(range(rows)),
        "TX_DATETIME": [BEGIN + dt.timedelta(seconds=int(one)) for one in seconds],
        "CUSTOMER_ID": card.tolist(),
        "TERMINAL_ID": random.integers(0, 50, rows).tolist(),
        "TX_AMOUNT": np.round(random.random(rows) * 100 * np.where(fraud, 3, 1), 2).tolist(),
        "TX_TYPE": ["CNP" if one else "CP" for one in remote],
        **dict(zip(("TX_SHIPP_LAT", "TX_SHIPP_LONG"), shipping.tolist(), strict=True)),
        **dict(zip(("TX_BILL_LAT", "TX_BILL_LONG"), billing.tolist(), strict=True)),
        **dict(zip(("TX_TERM_LAT", "TX_TERM_LONG"), billing.tolist(), strict=True)),
        "TX_FRAUD": fraud.astype(int).tolist(),
        "TX_FRAUD_SCENARIO": np.where(fraud, 1 + np.arange(rows) % 4, 0).tolist(),
    }


def written(folder: Path, rows: int) -> Path:
    pq.write_table(pa.table(stream(rows)), folder / "drawn.parquet")
    return folder / "drawn.parquet"


def test_the_generators_payments_become_transactions_files_with_places_as_own_fields(tmp_path: Path) -> None:
    files, given = write_files(written(tmp_path, 400), tmp_path), stream(400)
    found = pq.read_table(files.whole).to_pydict()
    epochs = [round(one.replace(tzinfo=dt.UTC).timestamp() * 1000) for one in given["TX_DATETIME"]]
    order = sorted(range(400), key=lambda row: (epochs[row], f"s-{row}"))
    assert found["transaction_id"] == [f"s-{row}" for row in order]
    assert found["card_id"] == [f"c-{given['CUSTOMER_ID'][row]}" for row in order]
    assert found["amount_minor"] == [round(given["TX_AMOUNT"][row] * 100) for row in order]
    assert found["channel"] == [{"CP": "pos", "CNP": "ecommerce"}[given["TX_TYPE"][row]] for row in order]
    assert found["shipping_latitude"] == [given["TX_SHIPP_LAT"][row] for row in order]
    assert files.scenarios.tolist() == [given["TX_FRAUD_SCENARIO"][row] for row in order]
    assert found["fraud"] == [bool(one) for one in files.scenarios]
    assert "scenario" not in found
    assert {b - a for a, b in zip(found["occurred_at"], found["labelled_at"], strict=True)} == {
        LABEL_DELAY_DAYS * DAY_MS
    }
    known = pq.read_table(files.known).to_pydict()
    assert known["transaction_id"] == found["transaction_id"][: len(known["transaction_id"])]
    days = [(one - found["occurred_at"][0] // DAY_MS * DAY_MS) / DAY_MS for one in found["occurred_at"]]
    assert len(known["transaction_id"]) == sum(day < KNOWN_DAYS for day in days)


def test_the_module_can_be_named_as_the_features_of_a_deployment() -> None:
    sets = feature_sets()
    assert load("benchmarks.synccfd").fingerprint == sets["distances"].fingerprint
    assert sets["default"].fingerprint == load("features.default_set_2").fingerprint
    assert sets["contract"].names[len(sets["default"].names) :] == (
        "own_amount",
        "own_channel",
        "own_mcc",
        "own_merchant_country",
        "own_card_country",
    )


def test_what_cannot_be_drawn_or_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(MeasurementError, match=r"other.parquet: cannot be read as payments of synccfd 0.1.0"):
        write_files(tmp_path / "other.parquet", tmp_path)
    monkeypatch.setattr(benchmark, "VERSION", "0.0.7")
    with pytest.raises(MeasurementError, match=r"by synccfd 0.0.7, and .* is installed: `pip install synccfd==0.0.7`"):
        drawn_stream(tmp_path)


@pytest.mark.acceptance
def test_each_feature_set_has_a_line_for_each_seed_and_declared_distances_rank_better(tmp_path: Path) -> None:
    found = measure_files(write_files(written(tmp_path, 16_000), tmp_path), tmp_path, 1, 1, lambda *_: None)
    default, contract, distances = found.lines
    assert [one.features for one in found.lines] == ["default", "contract", "distances"]
    assert 0 < found.frauds < found.payments
    assert default.difference is None
    for one in (contract, distances):
        assert one.difference is not None
        assert one.difference.value == pytest.approx(one.average_precision - default.average_precision)
    assert distances.average_precision > default.average_precision + 0.05


@pytest.mark.acceptance
@pytest.mark.timeout(1800)
@pytest.mark.skipif(find_spec("synccfd") is None, reason="the package synccfd 0.1.0 is not installed")
def test_with_declared_distances_each_training_finds_stolen_card_numbers_and_ranks_all_frauds_better() -> None:
    found = measure_synccfd(3, 1, lambda *_: None)
    default, distances = ([one for one in found.lines if one.features == name] for name in ("default", "distances"))
    assert [one.seed for one in distances] == [1, 2, 3]
    for before, after in zip(default, distances, strict=True):
        figures = f"{before}, {after}"
        assert before.average_precision < 0.79, figures
        assert before.scenarios[3] < 0.80, figures
        assert after.average_precision >= 0.80, figures
        assert after.scenarios[3] >= 0.965, figures
        assert after.difference is not None
        assert after.difference.interval is not None
        assert after.difference.interval.low > 0, figures
