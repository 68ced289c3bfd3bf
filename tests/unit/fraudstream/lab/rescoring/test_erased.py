"""Erased cards rescored: nothing sees what is erased, and only decisions that saw it before are excused."""

from pathlib import Path

import pytest

from fraudstream.lab.rescoring.request import Range
from support.fleet.payments import partition_of
from support.rescoring.model import Trained, alter, compared, lines, scored
from support.rescoring.world import PARTITIONS, World

HOUR_MS = 3_600_000


def paid(live: Trained, count: int = 40) -> World:
    """Let four cards pay at two shops, once an hour, each decided at once; every third payment gets a label."""
    world = live.world()
    for number in range(count):
        pay(world, number)
    return world


def pay(world: World, number: int) -> None:
    """Let a card pay, and label every third payment."""
    world.now_ms += HOUR_MS
    world.publish(world.pay_in_turn(number, cards=4))
    world.decide()
    if number % 3 == 0:
        world.tell(world.label_in_turn(number, cards=4))


def test_what_an_erased_card_had_decided_before_is_erased_and_everything_else_is_equal(
    live: Trained, tmp_path: Path
) -> None:
    world, out = paid(live), tmp_path / "out.parquet"
    world.erase("card-1", world.now_ms)
    world.decide()
    for number in range(40, 60):
        pay(world, number)
    found = compared(world, out=out)
    assert (found.compared, found.equal, found.explained, found.unexplained) == (60, 50, 10, 0)
    assert found.reasons == {"erased": 10}
    erased = {name for name, line in lines(out).items() if line["reasons"] == "erased"}
    assert erased == {f"t-{number}" for number in range(1, 40, 4)}


def test_a_decision_before_the_erasure_that_saw_nothing_erased_is_compared(live: Trained) -> None:
    """Its card was erased up to a time before its first payment."""
    world = paid(live)
    world.erase("card-1", world.now_ms - 100 * HOUR_MS)
    world.decide()
    assert compared(world).equal == 40


def test_a_second_erasure_excuses_only_what_it_erases_anew(live: Trained) -> None:
    world = paid(live)
    first_ms = world.now_ms
    world.erase("card-1", first_ms)
    world.decide()
    for number in range(40, 48):
        pay(world, number)
    world.erase("card-1", first_ms - HOUR_MS)
    world.decide()
    assert compared(world).reasons == {"erased": 10}
    world.erase("card-1", world.now_ms)
    world.decide()
    assert compared(world).reasons == {"erased": 12}


def test_a_loss_in_an_erased_card_is_found(live: Trained) -> None:
    """A decision after the erasure that lacks one of the records that are left."""
    world = paid(live)
    world.erase("card-1", world.now_ms)
    world.decide()
    for number in range(40, 60):
        pay(world, number)
    alter(world, "t-57", rescored=True, features={"card_count_1d": 1.0})
    found = compared(world)
    assert (found.unexplained, [one.transaction_id for one in found.examples]) == (1, ["t-57"])


def test_an_erasure_behind_the_range_holds_for_it(live: Trained, tmp_path: Path) -> None:
    """What is scored has no erased payment in it, and no later payment of the card sees one."""
    world, out = paid(live), tmp_path / "out.parquet"
    partition = partition_of("card-1", PARTITIONS)
    end = len(world.topics["transactions"][partition])
    middle_ms = world.now_ms - 20 * HOUR_MS
    world.erase("card-1", middle_ms)
    scored(world, out, Range(offsets={partition: (0, end)}))
    counts = {name: line["card_count_30d"] for name, line in lines(out).items() if line["card_id"] == "card-1"}
    assert counts == {f"t-{number}": 1 + at for at, number in enumerate(range(21, 40, 4))}


@pytest.mark.parametrize("sent", [b'{"kind":"erasure"}', b'{"kind":"erasure","card_id":"card-1","request_id":"r"}'])
def test_what_only_calls_itself_an_erasure_is_none(live: Trained, sent: bytes) -> None:
    world = paid(live)
    world.append("transactions", 0, sent)
    assert compared(world).equal == 40
