"""Each transaction has exactly one valid score, despite crashes, joins, zombies and a producer's retries."""

import signal
import threading
import time

import pytest

from support.fleet.fleet import Fleet, feed, sources, until
from support.fleet.payments import payment


def test_a_worker_killed_between_publishing_and_committing_leaves_no_void_score(fleet: Fleet) -> None:
    (worker,) = fleet.go_live(COMMIT_INTERVAL="1h")  # so that nothing it publishes is committed
    fleet.publish(payment(number) for number in range(600))
    fleet.await_scores(600)
    fleet.publish(payment(number) for number in range(600, 3000))
    until(lambda: len(fleet.read("scores")) > 1000, "some of the second part decided")
    worker.signal(signal.SIGKILL)
    fleet.worker().await_ready()
    valid = fleet.await_scores(3000)
    reader = fleet.scores()[1]
    assert (len(valid), reader.void, reader.unreadable) == (3000, 0, 0)
    assert {score.transaction_id for score in valid} == {f"t-{number}" for number in range(3000)}
    assert set(sources(valid).values()) == {1}


def test_joins_a_sigterm_a_sigkill_and_a_zombie_leave_one_valid_score_per_payment(fleet: Fleet) -> None:
    first, second = fleet.go_live(workers=2)
    total, rate = 20_000, 2_000
    feeding = threading.Thread(target=lambda: [feed(fleet, second_, rate) for second_ in range(total // rate)])
    feeding.start()
    time.sleep(1.0)
    third = fleet.worker()
    third.await_ready()
    assert first.terminate() == 0
    fourth = fleet.worker()
    fourth.await_ready()
    second.signal(signal.SIGKILL)
    third.signal(signal.SIGSTOP)
    time.sleep(5.0)  # past the session timeout of 3 s: its partitions move
    third.signal(signal.SIGCONT)
    feeding.join()
    valid = fleet.await_scores(total, seconds=90)
    assert len(valid) == total
    assert {score.transaction_id for score in valid} == {f"t-{number}" for number in range(total)}
    assert set(sources(valid).values()) == {1}
    assert fleet.read("dead-letters") == []


def test_a_producers_retry_at_another_offset_is_decided_once_and_other_content_is_a_conflict(fleet: Fleet) -> None:
    fleet.go_live()
    fleet.publish([payment(1), payment(2), payment(1)])
    fleet.await_scores(2)
    fleet.publish([payment(2), payment(1, amount_minor=99), payment(3, card_id=payment(1)["card_id"])])
    valid = fleet.await_scores(3)
    (letter,) = fleet.await_dead_letters(1)
    assert sorted(score.transaction_id for score in valid) == ["t-1", "t-2", "t-3"]
    assert dict(letter.headers)["error.code"] == b"transaction_conflict"
    last = next(score for score in valid if score.transaction_id == "t-3")
    assert last.features is not None
    earlier = 1 + (payment(1)["card_id"] == payment(2)["card_id"])
    assert last.features["card_count_30d"] == earlier + 1


@pytest.mark.acceptance
def test_a_new_consumer_group_uses_higher_epochs_than_the_old_one(fleet: Fleet) -> None:
    (worker,) = fleet.go_live()
    for more in (100, 200):  # two generations more
        second = fleet.worker()
        second.await_ready()
        fleet.publish(payment(number) for number in range(more - 100, more))
        fleet.await_scores(more)
        assert second.terminate() == 0
    assert worker.terminate() == 0
    highest = max(score.epoch for score in fleet.scores()[0])
    fleet.environment["GROUP"] = f"{fleet.prefix}another-group"
    fleet.worker().await_ready()
    fleet.publish(payment(number) for number in range(200, 300))
    valid = fleet.await_scores(300)
    later = {score.epoch for score in valid if int(score.transaction_id[2:]) >= 200}
    assert min(later) > highest
    assert (fleet.scores()[1].void, set(sources(valid).values())) == (0, {1})
