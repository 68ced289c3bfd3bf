"""What guards promise, in simulated worlds whose truth is known: how often they are wrong, and how soon they are right.

Each figure has its seed; the comments say the Monte Carlo error of one standard deviation.
"""

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import numpy as np
import pytest

from benchmarks.worlds.canaries import (
    Traffic,
    by_canary,
    classes_of,
    clean,
    climbed,
    declines_until_found,
    part_of,
    payments_until,
    until_breach,
)
from guards.evidence import log_climb_evidence, log_fewer_evidence_of, log_more_evidence_of
from guards.first_payments import (
    BAND_CLASSES,
    SCORE,
    Quantity,
    Sampled,
    Training,
    log_rate_evidence,
    quantities,
    recomputed_unseen,
    tolerated,
    unseen_evidence,
    unseen_explained,
)
from guards.specs import GuardKind, default_guards
from support.acceptance import cases

# --- too few


@pytest.mark.parametrize(("share", "all_firsts"), [(0.01, 654), (0.1, 63), (0.25, 24)])
def test_a_canary_that_declines_nothing_is_found_after_some_first_declines_in_all(
    share: float, all_firsts: int
) -> None:
    own, total = until_breach({}, share, 0.0, np.random.default_rng(1), log_fewer_evidence_of)
    assert own == 0
    assert total == pytest.approx(all_firsts, rel=0.06)


# --- too many, early and late


@pytest.mark.parametrize(
    ("ratio", "start", "after_3000"), [pytest.param(2.0, 54, 72, marks=pytest.mark.acceptance), (10.0, 10, 13)]
)
def test_a_change_is_found_late_nearly_as_soon_as_early(ratio: float, start: int, after_3000: int) -> None:
    rng, runs = np.random.default_rng(3), 16
    early = np.median([until_breach({}, 0.1, ratio, rng)[0] for _ in range(runs)])
    late = np.median([until_breach(clean(0.1, 300, rng), 0.1, ratio, rng)[0] for _ in range(runs)])
    assert early == pytest.approx(start, rel=0.35)
    assert late == pytest.approx(after_3000, rel=0.35)


def slow_mixture(counts: Mapping[tuple[int, int], tuple[int, int]]) -> float:
    """Compute the mixture over starts event by event, as the formula is written."""
    last, total = max(block for block, _ in counts), 0.0
    tail = [math.log(20) / math.log(block + 20) for block in range(last + 2)]
    for theta in np.geomspace(1, 20, 40):
        for begin in range(last + 1):
            product = 1.0
            for (block, share_bp), (own, live) in counts.items():
                if block >= begin:
                    share = share_bp / 10_000
                    product *= (by_canary(share, theta) / share) ** own
                    product *= ((1 - by_canary(share, theta)) / (1 - share)) ** live
            total += (tail[begin] - tail[begin + 1]) * product / 40
    return total + tail[last + 1]


def test_the_evidence_of_a_late_change_equals_its_formula_whatever_the_order() -> None:
    counts = {(0, 100): (1, 9), (0, 500): (2, 3), (4, 500): (3, 5), (9, 2_500): (4, 4)}
    found = log_more_evidence_of(counts)
    assert math.exp(found) == pytest.approx(slow_mixture(counts), rel=1e-9)
    assert log_more_evidence_of(dict(reversed(counts.items()))) == pytest.approx(found)


def test_without_a_difference_neither_side_is_breached_more_often_than_its_alpha() -> None:
    """1,000 first declines in a ramp, looked at ten times; a Monte Carlo error of 2 % at 0.05."""
    rng, runs, alpha, crossed = np.random.default_rng(4), 120, 0.1, {log_more_evidence_of: 0, log_fewer_evidence_of: 0}
    shares = np.repeat([0.01, 0.05, 0.25], [30, 30, 40])
    ends: dict[Any, list[float]] = {side: [] for side in crossed}
    for _ in range(runs):
        blocks = {(at, round(share * 10_000)): own for at, share in enumerate(shares) if (own := _drawn(share, rng))}
        for side in crossed:
            looks = [side(dict(list(blocks.items())[:at])) for at in range(10, 101, 10)]
            crossed[side] += max(looks) >= math.log(2 / alpha)
            ends[side].append(math.exp(looks[-1]))
    for side, count in crossed.items():
        assert count <= runs * alpha / 2 + 3 * math.sqrt(runs * alpha / 2)
        assert np.mean(ends[side]) <= 1 + 4 * np.std(ends[side]) / math.sqrt(runs)


def _drawn(share: float, rng: np.random.Generator) -> tuple[int, int]:
    own = int(rng.binomial(10, share))
    return own, 10 - own


# --- evidence to climb


@pytest.mark.parametrize(("share", "firsts"), cases([(0.01, 9), (0.1, 12), (0.25, 14)], short=[(0.1, 12), (0.25, 14)]))
def test_an_equal_canary_excludes_a_doubling_after_some_of_its_first_declines(share: float, firsts: int) -> None:
    rng, runs, most = np.random.default_rng(5), 150, round(150 / share)
    own = rng.random((runs, most)) < share
    canary, needed = own.cumsum(1), []
    for at in range(runs):
        logs = log_climb_evidence(
            canary[at][:, None].astype(float),
            (np.arange(1, most + 1) - canary[at])[:, None].astype(float),
            np.array([share]),
        )
        needed.append(int(canary[at][(logs >= math.log(20)).argmax()]))
    assert np.median(needed) == pytest.approx(firsts, abs=3)
    assert np.quantile(needed, 0.9) < 60


