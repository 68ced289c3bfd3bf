"""A simulation writes transactions files and records that the contract accepts."""

import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from fraudstream.demo.world.rows import DAY_MS, Pattern
from fraudstream.demo.world.world import Plan, World, simulate
from fraudstream.demo.world.writing import labels, live, write_history
from models.times import parse_time_ms
from stream.contract.codes import Rejection
from stream.contract.label import read_label
from stream.contract.transaction import read_transaction
from stream.redaction import holds_card_number

PLAN = Plan(20_000 * DAY_MS, history_days=20, live_days=2, cards=500, merchants=300)


@pytest.fixture(scope="module")
def world() -> World:
    return simulate(np.random.default_rng(3), PLAN)


def read(path: Path, what: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(f"SELECT {what} FROM '{path}'").fetchall()  # noqa: S608 - a file of this test


@pytest.mark.parametrize("name", ["history.parquet", "history.csv"])
def test_the_history_is_written_as_a_transactions_file(world: World, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert write_history(world, path) == world.cut
    (rows, distinct, fraud), *_ = read(path, "count(*), count(DISTINCT transaction_id), avg(fraud::INT)")
    assert rows == distinct == world.cut
    assert 0.001 < fraud < 0.03
    first = dict(zip(columns(path), read(path, "*")[0], strict=True))
    assert first["transaction_id"] == "tx-00000000"
    assert first["currency"] in {"EUR", "GBP", "CHF"}


def columns(path: Path) -> list[str]:
    with duckdb.connect() as connection:
        return [str(row[0]) for row in connection.execute(f"DESCRIBE FROM '{path}'").fetchall()]


def test_history_holds_no_label_from_the_future(world: World, tmp_path: Path) -> None:
    path = tmp_path / "history.parquet"
    write_history(world, path)
    answer = read(path, "count(*), max(epoch_ms(labelled_at)), bool_and((fraud IS NULL) = (labelled_at IS NULL))")
    rows, latest, paired = answer[0]
    assert latest <= PLAN.live_start_ms
    assert paired
    assert 0 < read(path, "count(*) FILTER (fraud IS NULL)")[0][0] < rows / 2
    assert read(path, "bool_and(labelled_at IS NULL OR labelled_at > occurred_at)") == [(True,)]


def test_a_file_name_with_another_suffix_is_rejected(world: World, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"history\.xlsx: a transactions file ends in \.parquet or \.csv"):
        write_history(world, tmp_path / "history.xlsx")


def test_live_continues_the_history_with_records_that_the_contract_accepts(world: World) -> None:
    following = list(live(world))
    assert len(following) == len(world.rows) - world.cut
    for number, (transaction, pattern) in enumerate(following, start=world.cut):
        assert transaction["transaction_id"] == f"tx-{number:08d}"
        assert pattern == world.rows.pattern[number]
        at = parse_time_ms(transaction["occurred_at"]).epoch_ms
        assert at == world.rows.occurred_ms[number]
        value, key = json.dumps(transaction).encode(), transaction["card_id"].encode()
        answer = read_transaction(value, key, at)
        assert not isinstance(answer, Rejection), answer
        assert not answer.dropped


def test_only_online_payments_name_their_device_in_history_and_live(world: World, tmp_path: Path) -> None:
    path = tmp_path / "history.parquet"
    write_history(world, path)
    answer = read(path, "bool_and((device_id IS NOT NULL) = (channel = 'ecommerce')), count(DISTINCT device_id)")
    assert answer[0][0]
    assert answer[0][1] > 100
    devices = dict(read(path, "transaction_id, device_id"))
    assert devices == {f"tx-{row:08d}": name(world, row) for row in range(world.cut)}
    for number, (transaction, _) in enumerate(live(world), start=world.cut):
        assert transaction.get("device_id") == name(world, number)


def name(world: World, row: int) -> str | None:
    return None if world.device[row] < 0 else f"dev-{world.device[row]:07d}"


def test_live_entries_mark_the_frauds_of_the_simulation(world: World) -> None:
    frauds = world.rows.pattern[world.cut :] != Pattern.GENUINE
    assert 0 < np.count_nonzero(frauds) < len(frauds) / 10
    assert [entry.fraud for entry in live(world)] == frauds.tolist()


def test_no_transaction_contains_a_card_number(world: World) -> None:
    for transaction, _ in live(world):
        assert not any(holds_card_number(value) for value in transaction.values() if isinstance(value, str))


def test_labels_report_fraud_in_order_of_time_within_the_requested_period(world: World) -> None:
    reports = list(labels(world, PLAN.live_start_ms, PLAN.live_start_ms + 2 * DAY_MS))
    assert reports
    times = [parse_time_ms(report["labelled_at"]).epoch_ms for report in reports]
    assert times == sorted(times)
    assert PLAN.live_start_ms <= times[0]
    assert times[-1] < PLAN.live_start_ms + 2 * DAY_MS
    assert {report["fraud_type"] for report in reports} <= {p.name.lower() for p in Pattern if p is not Pattern.GENUINE}
    for report in reports:
        assert not isinstance(read_label(json.dumps(report).encode(), report["card_id"].encode(), (0, 1)), Rejection)


def test_cards_are_billed_in_the_currency_of_their_home(world: World) -> None:
    transactions = [entry.transaction for entry in live(world)]
    billed = dict({(one["card_country"], one["currency"]) for one in transactions})
    assert len(billed) > 3
    assert billed == dict.fromkeys(billed, "EUR") | {"GB": "GBP", "CH": "CHF"}
