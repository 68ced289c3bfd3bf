"""`fraudstream score --topic --diff` whatever the feature sets: one or two at once, of any mix of entities."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from features import default_set, hot_merchants_set
from features.declaration import FeatureSet
from features.rows import own
from features.vector.sets import FeatureSets
from support.acceptance import cases
from support.examples import examples
from support.rescoring.drawn_sets import (
    CARDS,
    DEVICES,
    MERCHANTS,
    PANED_MERCHANTS,
    Deployment,
    deployment,
    sets_side_by_side,
)
from support.rescoring.faults import Act, Play, acts, lose, repair
from support.rescoring.model import compared

ORDINARY = ("label", "early label", "again", "conflict")
FAULTS = ("away", "back", "decide elsewhere", "lose", "repair", "crash", "label crash")
DEFAULT = FeatureSet(default_set.FEATURES)
OF_DEVICES = FeatureSet((*default_set.FEATURES, *DEVICES))
OF_CARDS = FeatureSet(CARDS)
OF_MERCHANTS = FeatureSet(MERCHANTS)
OF_DEVICES_ALONE = FeatureSet(DEVICES)
OF_PAYMENTS_ALONE = FeatureSet((own("is_night"), own("is_weekend")))
HOT_MERCHANTS = FeatureSet(hot_merchants_set.FEATURES)
CARD_IDS = ("card-0", "card-1", "card-2", "card-3")
PAIRS = {
    "devices last": (DEFAULT, OF_DEVICES),
    "devices first": (OF_DEVICES, DEFAULT),
    "cards alone": (OF_CARDS,),
    "cards and devices": (OF_CARDS, OF_DEVICES_ALONE),
    "merchants and devices": (OF_DEVICES_ALONE, OF_MERCHANTS),
    "no history": (OF_PAYMENTS_ALONE, OF_DEVICES),
    "paned merchants": (DEFAULT, HOT_MERCHANTS),
    "paned merchants and devices": (HOT_MERCHANTS, FeatureSet((*PANED_MERCHANTS, *DEVICES))),
}
QUICK = ("devices last", "cards and devices", "no history", "paned merchants")


class DeployedPlay(Play):
    """Applies acts to a deployment; one more act promotes the model of another set."""

    def __init__(self, deployed: Deployment) -> None:
        super().__init__(deployed.world)
        self._deployed = deployed

    def _promote(self, act: Act) -> None:
        self._deployed.promote(act.back)

    def _compact(self, _: Act) -> None:
        self.world.compact()


@pytest.mark.parametrize("name", cases(PAIRS, short=QUICK))
def test_decisions_after_a_repair_are_compared_whatever_the_sets_read(models: Path, name: str) -> None:
    deployed = deployment(models, FeatureSets(PAIRS[name]))
    world = deployed.world
    for number in range(4 * len(CARD_IDS)):
        world.now_ms += 1000
        card_id = CARD_IDS[number % len(CARD_IDS)]
        world.publish(world.pay(number, card_id=card_id, merchant_id="shop-0", device_id="phone-0"))
        if card_id == CARD_IDS[-1]:
            if number > len(CARD_IDS):
                lose(world)
                repair(world, [2, 1, 0])
            deployed.promote(number // len(CARD_IDS))
            world.decide()
    found = compared(world, sets=world.sets)
    assert found.examples == ()
    assert found.compared == found.equal + found.explained == 4 * len(CARD_IDS)


@pytest.mark.acceptance
@given(sets_side_by_side, acts(*ORDINARY, *FAULTS, "promote", "compact"))
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_difference_is_explained_whatever_the_sets(models: Path, sets: FeatureSets, stream: list[Act]) -> None:
    play = DeployedPlay(deployment(models, sets))
    if play.run(stream):
        found = compared(play.world, sets=sets)
        assert found.examples == ()
        assert found.compared == play.decided == found.equal + found.explained
        assert set(found.reasons) <= {"degraded", "order_unknown", "history_epoch_changed"}


@given(sets_side_by_side, acts(*ORDINARY, "promote", "compact"))
@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_decisions_without_faults_are_reproduced_whatever_the_sets(
    models: Path, sets: FeatureSets, stream: list[Act]
) -> None:
    play = DeployedPlay(deployment(models, sets))
    if play.run(stream):
        found = compared(play.world, sets=sets)
        assert found.examples == ()
        assert (found.compared, found.equal) == (play.decided, play.decided)
