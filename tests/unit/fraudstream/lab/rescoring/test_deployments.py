"""Two deployments on the same topics: each one's decisions are made again from its own histories alone."""

from typing import Any

import pytest

from fraudstream.lab.rescoring.request import NothingToScoreError, Range
from support.rescoring.faults import DAY_MS
from support.rescoring.model import Trained, alter, compared, scored
from support.rescoring.world import FIRST_EPOCH, World

STEP_MS = DAY_MS // 2
BEFORE, BESIDE = 60, 40


class Fleets:
    """A deployment that publishes, `blue`, and another one, `green`, which begins later."""

    def __init__(self, live: Trained) -> None:
        self.blue = live.world()
        self.green = live.world(deployment="green")
        self.green.beside(self.blue)
        self.green.histories.epoch = FIRST_EPOCH + 5_000
        self.paid = 0

    def pay(self, count: int, *deciding: World) -> None:
        """Publish payments two a day, each decided by these deployments, and tell both of some labels."""
        both = (self.blue, self.green)
        for number in range(self.paid, self.paid + count):
            self.blue.now_ms = self.now_ms + STEP_MS
            self.blue.publish(self.blue.pay_in_turn(number, devices=3))
            for one in deciding:
                one.now_ms = self.now_ms
                one.decide()
            if number % 5 == 4:
                (record,) = self.blue.publish(self.blue.label_in_turn(number - 4), topic="labels")
                for one in both:
                    one.now_ms = self.now_ms
                    one.answer(record)
        self.paid += count

    @property
    def now_ms(self) -> int:
        return max(self.blue.now_ms, self.green.now_ms)

    def begin(self) -> None:
        """Let the other deployment begin beside the first one, which has decided alone."""
        self.pay(BEFORE, self.blue)
        self.green.catch_up()
        self.pay(BESIDE, self.blue, self.green)


@pytest.fixture
def fleets(live: Trained) -> Fleets:
    return Fleets(live)


def test_a_silent_deployment_and_the_publishing_one_are_each_compared_alone(fleets: Fleets) -> None:
    fleets.begin()
    found = compared(fleets.blue)
    assert (found.deployment, found.compared, found.equal) == ("default", BEFORE + BESIDE, BEFORE + BESIDE)
    assert (found.silent, found.undecided, found.elsewhere, found.void) == (0, 0, 0, 0)
    found = compared(fleets.green)
    assert (found.deployment, found.compared, found.equal, found.examples) == ("green", BESIDE, BESIDE, ())
    assert (found.silent, found.undecided, found.elsewhere, found.void) == (BESIDE, 0, 0, 0)


def test_an_altered_feature_of_a_silent_decision_is_unexplained(fleets: Fleets) -> None:
    fleets.begin()
    for back, name in enumerate(("card_count_30d", "merchant_count_delayed_30d", "device_cards_30d"), 1):
        alter(fleets.green, f"t-{BEFORE + BESIDE - back}", topic="scores-green", features={name: 99.0})
    found = compared(fleets.green)
    assert (found.equal, found.unexplained) == (BESIDE - 3, 3)
    assert compared(fleets.blue).equal == BEFORE + BESIDE


def test_over_a_hand_over_the_decisions_of_each_are_those_on_both_of_its_topics(fleets: Fleets) -> None:
    fleets.begin()
    fleets.pay(6, fleets.blue)
    fleets.green.catch_up()
    fleets.green.take_over(fleets.blue)
    fleets.pay(30, fleets.green, fleets.blue)
    found = compared(fleets.green)
    assert (found.compared, found.equal, found.silent) == (BESIDE + 30, BESIDE + 30, BESIDE)
    assert (found.undecided, found.elsewhere) == (0, 6)
    found = compared(fleets.blue)
    assert (found.compared, found.equal, found.silent) == (BEFORE + BESIDE + 36, BEFORE + BESIDE + 36, 30)
    assert (found.undecided, found.elsewhere) == (0, 0)


