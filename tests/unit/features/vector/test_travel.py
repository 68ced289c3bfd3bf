"""Distances on the globe: their accuracy, and equal bits in any batch and memory layout."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from features.vector import places as of_formulas
from features.vector import travel
from features.vector.places import distance_km
from features.vector.travel import distance_of_degrees, distances_km

QUARTER, HALF = 9_000_000, 18_000_000
norths, easts = st.integers(-QUARTER, QUARTER), st.integers(-HALF, HALF)
places = st.tuples(norths, easts)


def distance(here: tuple[int, int], there: tuple[int, int]) -> float:
    return float(distances_km(*(np.array([x]) for x in (*here, *there)))[0])


def expected_km(here: tuple[int, int], there: tuple[int, int]) -> float:
    """Take the angle of two vectors by the arc tangent, which is exact for all angles."""
    (b1, l1), (b2, l2) = ([math.radians(x / 100_000) for x in place] for place in (here, there))
    across = math.cos(b1) * math.sin(b2) - math.sin(b1) * math.cos(b2) * math.cos(l2 - l1)
    along = math.sin(b1) * math.sin(b2) + math.cos(b1) * math.cos(b2) * math.cos(l2 - l1)
    return travel.RADIUS_KM * math.atan2(math.hypot(math.cos(b2) * math.sin(l2 - l1), across), along)


@given(here=places, there=places)
@example(here=(0, 0), there=(0, HALF))
@example(here=(QUARTER, 0), there=(-QUARTER, 0))
@example(here=(0, -HALF), there=(0, HALF))
def test_a_distance_is_exact_to_a_millimetre_and_to_half_a_metre_near_the_antipode(
    here: tuple[int, int], there: tuple[int, int]
) -> None:
    computed, expected = distance(here, there), expected_km(here, there)
    allowed_km = 1e-6 if expected < 20_000 else 3e-4
    assert computed == pytest.approx(expected, abs=allowed_km)


@given(north=norths, east=easts, up=st.integers(-300, 300), right=st.integers(-300, 300))
def test_a_short_distance_has_a_small_relative_error(north: int, east: int, up: int, right: int) -> None:
    here, there = (north, east), (max(-QUARTER, min(QUARTER, north + up)), max(-HALF, min(HALF, east + right)))
    assert distance(here, there) == pytest.approx(expected_km(here, there), rel=1e-6, abs=1e-9)


@given(north=norths, east=easts, off=places)
def test_a_distance_near_the_antipode_is_exact_to_half_a_metre(north: int, east: int, off: tuple[int, int]) -> None:
    there = (max(-QUARTER, min(QUARTER, -north + off[0] % 200 - 100)), (east + HALF + off[1] % 200) % (2 * HALF) - HALF)
    assert distance((north, east), there) == pytest.approx(expected_km((north, east), there), abs=3e-4)


@pytest.mark.parametrize("off", [(90.1, 0, 0, 0), (0, -180.1, 0, 0), (0, 0, -1e6, 0), (0, 0, 0, 999)])
def test_a_place_that_does_not_exist_has_no_distance(off: tuple[float, float, float, float]) -> None:
    assert distance_km(*off) is None
    assert math.isnan(distance_of_degrees(*off))


@given(st.floats(-1.6, 1.6))
def test_the_sine_that_is_written_out_has_the_bits_of_the_series(angle: float) -> None:
    assert travel._sine(angle) == travel._series(travel.SINE, angle)


@given(here=places, there=places)
def test_a_distance_is_symmetric_and_0_to_the_same_place(here: tuple[int, int], there: tuple[int, int]) -> None:
    assert distance(here, there) == distance(there, here)
    assert distance(here, here) == 0.0


@given(here=places, there=places)
def test_a_formulas_distance_between_degrees_has_the_bits_of_a_distance_between_terminals(
    here: tuple[int, int], there: tuple[int, int]
) -> None:
    degrees = [x / 100_000 for x in (*here, *there)]
    assert of_formulas._distance is not distance_of_degrees  # the kernel is there
    assert distance_km(*degrees) == distance_of_degrees(*degrees) == distance(here, there)


@given(st.lists(st.floats(-200, 200), min_size=4, max_size=4))
@example([90.000005, 180.000005, -90.000005, -180.000005])
@example([0.000005, 0.000015, -0.000025, 1e300])
@example([math.nan, 0.0, 0.0, 0.0])
@example([0.0, math.inf, 0.0, 0.0])
def test_the_kernel_rounds_degrees_and_refuses_places_as_the_code_without_it_does(degrees: list[float]) -> None:
    expected = distance_of_degrees(*degrees)
    assert distance_km(*degrees) == (None if math.isnan(expected) else expected)


def test_a_distance_takes_whole_numbers_and_texts_of_numbers_and_refuses_others() -> None:
    assert distance_km(1, 2, "3.5", 4) == distance_of_degrees(1.0, 2.0, 3.5, 4.0)
    with pytest.raises(ValueError, match="NL"):
        distance_km("NL", 0.0, 0.0, 0.0)


@pytest.mark.parametrize("absent", range(4))
def test_a_formulas_distance_is_absent_where_a_coordinate_is(absent: int) -> None:
    degrees = [None if place == absent else 12.5 for place in range(4)]
    assert distance_km(*degrees) is None
    assert distance_km(12.5, 12.5, 12.5, 12.5) == 0.0


@given(ends=st.lists(st.tuples(norths, easts, norths, easts), min_size=1, max_size=60))
def test_the_bits_of_distances_depend_neither_on_the_batch_size_nor_on_the_memory_layout(ends: list) -> None:
    columns = np.array(ends, np.int64)
    together = distances_km(*np.repeat(columns, travel.FEW + 1, axis=0).T)[:: travel.FEW + 1]
    alone = [distances_km(*row.reshape(4, 1))[0] for row in columns]
    contiguous = distances_km(*np.ascontiguousarray(columns.T))
    assert together.tobytes() == np.array(alone).tobytes() == contiguous.tobytes()
