"""Decisions by costs and by rules are made again from the topics, and a file is scored as the stream decides."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from fraudstream_client.outputs import Overruled, Score
from metrics.money import CostMatrix
from models.artifact import read_artifact, with_policy, write_artifact
from models.cost_policy import CostPolicy
from models.list_rules import FeatureBound, ListRule, RuleAction, RuleSet
from models.loading import Model, load
from models.repository import Repository
from stream.control.probes import probe_vectorisers
from support.rescoring.faults import DAY_MS
from support.rescoring.model import SETS, Trained, alter, compared, lines, scored
from support.rescoring.world import World

COSTS = CostPolicy({"EUR": CostMatrix(30, 0, 20, 500)})
RULES = RuleSet(
    (
        ListRule("stolen", RuleAction.BLOCK, cards=("card-1",)),
        ListRule("far", RuleAction.REVIEW, countries=("NG",)),
        ListRule("often", RuleAction.REVIEW, features={"card_count_30d": FeatureBound(above=5.0)}),
        ListRule("known", RuleAction.ALLOW, merchants=("shop-0",), amounts_from={"EUR": 0}),
    )
)


@pytest.fixture(scope="module")
def ruled(live: Trained) -> Trained:
    """The live model, with costs and rules."""
    repository = Repository(str(live.folder))
    before = read_artifact(repository.fetch(live.model.digest))
    manifest = with_policy(before.manifest, before.manifest.policy, COSTS, RULES, None)
    digest = repository.put(write_artifact(msgspec.structs.replace(before, manifest=manifest)))
    model = load(repository, digest, probe_vectorisers(SETS))
    assert isinstance(model, Model)
    return live._replace(model=model)


def weeks(live: Trained, count: int = 80) -> World:
    """Publish two payments a day, by nine cards at two shops, every fourth one abroad, each decided at once."""
    world = live.world()
    for number in range(count):
        world.now_ms += DAY_MS // 2
        country = {"merchant_country": "NG" if number % 8 == 0 else "FR"} if number % 4 == 0 else {}
        amount = {"amount_minor": 1_000 * (1 + number % 13), "currency": "EUR" if number % 3 else "USD"}
        world.publish(world.pay_in_turn(number, cards=9, **country, **amount))
        world.decide()
    return world


def decided(world: World) -> dict[str, Score]:
    found = [
        msgspec.json.decode(one.value or b"", type=Score) for log in world.topics["scores"].values() for one in log
    ]
    return {one.transaction_id: one for one in found}


def test_every_decision_by_costs_and_rules_is_made_again_from_the_topics(ruled: Trained, tmp_path: Path) -> None:
    world = weeks(ruled)
    found = compared(world, out=tmp_path / "out.parquet")
    assert (found.compared, found.equal, found.examples) == (80, 80, ())
    by = Counter(one.overruled.by for one in decided(world).values() if one.overruled)
    assert found.overruled == dict(by)
    assert {"rule:stolen", "rule:far", "rule:often"} <= set(by)


def test_a_rule_that_is_not_the_one_that_decided_is_unexplained(ruled: Trained) -> None:
    world = weeks(ruled)
    blocked = [one for one in decided(world).values() if one.overruled and one.overruled.by == "rule:stolen"]
    for one, by in zip(blocked, (None, "rule:far", "rule:known"), strict=False):
        forged = None if by is None else Overruled(by, one.said)
        alter(world, one.transaction_id, overruled=forged, decision=one.said)
    found = compared(world)
    assert (found.compared, found.equal) == (80, 77)
    assert len(found.examples) == 3


def test_a_rules_decline_that_the_cap_made_a_review_is_equal_and_a_forged_one_is_not(ruled: Trained) -> None:
    world = weeks(ruled)
    scores = decided(world)
    blocked = next(one for one in scores.values() if one.overruled and one.overruled.by == "rule:stolen")
    plain = next(one for one in scores.values() if one.overruled is None and one.decision == "approve")
    softened = Overruled.of("decline_cap", blocked.said, blocked.decision)
    alter(world, blocked.transaction_id, overruled=softened, decision="review")
    found = compared(world)
    assert (found.equal, found.overruled["decline_cap"]) == (80, 1)
    forged = Overruled.of("decline_cap", plain.decision, blocked.decision)
    alter(world, plain.transaction_id, overruled=forged, decision="review")
    found = compared(world)
    assert (found.equal, len(found.examples)) == (79, 1)


def test_scoring_a_topic_decides_as_the_stream_did(ruled: Trained, tmp_path: Path) -> None:
    world = weeks(ruled)
    scored(world, tmp_path / "again.parquet")
    again = lines(tmp_path / "again.parquet")
    for transaction_id, one in decided(world).items():
        found = again[transaction_id]
        assert (found["decision"], found["score"]) == (one.decision, one.score)
        assert found["overruled_by"] == (None if one.overruled is None else one.overruled.by)
