"""How far back histories go, from the days on which payments occurred."""

from hypothesis import given
from hypothesis import strategies as st

from features.redis.age import KEPT_DAYS, PaymentDays


def days(*found: int) -> PaymentDays:
    made = PaymentDays()
    made.add(found)
    return made


def test_a_backfill_makes_histories_as_old_as_its_first_payment() -> None:
    made = days(200, 201)
    assert made.age_on(201) == 1
    assert made.add(range(160, 200)) == {*range(160, 200)}
    assert made.age_on(201) == 41


def test_only_new_days_are_returned_and_only_recent_ones_are_kept() -> None:
    made = days(5_000)
    assert made.add([5_000, 5_001, 5_001 - KEPT_DAYS, 5_002 - KEPT_DAYS]) == {5_001, 5_002 - KEPT_DAYS}
    assert len(made) == 3
    made.add([7_000])
    assert len(made) == 1
    assert (made.newest, PaymentDays().newest) == (7_000, None)


@given(st.sets(st.integers(0, 120)), st.integers(0, 120))
def test_the_beginning_is_the_earliest_day_from_which_half_of_the_days_have_payments(found: set[int], day: int) -> None:
    ages = [
        day - begin
        for begin in found
        if begin <= day and 2 * sum(begin <= one <= day for one in found) >= day - begin + 1
    ]
    assert days(*found).age_on(day) == max(ages, default=0)
