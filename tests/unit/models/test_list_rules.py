"""Rules beside the model, against a recount payment by payment in plain Python."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream_client.outputs import Decision
from models.artifact import Manifest, PolicyManifest, read_artifact, with_policy
from models.errors import DamagedArtifactError
from models.list_rules import FeatureBound, ListRule, RuleAction, RuleMatcher, RuleSet
from models.policy import Payments, Policy
from support.model_artifacts import artifact

NAMES = ("a", "b")
CARDS, MERCHANTS, COUNTRIES = ("c0", "c1", "c2"), ("m0", "m1"), ("FR", "NG")
ORDER = list(Decision)
ACTIONS = list(RuleAction)

bound = (
    st.builds(FeatureBound, above=st.integers(-2, 2).map(float), below=st.none())
    | st.builds(FeatureBound, above=st.none(), below=st.integers(-2, 2).map(float))
    | st.sampled_from([FeatureBound(among=("x",), codes=(1,)), FeatureBound(among=("x", "y"), codes=(0, 7))])
)


@st.composite
def rule_sets(draw: Any) -> RuleSet:
    rules = []
    for at in range(draw(st.integers(1, 6))):
        stated = draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "cards": st.lists(st.sampled_from(CARDS), min_size=1).map(tuple),
                    "merchants": st.lists(st.sampled_from(MERCHANTS), min_size=1).map(tuple),
                    "countries": st.lists(st.sampled_from(COUNTRIES), min_size=1).map(tuple),
                    "amounts_from": st.dictionaries(st.sampled_from(["EUR", "USD"]), st.integers(0, 5), min_size=1),
                    "features": st.dictionaries(st.sampled_from(NAMES), bound, min_size=1),
                },
            ).filter(bool)
        )
        rules.append(ListRule(f"r{at}", draw(st.sampled_from(ACTIONS)), **stated))
    return RuleSet(tuple(rules))


payment = st.tuples(
    st.sampled_from([*CARDS, "c9"]),
    st.sampled_from([*MERCHANTS, "m9"]),
    st.sampled_from([*COUNTRIES, "DE", None]),
    st.integers(0, 6),
    st.sampled_from(["EUR", "USD", "JPY"]),
    st.tuples(*[st.sampled_from([-3.0, 0.0, 1.0, 2.5, float("nan")])] * 2),
    st.sampled_from(ORDER),
)


def matches(rule: ListRule, one: Any) -> bool:
    card, merchant, country, amount, currency, vector, _ = one
    values = dict(zip(NAMES, vector, strict=True))
    conditions = [
        not rule.cards or card in rule.cards,
        not rule.merchants or merchant in rule.merchants,
        not rule.countries or country in rule.countries,
        not rule.amounts_from or (currency in rule.amounts_from and amount >= rule.amounts_from[currency]),
    ]
    for name, stated in rule.features.items():
        conditions.append(stated.above is None or values[name] > stated.above)
        conditions.append(stated.below is None or values[name] < stated.below)
        conditions.append(not stated.codes or values[name] in stated.codes)
    return all(conditions)


def recounted(rules: RuleSet, one: Any) -> tuple[Decision, str | None, bool]:
    """Return the decision, what overruled it, and whether no lot may undo it."""
    said = one[-1]
    for action in ACTIONS:
        for rule in rules.rules:
            if rule.action is action and matches(rule, one):
                if action is RuleAction.BLOCK:
                    return Decision.DECLINE, f"rule:{rule.name}", True
                if action is RuleAction.REVIEW:
                    if said is Decision.APPROVE:
                        return Decision.REVIEW, f"rule:{rule.name}", True
                    return said, None, said is Decision.DECLINE
                if said is not Decision.APPROVE:
                    return Decision.APPROVE, f"rule:{rule.name}", True
                return said, None, False
    return said, None, False


def columns(payments: Any) -> tuple[Payments, np.ndarray, list[Decision]]:
    card, merchant, country, amount, currency, vectors, said = zip(*payments, strict=True)
    return Payments(card, merchant, country, np.array(amount), currency), np.array(vectors), list(said)


@given(rule_sets(), st.lists(payment, min_size=1, max_size=12))
def test_rules_decide_as_a_recount_of_each_payment_says(rules: RuleSet, payments: Any) -> None:
    some, matrix, said = columns(payments)
    found = RuleMatcher(rules, NAMES).rulings(said, some, matrix)
    for at, one in enumerate(payments):
        decision, by, is_bound = recounted(rules, one)
        assert (at in found) == is_bound
        if at in found:
            assert (found[at].decision, found[at].by) == (decision, by)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"rules":[]}', "length >= 1"),
        ('{"rules":[{"name":"a","action":"block"}]}', "rule a: states no condition"),
        ('{"rules":[{"name":"a","action":"stop","cards":["c"]}]}', "Invalid enum value 'stop'"),
        ('{"rules":[{"name":"A b","action":"block","cards":["c"]}]}', "name"),
        ('{"rules":[{"name":"a","action":"block","card":["c"]}]}', "unknown field `card`"),
        ('{"rules":[{"name":"a","action":"block","features":{"a":{}}}]}', "expected above, below or both"),
        ('{"rules":[{"name":"a","action":"block","features":{"a":{"among":["x"],"above":1,"codes":[1]}}}]}',
         "or else among"),
        ('{"rules":[{"name":"a","action":"block","features":{"a":{"among":["x"]}}}]}', "as many codes as texts"),
        ('{"rules":[{"name":"a","action":"block","countries":["fr"]}]}', "countries"),
        ('{"rules":[{"name":"a","action":"block","cards":["c"]},{"name":"a","action":"allow","cards":["c"]}]}',
         "a name occurs twice"),
    ],
)  # fmt: skip
def test_rules_that_are_none_cannot_be_read(text: str, problem: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=problem):
        msgspec.json.decode(text, type=RuleSet)


RULES = RuleSet((ListRule("fast", RuleAction.REVIEW, features={"a": FeatureBound(above=1.0)}),), "2026-03")


def test_a_manifest_with_rules_is_refused_by_versions_that_would_pass_over_them() -> None:
    plain = read_artifact(artifact()).manifest
    ruled = with_policy(plain, plain.policy, None, RULES, None)
    assert isinstance(ruled, PolicyManifest)
    assert msgspec.json.decode(msgspec.json.encode(ruled))["schema"] == "manifest/2"
    with pytest.raises(msgspec.ValidationError, match="manifest/2"):
        msgspec.json.decode(msgspec.json.encode(ruled), type=Manifest)  # as an earlier version reads it
    again = with_policy(ruled, Policy(0.1, 0.2), None, None, None)
    assert type(again) is Manifest
    assert msgspec.json.decode(msgspec.json.encode(again))["schema"] == "manifest/1"
    with pytest.raises(ValueError, match="expected in a manifest/2"):
        msgspec.structs.replace(plain, rules=RULES)


def test_rules_about_a_feature_that_the_model_lacks_are_refused() -> None:
    contents = dict(artifact())
    manifest = msgspec.json.decode(contents["manifest.json"])
    manifest |= {
        "schema": "manifest/2",
        "rules": {"rules": [{"name": "x", "action": "block", "features": {"z": {"above": 1}}}]},
    }
    contents["manifest.json"] = msgspec.json.encode(manifest)
    with pytest.raises(DamagedArtifactError, match="the model has no feature z"):
        read_artifact(contents)
