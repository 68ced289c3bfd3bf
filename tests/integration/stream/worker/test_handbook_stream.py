"""A fleet decides thousands of transactions of a public stream while workers join, stop, are killed and freeze."""

import math
import signal
import time
from typing import Any

import pytest

from fraudstream_client.outputs import Score
from support.acceptance import sized
from support.fleet.fleet import Fleet, sources
from support.fleet.workers import Worker
from support.handbook import Recount, label, needs_handbook, rows, transaction, weeks

COUNT = sized(8_000, 20_000)
PER_TERMINAL = 93
"""The least average number of transactions of a terminal, with which the stream covers all weeks."""


@needs_handbook
@pytest.mark.acceptance
def test_faults_leave_one_valid_score_per_payment_with_features_equal_to_a_recount(fleet: Fleet) -> None:
    stream = rows(terminals=COUNT // PER_TERMINAL, most=COUNT)
    assert len(stream) == COUNT
    workers = fleet.go_live(workers=2)
    decided = 0
    for number, stretch in enumerate(weeks(stream)):
        fleet.publish(transaction(row) for row in stretch)
        inject_fault(fleet, workers, number)
        decided += len(stretch)
        fleet.await_scores(decided, seconds=90)
        fleet.publish((label(row) for row in stretch), topic="labels")
        fleet.await_outcomes(decided, seconds=90)
    valid = fleet.scores()[0]
    assert set(sources(valid).values()) == {1}
    assert {score.transaction_id for score in valid} == {row["transaction_id"] for row in stream}
    assert fleet.read("dead-letters") == []
    assert differences(stream, valid) == []


def inject_fault(fleet: Fleet, workers: list[Worker], stretch: int) -> None:
    """Inject this stretch's fault, if any: a join, a SIGTERM, a SIGKILL, a SIGSTOP past the session timeout."""
    match stretch:
        case 2:
            workers.append(fleet.worker())
        case 5:
            assert workers[0].terminate() == 0
            workers.append(fleet.worker())
        case 8:
            workers[1].signal(signal.SIGKILL)
            workers.append(fleet.worker())
        case 11:
            workers[2].signal(signal.SIGSTOP)
            time.sleep(5.0)
            workers[2].signal(signal.SIGCONT)
        case _:
            return


def differences(stream: list[dict[str, Any]], valid: list[Score]) -> list[tuple[str, str, float | None, float | None]]:
    """Compare every feature of every score with the recount."""
    by_id, recount = {score.transaction_id: score for score in valid}, Recount()
    found = []
    for row in stream:
        features = by_id[row["transaction_id"]].features or {}
        found += [
            (row["transaction_id"], name, features[name], value)
            for name, value in recount.features(row).items()
            if not same(features[name], value)
        ]
    return found


def same(computed: float | None, expected: float | None) -> bool:
    if computed is None or expected is None:
        return computed is expected
    return math.isclose(computed, expected, rel_tol=1e-12, abs_tol=1e-12)
