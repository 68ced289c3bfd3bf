"""`fraudstream explain` refuses what it cannot explain by, and lists its codes."""

import json

import pytest
from click.testing import CliRunner

from features.reason_codes import REASON_CODES, VERSION
from fraudstream.cli.main import main


def test_a_deployment_whose_scores_carry_no_features_is_refused_with_what_to_set() -> None:
    done = CliRunner().invoke(main, ["explain"], env={"FRAUDSTREAM_SCORE_FEATURES": "none"})
    assert done.exit_code == 2
    assert "FRAUDSTREAM_SCORE_FEATURES: none: scores carry no features to explain alerts by" in done.stderr
    assert "set FRAUDSTREAM_SCORE_FEATURES=alerts" in done.stderr


def test_the_codes_are_listed_with_what_a_customer_may_be_told() -> None:
    done = CliRunner().invoke(main, ["explain", "codes", "--json"])
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["version"] == VERSION
    assert [one["code"] for one in found["codes"]] == [one.code for one in REASON_CODES]
    assert found["codes"][0] == {
        "code": "card_velocity",
        "features": ["card_count"],
        "customer": REASON_CODES[0].customer,
    }
    assert "card_velocity" in CliRunner().invoke(main, ["explain", "codes"]).stdout


@pytest.mark.parametrize("command", [["explain"], ["explain", "codes"]])
def test_a_module_of_features_that_is_not_there_is_refused(command: list[str]) -> None:
    done = CliRunner().invoke(main, command, env={"FRAUDSTREAM_FEATURES": "no_such_rows"})
    assert done.exit_code == 2
    assert "FRAUDSTREAM_FEATURES: there is no module 'no_such_rows'" in done.stderr
