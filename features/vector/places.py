"""The distance between two places, for formulas: by the kernel in C where it is there, since it takes a fourth."""

import ctypes

from features.own_payment import FieldText
from features.vector.travel import distance_of_degrees
from features.vector.window_kernel import open_kernel

_KERNEL = open_kernel()
_distance = distance_of_degrees if _KERNEL is None else _KERNEL.distance_of_degrees


def distance_km(
    latitude: FieldText, longitude: FieldText, to_latitude: FieldText, to_longitude: FieldText
) -> float | None:
    """Return the great-circle distance in km between two places of a payment's fields, for formulas.

    It has the bits of `features.vector.travel.distances_km` on every CPU, which a distance by the functions of `math`
    need not have.

    Args:
        latitude: of the one place, in degrees from -90 to 90, read to 5 decimals; None if it is absent.
        longitude: of it, in degrees from -180 to 180, likewise.
        to_latitude: of the other place.
        to_longitude: of the other place.

    Returns:
        None where one of them is absent, or no such place exists.
    """
    if latitude is None or longitude is None or to_latitude is None or to_longitude is None:
        return None
    try:
        km = _distance(latitude, longitude, to_latitude, to_longitude)  # type: ignore[arg-type] # texts: below
    except (ctypes.ArgumentError, TypeError):
        km = _distance(float(latitude), float(longitude), float(to_latitude), float(to_longitude))
    return None if km != km else km  # noqa: PLR0124 - NaN, without a call