def test_of_a_payment_that_one_deployment_decided_on_both_topics_the_published_decision_is_compared(
    fleets: Fleets,
) -> None:
    fleets.begin()
    fleets.green.take_over(fleets.blue)
    for number in fleets.blue.undecided:
        fleets.blue.undecided[number] -= 3
    assert fleets.blue.decide() == 9
    fleets.pay(6, fleets.green, fleets.blue)
    found = compared(fleets.blue)
    assert (found.compared, found.equal, found.silent) == (BEFORE + BESIDE + 6, BEFORE + BESIDE + 6, 6)
    alter(fleets.blue, f"t-{BEFORE + BESIDE - 1}", topic="scores-default", features={"card_count_30d": 99.0})
    assert compared(fleets.blue).equal == BEFORE + BESIDE + 6


def test_a_payment_that_nobody_decided_is_undecided_for_both(fleets: Fleets) -> None:
    fleets.begin()
    (record,) = fleets.blue.publish(fleets.blue.pay_in_turn(900, devices=3))
    for one in (fleets.blue, fleets.green):
        one.undecided[record.partition] += 1
    fleets.paid = 901
    fleets.pay(10, fleets.blue, fleets.green)
    assert compared(fleets.blue).undecided == compared(fleets.green).undecided == 1


def test_payments_of_which_it_is_unknown_whether_they_were_applied_explain_what_differs(fleets: Fleets) -> None:
    fleets.pay(BEFORE, fleets.blue)
    waiting = fleets.blue.topics["transactions"]
    fleets.green.observe([0, 1])
    for number in (0, 1):
        fleets.green.undecided[number] = len(waiting[number])
    fleets.blue.publish(*(fleets.blue.pay_in_turn(number, devices=3) for number in range(BEFORE, BEFORE + 10)))
    fleets.blue.decide()
    fleets.green.now_ms = fleets.blue.now_ms
    fleets.green.decide([0, 1])
    found = compared(fleets.green)
    assert (found.unexplained, set(found.reasons)) == (0, {"order_unknown"})


def test_a_label_that_one_deployment_has_applied_alone_is_in_the_histories_of_that_one_only(fleets: Fleets) -> None:
    fleets.begin()
    for number in (81, 82, 83, 84, 86, 87, 88, 89):
        (record,) = fleets.blue.publish(fleets.blue.label(number, f"card-{number % 10}"), topic="labels")
        fleets.blue.answer(record)
    fleets.pay(8, fleets.blue, fleets.green)
    assert compared(fleets.blue).equal == BEFORE + BESIDE + 8
    found = compared(fleets.green)
    assert (found.compared, found.equal) == (BESIDE + 8, BESIDE + 8)


def test_a_range_of_time_selects_from_both_topics(fleets: Fleets) -> None:
    fleets.begin()
    since_ms = fleets.now_ms
    fleets.pay(5, fleets.blue, fleets.green)
    fleets.green.take_over(fleets.blue)
    fleets.pay(7, fleets.green, fleets.blue)
    until_ms = fleets.now_ms
    fleets.pay(5, fleets.green, fleets.blue)
    for one in (fleets.green, fleets.blue):
        found = compared(one, Range(since_ms + 1, until_ms + 1))
        assert (found.compared, found.equal) == (12, 12)
    found = compared(fleets.green, Range(since_ms + 1))
    assert (found.compared, found.equal, found.silent) == (17, 17, 5)


def test_a_deployment_without_decisions_is_told_who_has_some(fleets: Fleets) -> None:
    fleets.pay(10, fleets.blue)
    with pytest.raises(NothingToScoreError, match="of deployment green; scores has decisions of default: FRAUDSTREAM_"):
        compared(fleets.green)


def test_a_silent_deployment_scores_every_payment_of_the_topic(fleets: Fleets, tmp_path: Any) -> None:
    fleets.begin()
    assert scored(fleets.green, tmp_path / "out.parquet").fates == {"decide": BEFORE + BESIDE}


def test_void_scores_of_the_replaced_deployment_are_not_compared(fleets: Fleets) -> None:
    fleets.begin()
    fleets.green.take_over(fleets.blue)
    fleets.pay(10, fleets.green)
    fleets.blue.silent = False  # it has not noticed yet
    fleets.blue.decide()
    found = compared(fleets.green)
    assert (found.compared, found.equal, found.void) == (BESIDE + 10, BESIDE + 10, 10)
    assert compared(fleets.blue).compared == BEFORE + BESIDE
