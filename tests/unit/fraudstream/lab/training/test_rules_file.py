"""Files of rules: TOML and JSON alike, and no card number enters a manifest."""

from pathlib import Path

import pytest

from fraudstream.lab.training.request import RulesFileError
from fraudstream.lab.training.rules_file import read_rules
from models.list_rules import FeatureBound, ListRule, RuleAction, RuleSet

TOML = """
version = "2026-03-01"

[[rules]]
name = "stolen"
action = "block"
cards = ["card-7", "card-9"]

[[rules]]
name = "fast-and-large"
action = "review"
amounts_from = { EUR = 50_000 }
features = { card_count_10m = { above = 5 } }
"""
JSON = """{"version": "2026-03-01", "rules": [
  {"name": "stolen", "action": "block", "cards": ["card-7", "card-9"]},
  {"name": "fast-and-large", "action": "review", "amounts_from": {"EUR": 50000},
   "features": {"card_count_10m": {"above": 5}}}]}"""
EXPECTED = RuleSet(
    (
        ListRule("stolen", RuleAction.BLOCK, cards=("card-7", "card-9")),
        ListRule(
            "fast-and-large",
            RuleAction.REVIEW,
            amounts_from={"EUR": 50_000},
            features={"card_count_10m": FeatureBound(above=5.0)},
        ),
    ),
    "2026-03-01",
)


@pytest.mark.parametrize(("name", "text"), [("rules.toml", TOML), ("rules.json", JSON)])
def test_rules_are_read_from_toml_and_json_alike(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_rules(tmp_path / name) == EXPECTED


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("rules.yaml", "rules: []", "expected .toml or .json"),
        ("rules.toml", "rules = [", "rules.toml"),
        ("rules.json", "{", "truncated"),
        ("rules.json", '{"rules":[{"name":"a","action":"block"}]}', "states no condition"),
        ("rules.json", '{"rules":[{"name":"a","action":"block","cards":["4111111111111111","c"]}]}',
         "rule a: 1 of its entries are card numbers"),
        ("rules.json", '{"rules":[{"name":"a","action":"block","merchants":["5555-5555-5555-4444"]}]}',
         "rule a: 1 of its entries are card numbers"),
    ],
)  # fmt: skip
def test_what_is_none_or_holds_card_numbers_is_refused(tmp_path: Path, name: str, text: str, problem: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(RulesFileError, match=problem) as caught:
        read_rules(tmp_path / name)
    assert "4111" not in str(caught.value)
    assert "5555" not in str(caught.value)
