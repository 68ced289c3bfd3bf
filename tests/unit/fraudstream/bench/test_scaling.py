"""The day of load, and what is computed from the decisions of a run."""

import numpy as np
import pytest
from click.testing import CliRunner

from fraudstream.bench.load import LoadPlan
from fraudstream.bench.scaling import (
    DayOfLoad,
    ScalingFigures,
    ScalingPhase,
    ScalingSample,
    lag_per_worker,
    longest_pauses,
)
from fraudstream.bench.scaling_page import scaling_page
from fraudstream.bench.worker import SeenScore
from fraudstream.cli.main import main

PHASE = ScalingPhase("a day of load", 1000, 0, 0, 7, 12.0, 340.0, 900.0, (400.0, 900.0), 812.4, 700.2)


def seen(*rows: tuple[str, int, int]) -> list[SeenScore]:
    return [SeenScore(name, at, partition, "model") for name, at, partition in rows]


def test_a_day_begins_and_ends_low_and_is_high_at_noon() -> None:
    day = DayOfLoad(10, 2000, 300)
    assert [round(day.rate(at)) for at in (0, 75, 150, 300)] == [10, 1005, 2000, 10]
    due = day.due()
    assert len(due) == pytest.approx(300 * (10 + 2000) / 2, rel=0.001)
    assert np.all(np.diff(due) >= 0)
    for at in (30, 150, 290):
        around = ((due >= at - 1) & (due < at + 1)).sum() / 2
        assert around == pytest.approx(day.rate(at), rel=0.05)


def test_a_pause_lasts_while_a_payment_waits_and_none_is_decided() -> None:
    due = {"a": 0, "b": 100, "c": 110, "d": 5000, "e": 100}
    decided = seen(("a", 10, 0), ("b", 130, 0), ("c", 900, 0), ("d", 5020, 0), ("e", 150, 1))
    # b waited 30 ms; c from b's decision on; nothing waited before d.
    assert longest_pauses(due, decided) == {0: 770.0, 1: 50.0}


def test_payments_of_other_parts_are_left_out() -> None:
    assert longest_pauses({"a": 0}, seen(("other", 9, 0), ("a", 10, 0))) == {0: 10.0}


def test_the_lag_of_a_worker_at_seven_tenths_of_its_limit() -> None:
    assert lag_per_worker(4000, 1.0) == 1400
    assert lag_per_worker(4000, 0.1) == 140
    assert lag_per_worker(0.5, 0.1) == 1


def test_the_page_has_the_plots_and_the_parts() -> None:
    samples = tuple(ScalingSample(float(at), 10.0 * at, 7 * at, 1 + at // 3, 2, 1) for at in range(9))
    page = scaling_page(ScalingFigures(2000, 700, samples, (PHASE, PHASE._replace(name="a rolling restart"))), 0)
    for words in ("Payments a second", "What waits", "Workers", "a rolling restart", "At most 56 payments"):
        assert words in page
    assert "<script" not in page


def test_each_rate_has_a_payment_at_least() -> None:
    assert LoadPlan((0.01, 10, 1000), 20, 1, 4).counts == (1, 200, 20_000)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("load", "--rate", "10;100"), "is no list of rates such as 10,1000,10000"),
        (("load", "--rate", "10,0"), "each rate is above 0"),
        (("load", "--rate", "10,2000000"), "at most 1,000,000"),
    ],
)
def test_rates_that_cannot_be_offered_are_refused(options: tuple[str, ...], says: str) -> None:
    done = CliRunner().invoke(main, ["bench", *options, "--model", "0123abcd"])
    assert done.exit_code == 2
    assert says in done.output
