"""The oracle of aggregates over a window's other transactions: places, countries, devices, habits, card testing.

Like `recount` it shares no formula with the product: the haversine is written again, its series' terms as fractions,
in the same order of steps, on which the bits depend.
"""

import math
import statistics
from collections.abc import Callable
from fractions import Fraction
from itertools import takewhile

from features.aggregates import Aggregate

Row = dict[str, object]
DAY_MS = 86_400_000


def countries(own: Row, others: list[Row], counted: bool) -> float:  # noqa: FBT001 - whether own is in the window
    return different(own, others, counted, "country")


def devices(own: Row, others: list[Row], counted: bool) -> float:  # noqa: FBT001 - likewise
    return different(own, others, counted, "device")


def different(own: Row, others: list[Row], counted: bool, what: str) -> float:  # noqa: FBT001 - likewise
    return float(len({row[what] for row in [*others, *([own] if counted else [])]} - {None}))


def device_first(own: Row, others: list[Row], _: bool) -> float:  # noqa: FBT001 - likewise
    return math.nan if own["device"] is None else float(own["device"] not in [row["device"] for row in others])


def latest(own: Row, others: list[Row], what: str) -> list[Row]:
    """Return the latest rows that have a value, if own has one; several if they are of one millisecond."""
    present = [row for row in others if row[what] is not None and own[what] is not None]
    return [row for row in present if row["ms"] == max(one["ms"] for one in present)]


def country_jump(own: Row, others: list[Row], _: bool) -> float:  # noqa: FBT001 - likewise
    before = latest(own, others, "country")
    return float(any(row["country"] != own["country"] for row in before)) if before else math.nan


def distance(own: Row, others: list[Row], _: bool = False) -> float:  # noqa: FBT001, FBT002 - likewise
    return max((km(row["at"], own["at"]) for row in latest(own, others, "at")), default=math.nan)


def speed(own: Row, others: list[Row], _: bool) -> float:  # noqa: FBT001 - likewise
    before = latest(own, others, "at")
    return distance(own, others) * 3_600_000 / max(60_000, own["ms"] - before[0]["ms"]) if before else math.nan


def km(here: tuple[float, float], there: tuple[float, float]) -> float:
    """Compute the haversine, with one rounding in each step."""
    (north, east), (other_north, other_east) = ([round(x * 10**5) for x in place] for place in (here, there))
    turned = abs(other_east - east)
    up, around = sine(other_north - north), sine(min(turned, 36_000_000 - turned))
    h = up * up + sine(2 * (9_000_000 - abs(north))) * sine(2 * (9_000_000 - abs(other_north))) * (around * around)
    s, c = math.sqrt(h), math.sqrt(abs(1 - h))
    for _ in range(3):
        s, c = s / math.sqrt(2 + 2 * c), math.sqrt(0.5 + 0.5 * c)
    choose = [Fraction(math.comb(2 * k, k), 4**k * (2 * k + 1)) for k in range(7)]
    return 2 * 6371.0088 * (8 * series(choose, s))


def sine(half_units: int) -> float:
    terms = [Fraction((-1) ** k, math.factorial(2 * k + 1)) for k in range(10)]
    return series(terms, half_units * (math.pi / 36_000_000))


def series(terms: list[Fraction], x: float) -> float:
    total = 0.0
    for term in reversed(terms):
        total = total * (x * x) + float(term)
    return total * x


def repeated(own: Row, others: list[Row], _: bool) -> float:  # noqa: FBT001 - likewise
    return float(sum((row["amount"], row["currency"]) == (own["amount"], own["currency"]) for row in others))


def to_smallest(own: Row, others: list[Row], _: bool) -> float:  # noqa: FBT001 - likewise
    exact = [row["amount"] * 10 ** (4 - row["exponent"]) for row in [own, *others]]
    return float(exact[0]) / float(max(100, min(exact[1:]))) if others else math.nan


def share(own: Row, others: list[Row], what: str) -> float:
    present = [row[what] for row in others if row[what] is not None]
    if own[what] is None or not present:
        return math.nan
    return present.count(own[what]) / len(present)


