"""The windowed features of a batch by the kernel in C, where it is there and can compute them."""

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from features.aggregates import Aggregate
from features.declaration import DAY_MS, MINUTE_MS, Feature
from features.history import records
from features.history.frames import PER_MAJOR
from features.history.store import Ints
from features.vector import amounts, habits, travel

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
LIBRARY = Path(__file__).with_name("window_features.shared")

OPERATIONS: Mapping[Aggregate, int] = MappingProxyType(
    {
        aggregate: number
        for number, aggregate in enumerate(
            (
                Aggregate.COUNT,
                Aggregate.AMOUNT_SUM,
                Aggregate.AMOUNT_MEAN,
                Aggregate.AMOUNT_MAX,
                Aggregate.AMOUNT_TO_MEAN,
                Aggregate.AMOUNT_DEVIATION,
                Aggregate.OTHERS,
                Aggregate.OTHER_FIRST,
                Aggregate.FRAUD_SHARE,
                Aggregate.AMOUNT_TO_SMALLEST,
                Aggregate.AMOUNT_REPEATED,
                Aggregate.COUNTRIES,
                Aggregate.COUNTRY_JUMP,
                Aggregate.DISTANCE_FROM_LAST,
                Aggregate.SPEED_FROM_LAST,
                Aggregate.DEVICES,
                Aggregate.DEVICE_FIRST,
                Aggregate.CATEGORY_SHARE,
                Aggregate.CHANNEL_SHARE,
                Aggregate.TIME_OF_DAY_SHARE,
                Aggregate.SECONDS_SINCE_LAST,
            )
        )
    }
)
"""The aggregates of the kernel, in the order of its `enum operation`."""


class _Constants(ctypes.Structure):
    _fields_ = (
        *(
            (name, ctypes.c_int64)
            for name in (
                *("label_bit", "fraud_bit", "exponent_shift", "exponent_mask", "partition_shift"),
                *("category_mask", "country_mask", "channel_mask", "currency_mask", "place_mask"),
                *("clock_shift", "clock_mask", "minute_ms", "day_ms", "near_ms", "least_elapsed_ms"),
                *("quarter_turn", "full_turn", "least_amount"),
            )
        ),
        *((name, ctypes.c_double) for name in ("per_major", "ms_per_hour", "radians", "diameter_km")),
        ("sine", ctypes.c_double * travel.SINE_TERMS),
        ("arc_sine", ctypes.c_double * travel.ARC_SINE_TERMS),
        ("halvings", ctypes.c_int64),
    )


def _constants() -> _Constants:
    return _Constants(
        label_bit=records.LABEL_BIT,
        fraud_bit=records.FRAUD_BIT,
        exponent_shift=records.EXPONENT_SHIFT,
        exponent_mask=records.EXPONENT_MASK,
        partition_shift=records.PARTITION_SHIFT,
        category_mask=records.CATEGORY.mask,
        country_mask=records.COUNTRY.mask,
        channel_mask=records.CHANNEL.mask,
        currency_mask=records.CURRENCY.mask,
        place_mask=records.HAS_PLACE.mask,
        clock_shift=records.CLOCK.shift,
        clock_mask=(1 << records.CLOCK.bits) - 1,
        minute_ms=MINUTE_MS,
        day_ms=DAY_MS,
        near_ms=habits.NEAR_MS,
        least_elapsed_ms=travel.LEAST_ELAPSED_MS,
        quarter_turn=travel.QUARTER_TURN,
        full_turn=travel.FULL_TURN,
        least_amount=amounts.LEAST,
        per_major=PER_MAJOR,
        ms_per_hour=travel.MS_PER_HOUR,
        radians=travel.RADIANS,
        diameter_km=2.0 * travel.RADIUS_KM,
        sine=travel.SINE,
        arc_sine=travel.ARC_SINE,
        halvings=travel.HALVINGS,
    )


class WindowKernel:
    """The library, and the constants that it shares with numpy's code."""

    def __init__(self, library: Path) -> None:
        self._function = ctypes.CDLL(str(library)).window_features
        integer, pointer = ctypes.c_int64, ctypes.c_void_p
        self._function.argtypes = (*(pointer, integer, pointer, pointer, integer), *(pointer, integer), *(pointer,) * 3)
        self._function.restype = ctypes.c_int
        self._constants = _constants()
        self._at = ctypes.addressof(self._constants)

    def compute(self, steps: Ints, rows: Ints, lengths: Ints, own_ms: Ints) -> tuple[Floats, Flags]:
        """Return the columns of all steps, of shape (k, n), and which histories are left to numpy, of shape (n,).

        Args:
            steps: operation, window length, delay in ms and column of each, of shape (k, 4).
            rows: the records of all histories, one after the other, each with the payment's own last.
            lengths: records of each history, of shape (n,).
            own_ms: times of the payments, of shape (n,).
        """
        rows, count = np.ascontiguousarray(rows), len(lengths)
        found, left = np.empty((len(steps), count)), np.empty(count, np.bool_)
        failed = self._function(
            *(rows.ctypes.data, rows.shape[1], lengths.ctypes.data, np.ascontiguousarray(own_ms).ctypes.data, count),
            *(steps.ctypes.data, len(steps), self._at, found.ctypes.data, left.ctypes.data),
        )
        if failed:
            raise MemoryError
        return found, left


def steps_of(rows: Sequence[Feature]) -> Ints:
    """Return the steps for some features, each in the column of its place."""
    return np.array(
        [
            (OPERATIONS[row.aggregate], row.window_ms or 0, row.delay_ms, column)  # type: ignore[index] # `computes`
            for column, row in enumerate(rows)
        ],
        np.int64,
    ).reshape(-1, 4)


def computes(row: Feature) -> bool:
    """Tell whether the kernel computes a feature: an aggregate of exact records."""
    return isinstance(row.aggregate, Aggregate) and row.aggregate in OPERATIONS and not row.is_paned


def open_kernel() -> WindowKernel | None:
    """Return the kernel; None where it was not built, or not for this machine."""
    try:
        return WindowKernel(LIBRARY) if LIBRARY.exists() else None
    except OSError:
        return None
