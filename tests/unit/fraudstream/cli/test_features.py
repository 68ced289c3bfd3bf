"""`fraudstream features list`: the same feature set as JSON, on wide terminals and on narrow ones."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from features.declaration import DAY_MS, load
from fraudstream.cli.main import main

EXTENDED = load("features.extended_set")


def listed(*arguments: str, width: int = 80) -> str:
    result = CliRunner(env={"COLUMNS": str(width)}).invoke(main, ["features", "list", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("width", [80, 200])
def test_every_feature_is_listed_in_full_within_the_terminals_width(width: int) -> None:
    text = listed("--set", "features.extended_set", width=width)
    assert max(map(len, text.splitlines())) <= width
    words = set(text.split())
    assert set(EXTENDED.names) <= words
    assert {"32", "30d", "7d", "44d", "yes"} <= words
    assert "…" not in text
    assert EXTENDED.fingerprint in words


def test_the_json_output_gives_durations_in_milliseconds() -> None:
    result = json.loads(listed("--json"))
    assert [row["name"] for row in result["features"]] == list(load("features.default_set_2").names)
    assert result["fingerprint"] == load("features.default_set_2").fingerprint
    assert result["histories"]["merchant"] == {"horizon_ms": 44 * DAY_MS, "record_bytes": 48}
    assert result["features"][27] == {
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
    assert result["features"][31]["keeps_ms"] == result["features"][31]["record_bytes"] == 0


def test_a_features_history_is_kept_for_its_window_plus_seven_days() -> None:
    rows = {row["name"]: row["keeps_ms"] for row in json.loads(listed("--json"))["features"]}
    assert rows["card_count_1h"] == 7 * DAY_MS + 3_600_000
    assert rows["card_seconds_since_last"] == 7 * DAY_MS


def test_the_newest_of_two_feature_sets_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUDSTREAM_FEATURES", "features.default_set, features.extended_set")
    assert json.loads(listed("--json"))["fingerprint"] == EXTENDED.fingerprint


def test_a_feature_set_without_a_module_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["features", "list", "--set", "no_such_rows"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("--set: there is no module 'no_such_rows': looked in")


@pytest.mark.parametrize("command", [["worker"], ["features", "list"], ["bench", "worker", "--model", "00000000"]])
def test_commands_reject_a_features_setting_that_names_no_module(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRAUDSTREAM_FEATURES", "no_such_rows")
    result = CliRunner().invoke(main, command)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("FRAUDSTREAM_FEATURES: there is no module 'no_such_rows': looked in")
