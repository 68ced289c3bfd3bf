"""`fraudstream features list`: the same table for programs, for wide terminals and for narrow ones."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from features.declaration import DAY_MS, load
from stream.cli.main import main

EXTENDED = load("features.extended_set")


def listed(*arguments: str, width: int = 80) -> str:
    told = CliRunner(env={"COLUMNS": str(width)}).invoke(main, ["features", "list", *arguments])
    assert told.exit_code == 0, told.output
    return told.output


@pytest.mark.parametrize("width", [80, 140, 200])
def test_every_feature_is_told_whole_within_the_terminal(width: int) -> None:
    text = listed("--set", "features.extended_set", width=width)
    assert max(map(len, text.splitlines())) <= width
    words = set(text.split())
    assert set(EXTENDED.names) <= words
    assert {"32", "30d", "7d", "44d", "yes"} <= words
    assert "…" not in text
    assert EXTENDED.fingerprint in words


def test_the_meaning_stands_below_in_a_narrow_terminal_and_beside_in_a_wide_one() -> None:
    assert re.search(r"card_devices_30d +30d +37d *\n +devices: number of different devices", listed(width=80))
    assert re.search(
        r"card_devices_30d +card +30d +devices +37d x 72 B +number of different devices", listed(width=140)
    )


def test_what_a_table_keeps_and_what_arrival_can_change_are_summed() -> None:
    told = " ".join(listed("--set", "features.extended_set").split())
    assert "The history of a card keeps 37d of records, 72 bytes each." in told
    assert "The history of a device keeps 44d of records, 48 bytes each." in told
    assert f"{len(EXTENDED)} features; the order in which partitions' payments arrive can change 12 of them." in told
    assert "device" not in listed().split("The history of")[-1]


def test_programs_are_told_everything_in_milliseconds() -> None:
    told = json.loads(listed("--json"))
    assert [row["name"] for row in told["features"]] == list(load(None).names)
    assert told["fingerprint"] == load(None).fingerprint
    assert told["histories"]["merchant"] == {"horizon_ms": 44 * DAY_MS, "record_bytes": 48}
    assert told["features"][27] == {
        "name": "merchant_count_delayed_30d",
        "entity": "merchant",
        "window_ms": 30 * DAY_MS,
        "delay_ms": 7 * DAY_MS,
        "unit": "transactions",
        "meaning": "number of transactions",
        "depends_on_arrival": False,
        "keeps_ms": 44 * DAY_MS,
        "record_bytes": 48,
    }
    assert told["features"][31]["keeps_ms"] == told["features"][31]["record_bytes"] == 0


def test_a_row_keeps_what_its_window_its_delay_and_the_slack_reach() -> None:
    rows = {row["name"]: row["keeps_ms"] for row in json.loads(listed("--json"))["features"]}
    assert rows["card_count_1h"] == 7 * DAY_MS + 3_600_000
    assert rows["card_seconds_since_last"] == 7 * DAY_MS


def test_of_two_tables_the_newest_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUDSTREAM_FEATURES", "features.default_set, features.extended_set")
    assert json.loads(listed("--json"))["fingerprint"] == EXTENDED.fingerprint


def test_a_table_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(main, ["features", "list", "--set", "no_such_rows"])
    assert (told.exit_code, told.stdout) == (2, "")
    assert "there is no module 'no_such_rows': looked in" in told.stderr


@pytest.mark.parametrize("command", [["worker"], ["features", "list"], ["bench", "stages", "--model", "x"]])
def test_a_setting_that_names_no_table_is_a_wrong_setting_whatever_is_started(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRAUDSTREAM_FEATURES", "no_such_rows")
    told = CliRunner().invoke(main, command)
    assert (told.exit_code, told.stdout) == (2, "")
    assert told.stderr.startswith("there is no module 'no_such_rows': looked in")
