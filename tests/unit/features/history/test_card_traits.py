"""Traits and places that a card's record packs can be unpacked."""

from itertools import product
from string import ascii_uppercase

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.history import records

codes = st.text("ABCXYZ", min_size=2, max_size=2)
NUMBERS = {
    "".join(letters): number for size in (2, 3) for number, letters in enumerate(product(ascii_uppercase, repeat=size))
}
"""The number of a code among all codes of its length, in alphabetical order."""


@given(
    category=st.none() | st.integers(0, 9999).map("{:04d}".format),
    country=st.none() | codes,
    channel=st.none() | st.sampled_from(records.CHANNELS),
    clock=st.integers(-1439, 1439),
    currency=st.text("ABCXYZ", min_size=3, max_size=3),
)
def test_packed_traits_can_be_unpacked(
    category: str | None, country: str | None, channel: str | None, clock: int, currency: str
) -> None:
    packed = np.array([records.pack_traits(category, country, channel, clock, currency)])
    assert packed[0] >= 0
    assert records.unpack_trait(packed, records.CATEGORY)[0] == (0 if category is None else int(category) + 1)
    assert records.unpack_trait(packed, records.COUNTRY)[0] == (0 if country is None else 1 + NUMBERS[country])
    assert records.unpack_trait(packed, records.CURRENCY)[0] == NUMBERS[currency]
    assert records.unpack_trait(packed, records.CHANNEL)[0] == (
        0 if channel is None else 1 + records.CHANNELS.index(channel)
    )
    assert records.clock_minutes(packed)[0] == clock
    assert records.unpack_trait(packed, records.HAS_PLACE)[0] == 0


@given(latitude=st.floats(-90, 90), longitude=st.floats(-180, 180))
def test_a_packed_place_can_be_unpacked_to_within_a_metre(latitude: float, longitude: float) -> None:
    (north,), (east,) = records.unpack_places(np.array([records.pack_place(latitude, longitude)]))
    assert north / 1e5 == pytest.approx(latitude, abs=6e-6)
    assert east / 1e5 == pytest.approx(longitude, abs=6e-6)
