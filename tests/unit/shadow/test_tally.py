import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream_client.outputs import Decision
from metrics.drift import stability_of_counts
from models.policy import bands
from shadow.comparison import Comparison, Side, Source
from shadow.tally import SCORE_STEPS, Shift, Tally, quantile

LIVE, CHALLENGER = "a" * 64, "b" * 64
SCORES = st.floats(0, 1)


def side(digest: str | None, score: float | None, decision: Decision) -> Side:
    band = None if score is None else int(bands(score))  # type: ignore[arg-type]
    return Side(digest, score, band, decision)


def comparison(
    live: Side, challenger: Side, amount_minor: int = 1, currency: str = "EUR", offset: int = 0
) -> Comparison:
    return Comparison(
        transaction_id="t",
        card_id="c",
        occurred_at="2026-01-01T00:00:00.000Z",
        amount_minor=amount_minor,
        currency=currency,
        live=live,
        challenger=challenger,
        decision_changed=live.decision is not challenger.decision,
        revision=1,
        source=Source("transactions", 0, offset),
        compared_at="2026-01-01T00:00:00.000Z",
    )


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    score = draw(st.none() | SCORES)
    live = side(None if score is None else LIVE, score, draw(st.sampled_from(Decision)))
    challenger = side(CHALLENGER, draw(SCORES), draw(st.sampled_from(Decision)))
    return comparison(live, challenger, draw(st.integers(0, 10**12)), draw(st.sampled_from(["EUR", "JPY"])))


LISTS = st.lists(comparisons(), max_size=20)


@given(LISTS)
def test_zero_adds_nothing(some: Any) -> None:
    tally = Tally.of(some)
    assert Tally.zero().merge(tally) == tally == tally.merge(Tally.zero())


@given(LISTS, LISTS, LISTS)
def test_tallies_merge_in_any_order_and_grouping(a: Any, b: Any, c: Any) -> None:
    one, two, three = Tally.of(a), Tally.of(b), Tally.of(c)
    assert one.merge(two) == two.merge(one)
    assert one.merge(two).merge(three) == one.merge(two.merge(three)) == Tally.of([*c, *a, *b])


@given(LISTS, comparisons())
def test_adding_a_comparison_equals_counting_it_with_the_others(some: Any, one: Any) -> None:
    assert Tally.of(some).add(one) == Tally.of([*some, one])


@given(LISTS)
def test_a_tally_equals_a_count_in_a_plain_loop(some: Any) -> None:
    tally = Tally.of(some)
    assert tally.compared == len(some)
    assert tally.changed == sum(one.decision_changed for one in some)
    assert sum(tally.minor.values()) == sum(one.amount_minor for one in some)
    for decision in Decision:
        live, challenger = tally.decided(decision)
        assert live == sum(one.live.decision is decision for one in some)
        assert challenger == sum(one.challenger.decision is decision for one in some)
    shifts = [one.challenger.score - one.live.score for one in some if one.live.score is not None]
    shift = Shift.of(tally)
    if not shifts:
        assert shift == Shift(None, None, None, None)
        return
    assert shift.mean == pytest.approx(math.fsum(shifts) / len(shifts), abs=2 / SCORE_STEPS)
    assert shift.mean_absolute == pytest.approx(math.fsum(map(abs, shifts)) / len(shifts), abs=2 / SCORE_STEPS)
    assert shift.stability_index == stability_of_counts(tally.live_bands, tally.challenger_bands)


@given(st.lists(st.integers(-999, 999), min_size=1), st.sampled_from([1, 50, 99, 100]))
def test_a_quantile_is_the_least_value_that_a_percentage_does_not_exceed(values: Any, percent: Any) -> None:
    counts = {value: values.count(value) for value in values}
    found = quantile(counts, percent)
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)
    with pytest.raises(ValueError, match="quantile of an empty histogram"):
        quantile({}, percent)
