"""What is an alarm beyond the index: how suddenly it came, what the model goes by, and a feature's rare values."""

import msgspec
import numpy as np
import pytest

from fraudstream.ops.watch.drift.judge import JudgedWindow, QuantityDrift
from fraudstream.ops.watch.drift.layout import REST
from models.training_reference import FeatureTraits, TrainingReference
from support.drift_cases import FIRST_DAY, NAMES, new_fold, payments, records, watched
from support.drift_cases import reference as reference_of

BEFORE = payments(range(FIRST_DAY - 28, FIRST_DAY), seed=7)
REFERENCE = reference_of(BEFORE)


def with_traits(*importances: float) -> TrainingReference:
    traits = tuple(FeatureTraits(importance=one, usual_rest=0.0) for one in importances)
    return msgspec.structs.replace(REFERENCE, traits=traits)


def last_window(known: TrainingReference, days: int, moved: float) -> JudgedWindow:
    drawn = payments(range(FIRST_DAY, FIRST_DAY + days), seed=8, moved=moved)
    return [one.window for one in watched(new_fold(known), records(drawn), FIRST_DAY + days) if one.window][-1]


def amount_of(window: JudgedWindow) -> QuantityDrift:
    found = window.quantity("amount")
    assert found is not None
    return found


def test_a_feature_that_the_model_goes_by_has_a_lower_bound_and_one_that_it_ignores_a_higher_one() -> None:
    bounds = [amount_of(last_window(with_traits(one, 0.5, 0.1), 1, 0.0)).bound for one in (0.4, 0.05, 0.005, 0.0)]
    assert bounds == sorted(bounds)
    assert bounds[3] / bounds[1] > 2
    plain = amount_of(last_window(REFERENCE, 1, 0.0)).bound
    assert plain == bounds[1]


def test_a_bound_is_what_matters_beyond_what_is_usual_in_distances() -> None:
    usual = msgspec.structs.replace(
        REFERENCE, features=tuple(msgspec.structs.replace(one, usual=0.45) for one in REFERENCE.features)
    )
    found = amount_of(last_window(usual, 1, 0.0))
    assert 0.2 + 0.25 < found.bound <= (0.2**0.5 + 0.45**0.5) ** 2


def test_what_came_slowly_is_an_alarm_only_once_it_is_large() -> None:
    fold = new_fold(REFERENCE)
    alarms, slow = list[int](), list[bool]()
    for day in range(90):
        drawn = payments([FIRST_DAY + day], seed=100 + day, cards=200, moved=day / 60)
        news = watched(fold, records(drawn), FIRST_DAY + day + 1)
        alarms += [day for one in news if one.alarm is not None]
        slow += [amount_of(one.window).is_slow and amount_of(one.window).has_moved for one in news if one.window]
    assert any(slow)
    assert alarms
    assert amount_of(next(one for one in [fold.pairs[next(iter(fold.pairs))].last] if one)).index > 0.5
    assert alarms[0] > 45


def test_a_step_of_the_same_size_is_an_alarm_at_once_and_stays_one() -> None:
    drawn = [
        *payments(range(FIRST_DAY, FIRST_DAY + 3), seed=8),
        *payments(range(FIRST_DAY + 3, FIRST_DAY + 60), seed=9, moved=1.2),
    ]
    fold = new_fold(REFERENCE)
    news = watched(fold, records(drawn), FIRST_DAY + 60)
    assert [one.alarm[0] for one in news if one.alarm] == ["opened"]
    assert fold.pairs[next(iter(fold.pairs))].alarms.alarm is not None


def night_at(share: float, days: int) -> list[JudgedWindow]:
    """Return windows in which so many payments are at night, of a quarter in the reference."""
    random = np.random.default_rng(3)
    drawn = [
        one._replace(vector=(one.vector[0], float(random.random() < share), one.vector[2]))
        for one in payments(range(FIRST_DAY, FIRST_DAY + days), seed=8, cards=1_000)
    ]
    news = watched(new_fold(with_traits(0.3, 0.6, 0.1)), records(drawn), FIRST_DAY + days)
    return [one.window for one in news if one.window]


@pytest.mark.parametrize(("share", "over"), [(0.25, []), (0.04, [f"{NAMES[1]}{REST}"]), (0.6, [])])
def test_rare_values_that_become_half_as_many_are_over_their_bound_and_more_of_them_are_not(
    share: float,
    over: list[str],
) -> None:
    window = night_at(share, 1)[0]
    found = window.quantity(f"{NAMES[1]}{REST}")
    assert found is not None
    assert found.expected == pytest.approx(0.25, abs=0.01)
    assert [one.name for one in window.over if one.name.endswith(REST)] == over


def test_rare_values_of_a_feature_that_the_model_hardly_goes_by_are_not_watched() -> None:
    window = last_window(with_traits(0.9, 0.005, 0.095), 1, 0.0)
    assert window.quantity(f"{NAMES[1]}{REST}") is None
