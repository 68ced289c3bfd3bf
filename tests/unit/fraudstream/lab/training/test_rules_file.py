"""Files of rules: TOML and JSON alike, and no card number enters a manifest."""

from pathlib import Path

import pytest

from features.own_fields import DeclaredFields, category, category_code, flag, number, token
from fraudstream.lab.training.request import PolicyWish, RulesFileError
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


DECLARED = DeclaredFields(
    (number("account_age_days", unit="days", least=0), category("ip_country"), flag("three_ds"), token("ip"))
)
ON_FIELDS = """
[[rules]]
name = "young-and-far"
action = "review"
amounts_from = { EUR = 50_000 }
features = { card_count_10m = { above = 5 } }
[rules.fields]
account_age_days = { below = 7.5 }
ip_country = { among = ["NG", "VN"] }
three_ds = { is = false }
mcc = { among = ["7995"] }
"""


def test_conditions_on_fields_become_bounds_of_their_features(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(ON_FIELDS)
    (rule,) = read_rules(tmp_path / "rules.toml", DECLARED).rules
    assert rule.features == {
        "card_count_10m": FeatureBound(above=5.0),
        "own_account_age_days": FeatureBound(below=7.5),
        "own_ip_country": FeatureBound(
            among=("NG", "VN"), codes=(category_code("ip_country", "NG"), category_code("ip_country", "VN"))
        ),
        "own_three_ds": FeatureBound(below=0.5),
        "own_mcc": FeatureBound(among=("7995",), codes=(category_code("mcc", "7995"),)),
    }
    assert rule.entries == 3
    wish = PolicyWish(rules=RuleSet((rule,)))
    (problem,) = wish.rule_problems(["card_count_10m", "own_account_age_days", "own_three_ds", "own_mcc"])
    assert problem.endswith('needs its row in FEATURES, and a model trained with it: own("ip_country")')


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("ip_land = { among = ['NG'] }", "rule a: no field ip_land is declared in FIELDS .* ip_country, three_ds"),
        ("ip = { among = ['192.0.2.1'] }", "rule a: ip is a token, which no feature has"),
        ("ip_country = { above = 3 }", "ip_country is a category, with above: expected among, a list of texts"),
        ("three_ds = { among = ['yes'] }", "three_ds is a flag, with among: expected is, true or false"),
        ("account_age_days = { is = true }", "account_age_days is a number, with is: expected above or below"),
        ("account_age_days = {}", "account_age_days is a number, with nothing: expected above or below"),
        ("ip_country = { among = [] }", "length >= 1"),
        ("ip_country = { in = ['NG'] }", "unknown field `in`"),
        (f"ip_country = {{ among = ['{'4' + '1' * 15}'] }}", "rule a: 1 of its entries are card numbers"),
    ],
)
def test_a_condition_that_no_field_can_have_is_refused_in_words(tmp_path: Path, fields: str, problem: str) -> None:
    (tmp_path / "rules.toml").write_text(f"[[rules]]\nname = 'a'\naction = 'block'\n[rules.fields]\n{fields}\n")
    with pytest.raises(RulesFileError, match=problem) as caught:
        read_rules(tmp_path / "rules.toml", DECLARED)
    assert "1111" not in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ('"features":{"own_ip_country":{"among":["NG"],"codes":[1]}}', "texts of a category stand under `fields`"),
        ('"features":{"own_three_ds":{"above":0.5}},"fields":{"three_ds":{"is":true}}', "three_ds is stated under"),
        ('"fields":[]', "rule a: fields: Expected `object`, got `array`"),
    ],
)
def test_features_and_fields_of_a_rule_are_told_apart(tmp_path: Path, rule: str, problem: str) -> None:
    (tmp_path / "rules.json").write_text(f'{{"rules":[{{"name":"a","action":"block",{rule}}}]}}')
    with pytest.raises(RulesFileError, match=problem):
        read_rules(tmp_path / "rules.json", DECLARED)
