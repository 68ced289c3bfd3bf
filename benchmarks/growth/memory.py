"""Resident memory of a worker under an open loop for a long time, and by how much it grows.

The payments are those of 60 simulated days, so that histories fill, reach their horizon of 37 days, and are trimmed
from then on. The load goes on in stretches of half a minute; memory is read after each, when all is decided.
"""

from collections.abc import Iterator, Sequence
from statistics import linear_regression, median

from rich.table import Table

from benchmarks.growth.series import GrowthPoint, GrowthSeries

SAMPLE_SECONDS = 30
_TABLE_MINUTES = 10
_SAMPLES = _TABLE_MINUTES * 60 // SAMPLE_SECONDS
_SIZE = "seconds since the first payment"
_LINES = ("resident memory, MiB", "payments decided")


def memory_series(points: Sequence[GrowthPoint], rate: float) -> GrowthSeries:
    """Return samples of seconds, MiB and payments as a series."""
    return GrowthSeries(f"A worker at {rate:g} payments a second", _SIZE, "", _LINES, tuple(points))


def medians(points: Sequence[GrowthPoint]) -> Iterator[tuple[int, float, int]]:
    """Yield the minute at which each ten minutes end, their median in MiB, and the payments decided by then."""
    in_order = [(round(point.size / SAMPLE_SECONDS), point.values) for point in points]
    for first in range(0, in_order[-1][0], _SAMPLES):
        some = [values for number, values in in_order if first < number <= first + _SAMPLES]
        end = (first + _SAMPLES) * SAMPLE_SECONDS // 60
        yield end, median(mib for mib, _ in some), int(some[-1][1])


def growth_an_hour(points: Sequence[GrowthPoint]) -> float:
    """Return MiB an hour: the least-squares slope over the second half of the time."""
    half = [point for point in points if 2 * point.size >= points[-1].size]
    slope = linear_regression([point.size for point in half], [point.values[0] for point in half]).slope
    return slope * 3600


def memory_table(series: GrowthSeries) -> Table:
    """Return medians of ten minutes each, and the growth."""
    table = Table("minutes", "resident memory, MiB", "payments decided", title=series.question)
    for end, mib, decided in medians(series.points):
        table.add_row(f"{end - _TABLE_MINUTES} to {end}", f"{mib:,.1f}", f"{decided:,}")
    table.add_row("second half", f"{growth_an_hour(series.points):+,.1f} an hour", "", style="dim")
    return table