def time_of_day(own: Row, others: list[Row], _: bool) -> float:  # noqa: FBT001 - likewise
    walls = [(row["ms"] + row["utc_offset"] * 60_000) % DAY_MS for row in [own, *others]]
    apart = [abs(wall - walls[0]) for wall in walls[1:]]
    return sum(min(gap, DAY_MS - gap) <= 7_200_000 for gap in apart) / len(apart) if apart else math.nan


def to_earlier_mean(own: Row, others: list[Row], _: bool) -> float:  # noqa: FBT001 - likewise
    own_amount, *amounts = (row["amount"] * 10 ** (4 - row["exponent"]) for row in [own, *others])
    return float(own_amount * len(amounts)) / float(sum(amounts)) if sum(amounts) else math.nan


def to_earlier_median(own: Row, others: list[Row], _: bool) -> float:  # noqa: FBT001 - likewise
    own_amount, *amounts = (row["amount"] * 10 ** (4 - row["exponent"]) for row in [own, *others])
    return over_median(own_amount, amounts)


def over_median(amount: int, amounts: list[int]) -> float:
    """Divide by the median, the mean of the two in the middle."""
    twice = float(2 * statistics.median(map(Fraction, amounts))) if amounts else 0.0
    return float(2 * amount) / twice if twice else math.nan


def large_amounts(amounts: list[int], usual: list[int]) -> float:
    return float(sum(amount > Fraction(5, 2) * statistics.median(map(Fraction, usual)) for amount in amounts))


def largest_to_median(amounts: list[int], usual: list[int]) -> float:
    return over_median(max(amounts), usual) if amounts else math.nan


def run_of_frauds(past: list[tuple[int, bool]]) -> float:
    """Count from the youngest on; `past` has ages and whether each is a fraud, a genuine one first in each moment."""
    return float(len(list(takewhile(lambda one: one[1], past))))


def share_of_five(past: list[tuple[int, bool]]) -> float:
    return sum(fraud for _, fraud in past[:5]) / len(past[:5]) if past else math.nan


def days_since_first(past: list[tuple[int, bool]]) -> float:
    ages = [age for age, fraud in past if fraud]
    return max(ages) / 86_400_000 if ages else math.nan


OF_SEQUENCES: dict[Aggregate, Callable[[list[tuple[int, bool]]], float]] = {
    Aggregate.FRAUD_RUN: run_of_frauds,
    Aggregate.FRAUD_LATEST: lambda past: float(past[0][1]) if past else math.nan,
    Aggregate.FRAUD_SHARE_OF_LAST_5: share_of_five,
    Aggregate.DAYS_SINCE_FIRST_FRAUD: days_since_first,
}
OF_USUAL: dict[Aggregate, Callable[[list[int], list[int]], float]] = {
    Aggregate.LARGE_AMOUNTS: large_amounts,
    Aggregate.LARGEST_TO_MEDIAN: largest_to_median,
}
OF_OTHERS: dict[Aggregate, Callable[[Row, list[Row], bool], float]] = {
    Aggregate.AMOUNT_TO_SMALLEST: to_smallest,
    Aggregate.AMOUNT_REPEATED: repeated,
    Aggregate.COUNTRIES: countries,
    Aggregate.COUNTRY_JUMP: country_jump,
    Aggregate.DISTANCE_FROM_LAST: distance,
    Aggregate.SPEED_FROM_LAST: speed,
    Aggregate.DEVICES: devices,
    Aggregate.DEVICE_FIRST: device_first,
    Aggregate.CATEGORY_SHARE: lambda own, others, _: share(own, others, "mcc"),
    Aggregate.CHANNEL_SHARE: lambda own, others, _: share(own, others, "channel"),
    Aggregate.TIME_OF_DAY_SHARE: time_of_day,
    Aggregate.AMOUNT_TO_EARLIER_MEAN: to_earlier_mean,
    Aggregate.AMOUNT_TO_EARLIER_MEDIAN: to_earlier_median,
}