def test_a_canary_that_declines_twice_as_much_does_not_climb_where_declines_are_rare() -> None:
    """A short case of the test below."""
    rng = np.random.default_rng(6)
    assert part_of([climbed(rng, 2.0, Traffic(2, 0.001), asks=False) for _ in range(5)], "top") > 0.5
    assert part_of([climbed(rng, 2.0, Traffic(2, 0.001), days=0.5) for _ in range(5)], "top") < 0.3


@pytest.mark.acceptance
@pytest.mark.parametrize(("per_second", "part", "before"), [(2, 0.001, 0.94), (10, 0.001, 0.78), (2, 0.005, 0.72)])
def test_a_doubling_climbs_in_at_most_one_of_twenty_worlds_and_an_equal_canary_climbs(
    per_second: float, part: float, before: float
) -> None:
    """60 worlds each: a Monte Carlo error of 3 % at 0.05."""
    rng, runs, traffic = np.random.default_rng(7), 60, Traffic(per_second, part)
    assert part_of([climbed(rng, 2.0, traffic, asks=False) for _ in range(runs)], "top") > before - 0.2
    assert part_of([climbed(rng, 2.0, traffic) for _ in range(runs)], "top") <= 0.05 + 0.06
    equal = [climbed(rng, 1.0, traffic, days=30) for _ in range(runs)]
    assert part_of(equal, "top") >= 0.97 - 0.05


@pytest.mark.acceptance
def test_a_canary_that_approves_everything_never_climbs() -> None:
    rng = np.random.default_rng(8)
    assert {climbed(rng, 0.0, Traffic(10, 0.005), days=2).end for _ in range(40)} == {"breached"}


def test_a_canary_whose_own_rule_declines_everything_is_found_though_its_model_approves_and_the_cap_reviews() -> None:
    rng = np.random.default_rng(15)
    assert max(declines_until_found(rng, 0.1, 1_000) for _ in range(5)) <= 12


# --- scores and features, without labels


@pytest.mark.parametrize(("share", "payments"), [(0.01, 1_500), (0.1, 300)])
def test_a_canary_whose_scores_are_near_0_is_found_within_minutes(share: float, payments: int) -> None:
    rng = np.random.default_rng(9)
    assert max(payments_until(rng, share, (20, 10)) for _ in range(5)) <= payments
    assert max(payments_until(rng, share, (980, 10)) for _ in range(5)) <= payments


def test_scores_that_are_alike_or_somewhat_sharper_are_no_breach() -> None:
    rng = np.random.default_rng(10)
    for canary in ((300, 80), (290, 90), (320, 80)):
        assert min(payments_until(rng, 0.1, canary, 5_000) for _ in range(4)) == 5_000


UNDEFINED = {"always": 0.0, "half": 0.5, "never": 1.0, "rare": 0.02}
SEEN = Training(UNDEFINED, tuple(classes_of(np.random.default_rng(1), 50_000, 400, 60)))


def test_a_feature_that_is_always_undefined_is_found_after_a_few_payments() -> None:
    spec = default_guards()[GuardKind.UNSEEN]
    needed = {}
    for name in ("always", "rare", "half"):
        needed[name] = next(
            rows
            for rows in range(1, 200)
            if unseen_evidence(spec, Sampled(rows, {name: rows}, SEEN.classes), SEEN)["breached"]
        )
    assert needed["always"] <= 4
    assert needed["rare"] <= 5
    assert needed["half"] <= 40
    found = unseen_evidence(spec, Sampled(40, {"half": 40}, SEEN.classes), SEEN)
    assert (found["quantity"], found["count"], found["rows"], found["tests"]) == ("half", 40, 40, 4)
    assert recomputed_unseen(found) == pytest.approx(found["e"])
    assert "half undefined in 40 of the canary's 40 first payments, the worst of 4 quantities; 75.0% are" in (
        unseen_explained(found)
    )


def test_scores_outside_of_what_training_saw_are_found() -> None:
    spec, low = default_guards()[GuardKind.UNSEEN], [9, *[0] * (BAND_CLASSES - 1)]
    found = unseen_evidence(spec, Sampled(0, {}, low), SEEN)
    assert (found["quantity"], found["breached"]) == (SCORE, True)
    assert SEEN.outside() >= {0, BAND_CLASSES - 1}
    assert unseen_evidence(spec, Sampled(0, {}, low), None)["breached"] is False


def test_shares_as_in_training_are_seldom_a_breach() -> None:
    """1,000 first payments, looked at after each ten: a Monte Carlo error of 4 % at 0.1."""
    rng, runs, alpha, crossed = np.random.default_rng(11), 60, 0.1, 0
    for _ in range(runs):
        worst = 0.0
        for share in (0.0, 0.02, 0.5):
            counts = accumulate((rng.random(1_000) < share).tolist())
            allowed = tolerated(share)
            worst = max(
                worst, *(log_rate_evidence(int(n), at, allowed) for at, n in enumerate(counts, 1) if not at % 10)
            )
        crossed += worst >= math.log(4 / alpha)
    assert crossed <= runs * alpha + 3 * math.sqrt(runs * alpha)
    assert quantities(Sampled(10, {}, SEEN.classes), SEEN)[1] == Quantity("always", 0, 10, 0.02)
